# SPDX-License-Identifier: MIT
"""Delay lines: frames wait in buffers of their own until they are due; equal due times keep the order of arrival.

The heap of keys follows from the entries and the state in force, so that a batch takes effect, or does not, with one
store when the wire commits (:mod:`workers.datapath.wire_transaction`): a line that was left in the middle of a batch is
mended from its entries.
"""

from __future__ import annotations

from shm.impairment_layout import DELAY_LINE, IMPAIRMENT, KEY, LINK_SETTINGS, LINK_STATE, WAITING
from shm.intrinsics import add64, copy, kernel, load64, record, settle, store64
from workers.datapath.packet import LARGE_ROOM
from workers.datapath.wire_transaction import change_link

IMPAIRMENT_RECORD, STATE_RECORD, LINE_RECORD = IMPAIRMENT.dtype, LINK_STATE.dtype, DELAY_LINE.dtype
ENTRY_RECORD = WAITING.dtype


@kernel
def entry_at(line, index):
    """Return the address of an entry of a delay line."""
    return load64(line + DELAY_LINE["entries"]) + index * WAITING.size


@kernel
def buffer_at(line, index):
    """Return the address of the frame of an entry."""
    return load64(line + DELAY_LINE["buffers"]) + index * LARGE_ROOM


@kernel
def is_before(key, due, order):
    """Return whether the key at address `key` is less than (`due`, `order`)."""
    other = load64(key)
    return other < due or (other == due and load64(key + KEY["order"]) < order)


@kernel
def put_key(key, due, order, entry):
    """Write a key; `entry` is the index of its entry."""
    store64(key, due)
    store64(key + KEY["order"], order)
    store64(key + KEY["entry"], entry)


@kernel
def rise(keys, at, due, order, entry):
    """Insert a key into the heap, which has `at` others; see Cormen et al., Introduction to Algorithms, chapter 6."""
    while at > 0:
        above = keys + ((at - 1) >> 1) * KEY.size
        if is_before(above, due, order):
            break
        copy(keys + at * KEY.size, above, KEY.size)
        at = (at - 1) >> 1
    put_key(keys + at * KEY.size, due, order, entry)


@kernel
def sink_down(keys, count, due, order, entry):
    """Insert a key at the root of a heap of `count` keys, whose root is free."""
    at = 0
    while 2 * at + 1 < count:
        below = keys + (2 * at + 1) * KEY.size
        step = 1
        if 2 * at + 2 < count and is_before(below + KEY.size, load64(below), load64(below + KEY["order"])):
            below += KEY.size
            step = 2
        if not is_before(below, due, order):
            break
        copy(keys + at * KEY.size, below, KEY.size)
        at = 2 * at + step
    put_key(keys + at * KEY.size, due, order, entry)


@kernel
def push(impairment, state, due, frame, length):
    """Copy a frame into a free entry, of which there is one; return the entry's index."""
    link = record(impairment, IMPAIRMENT_RECORD)
    line, count = link["line"], link["count"]
    keys = load64(line + DELAY_LINE["keys"])
    index = load64(keys + count * KEY.size + KEY["entry"])
    entry = record(entry_at(line, index), ENTRY_RECORD)
    state["order"] += 1
    entry["order"], entry["left"], entry["due"], entry["length"] = state["order"], 0, due, length
    copy(buffer_at(line, index), frame, length)
    rise(keys, count, due, state["order"], index)
    link["count"] = count + 1
    return index


@kernel
def first_due(impairment):
    """Return when the next frame leaves, on the link's clock in ns; -1 if none waits."""
    if load64(impairment + IMPAIRMENT["count"]) == 0:
        return -1
    return load64(load64(load64(impairment + IMPAIRMENT["line"]) + DELAY_LINE["keys"]))


@kernel
def pop(impairment, batch):
    """Take the next frame out of a line that is not empty; return the index of its entry, which is free after `batch`.

    The frame stays where it is until another one is pushed.
    """
    link = record(impairment, IMPAIRMENT_RECORD)
    line, count = link["line"], link["count"] - 1
    keys = load64(line + DELAY_LINE["keys"])
    index = load64(keys + KEY["entry"])
    last = keys + count * KEY.size
    sink_down(keys, count, load64(last), load64(last + KEY["order"]), load64(last + KEY["entry"]))
    put_key(last, 0, 0, index)
    store64(entry_at(line, index) + WAITING["left"], batch)
    link["count"] = count
    return index


@kernel
def is_ready(impairment):
    """Return whether the heap is as it should be, in the delay line that is to be in use."""
    link = record(impairment, IMPAIRMENT_RECORD)
    return link["open"] == 0 and link["line"] == load64(link["settings"] + LINK_SETTINGS["line"])


@kernel
def begin_batch(wire, impairment):
    """Begin a batch, which takes effect when the wire commits; return the address of the LINK_STATE to change.

    It is as the one in force.
    """
    link = record(impairment, IMPAIRMENT_RECORD)
    if not is_ready(impairment):
        wanted = load64(link["settings"] + LINK_SETTINGS["line"])
        link["open"] = 1
        settle()
        if link["line"] != wanted:
            move_frames(impairment, wanted)
        mend(impairment)
    link["open"] = 1
    settle()
    state = 2 * link["states"] + LINK_STATE.size - link["state"]
    copy(state, link["state"], LINK_STATE.size)
    add64(state + LINK_STATE["batch"], 1)
    change_link(wire, impairment, state)
    return state


@kernel
def is_there(entry, state):
    """Return whether an entry, a WAITING record, has a frame in it by a LINK_STATE."""
    begun = entry["order"] > 0 and entry["order"] <= state["order"]
    return begun and (entry["left"] == 0 or entry["left"] > state["batch"])


@kernel
def move_frames(impairment, target):
    """Copy the frames that are there to another line, and let that be in use."""
    link = record(impairment, IMPAIRMENT_RECORD)
    state, line = record(link["state"], STATE_RECORD), link["line"]
    moved = 0
    for index in range(load64(line + DELAY_LINE["capacity"]) if line else 0):
        old = entry_at(line, index)
        entry = record(old, ENTRY_RECORD)
        if is_there(entry, state):
            entry["left"] = 0
            copy(entry_at(target, moved), old, WAITING.size)
            copy(buffer_at(target, moved), buffer_at(line, index), entry["length"])
            moved += 1
    settle()
    link["line"] = target


@kernel
def mend(impairment):
    """Make the heap from the entries that are there: the batch that was cut off, if any, has not begun."""
    link = record(impairment, IMPAIRMENT_RECORD)
    state, line = record(link["state"], STATE_RECORD), link["line"]
    keys, capacity = load64(line + DELAY_LINE["keys"]), load64(line + DELAY_LINE["capacity"])
    count = 0
    for index in range(capacity):
        entry = record(entry_at(line, index), ENTRY_RECORD)
        if is_there(entry, state):
            entry["left"] = 0
            rise(keys, count, entry["due"], entry["order"], index)
            count += 1
        else:
            entry["order"] = 0
    free = count
    for index in range(capacity):
        if load64(entry_at(line, index)) == 0:
            put_key(keys + free * KEY.size, 0, 0, index)
            free += 1
    link["count"] = count
