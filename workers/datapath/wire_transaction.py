# SPDX-License-Identifier: MIT
"""What the wire does for one source, sink or device in one go is a transaction, as a turn of a core is.

Nothing begins one. Counts are changed with an entry in the undo log; slots and blocks are filled beyond what is
published; :func:`commit` publishes them all. A wire that is killed before leaves a log by which everything is as it
was, so that the next wire does the same again; one that is killed inside :func:`commit` leaves stage COMMITTING, and
the rest is carried out for it (:mod:`workers.wire.recovery`). So every frame is delivered, counted and captured once.
No frame is lost, as a turn's packets are: no tenant's code runs here that one of them could have killed.

What changes a device cannot be taken back. Its descriptors are given to the kernel once the transaction is committed.
"""

from __future__ import annotations

from shm.impairment_layout import IMPAIRMENT
from shm.intrinsics import acquire64, add64, copy, kernel, load64, release64, settle, store64
from shm.layout import CLIENTS, COMMITTING, IDLE, RING
from shm.ring import publish, release
from shm.wire_layout import CAPTURE, WIRE, WIRE_UNDO, WIRE_UNDO_ENTRIES

#: Entries that one frame takes at most: one for each router of a port that a group frame finds without room, and its
#: accounts. No transaction goes on when fewer are left.
FRAME_ENTRIES = CLIENTS + 64
UNDO_LIMIT = WIRE_UNDO_ENTRIES - FRAME_ENTRIES


@kernel
def keep_old(wire, at, size):
    """Enter `size` bytes, some words of at most a cache line, in the undo log: what this transaction stores there is
    taken back with it."""
    count = load64(wire + WIRE["undo_count"])
    entry = load64(wire + WIRE["undo"]) + count * WIRE_UNDO.size
    store64(entry + WIRE_UNDO["at"], at)
    store64(entry + WIRE_UNDO["size"], size)
    # Word by word, as they have been stored: the processor forwards from stores that are under way to no wider load.
    for i in range(0, size, 8):
        store64(entry + WIRE_UNDO["before"] + i, load64(at + i))
    # A kill must find the entry complete before it counts, and before a word has changed.
    settle()
    store64(wire + WIRE["undo_count"], count + 1)
    settle()


@kernel
def change(wire, word, value):
    """Store `value` in the 64-bit word at `word`, with an entry in the undo log."""
    keep_old(wire, word, 8)
    store64(word, value)


@kernel
def increase(wire, word, amount):
    """Add `amount` to the 64-bit word at `word`, with an entry in the undo log."""
    keep_old(wire, word, 8)
    add64(word, amount)


@kernel
def undo_is_full(wire):
    """Return whether the transaction must end for lack of entries for one more frame."""
    return load64(wire + WIRE["undo_count"]) > UNDO_LIMIT


@kernel
def fill_ring(wire, ring):
    """Say that slots of a ring are about to be filled."""
    if load64(ring + RING["next_head"]) != load64(ring + RING["head"]):
        return  # it has been said
    count = load64(wire + WIRE["filled_count"])
    store64(load64(wire + WIRE["filled"]) + 8 * count, ring)
    settle()
    store64(wire + WIRE["filled_count"], count + 1)
    settle()


@kernel
def empty_ring(wire, ring):
    """Say that slots of a TX ring, the only one of this transaction, are about to be claimed."""
    store64(wire + WIRE["emptied"], ring)
    settle()


@kernel
def fill_capture(wire, capture):
    """Say that blocks are about to be put into a capture, the only one of this transaction."""
    keep_old(wire, capture + CAPTURE["frames"], 16)
    store64(wire + WIRE["captured"], capture)
    settle()


@kernel
def change_link(wire, impairment, state):
    """Say that `state` is to be in force for an impaired link, the only one of this transaction, whose batch is open.

    If the transaction is taken back, the batch stays open, and the next one mends the link.
    """
    store64(wire + WIRE["link_state"], state)
    settle()
    store64(wire + WIRE["impaired"], impairment)
    settle()


@kernel
def carry_out(wire):
    """Publish what a transaction has filled and emptied; a second time does nothing."""
    rings = load64(wire + WIRE["filled"])
    for i in range(load64(wire + WIRE["filled_count"])):
        publish(load64(rings + 8 * i))
    ring, capture = load64(wire + WIRE["emptied"]), load64(wire + WIRE["captured"])
    if ring:
        release(ring)
    if capture:
        # The blocks, before the writer sees that they are there.
        release64(capture + CAPTURE["filled"], load64(capture + CAPTURE["next_filled"]))
    impairment = load64(wire + WIRE["impaired"])
    if impairment:
        release64(impairment + IMPAIRMENT["state"], load64(wire + WIRE["link_state"]))
        # It takes effect before its heap is said to agree with it.
        settle()
        store64(impairment + IMPAIRMENT["open"], 0)


@kernel
def forget(wire):
    """Close a transaction that is published, or has been taken back."""
    settle()
    store64(wire + WIRE["undo_count"], 0)
    store64(wire + WIRE["filled_count"], 0)
    store64(wire + WIRE["emptied"], 0)
    store64(wire + WIRE["captured"], 0)
    store64(wire + WIRE["impaired"], 0)
    settle()
    store64(wire + WIRE["stage"], IDLE)
    settle()


@kernel
def commit(wire):
    """Publish the transaction: from here it counts, even if the wire dies."""
    settle()
    store64(wire + WIRE["stage"], COMMITTING)
    settle()
    carry_out(wire)
    forget(wire)


@kernel
def take_back(wire):
    """Leave everything as it was before a transaction that has not been committed."""
    log = load64(wire + WIRE["undo"])
    count = load64(wire + WIRE["undo_count"])
    for i in range(count):
        entry = log + (count - 1 - i) * WIRE_UNDO.size
        copy(load64(entry + WIRE_UNDO["at"]), entry + WIRE_UNDO["before"], load64(entry + WIRE_UNDO["size"]))
    rings = load64(wire + WIRE["filled"])
    for i in range(load64(wire + WIRE["filled_count"])):
        ring = load64(rings + 8 * i)
        store64(ring + RING["next_head"], load64(ring + RING["head"]))
    ring, capture = load64(wire + WIRE["emptied"]), load64(wire + WIRE["captured"])
    if ring:
        store64(ring + RING["next_tail"], acquire64(ring + RING["tail"]))
    if capture:
        store64(capture + CAPTURE["next_filled"], acquire64(capture + CAPTURE["filled"]))
    forget(wire)
