# SPDX-License-Identifier: MIT
"""The table of neighbours: what compiled paths read of it and decide by it, and how they ask the slow path.

Compiled paths, and handlers, write nothing here but requests, in rings of which the slow path is the consumer; see
:mod:`workers.datapath.neighbours` for the states of a neighbour.
"""

from __future__ import annotations

import zlib
from typing import Any

from shm.intrinsics import acquire64, kernel, load64, release64, store64
from shm.layout import CORE, RING, TASK, Layout
from shm.ring import room
from workers.datapath.held import QUEUE
from workers.datapath.packet import DROP, PUNT

#: What compiled paths read of a neighbour. `address` is 0 if the place has never been used, GONE where its
#: neighbour was deleted; `mac` 0 if it has not answered.
ENTRY = Layout("neighbour", {"address": "i8", "mac": "i8", "fresh_until": "i8", "valid_until": "i8"}, size=32)
#: The rest, at the same place of another area: the queue of what waits for it, when it was asked for and when it
#: answered, and the next of those whose packets are owed them.
#: `owed` is 1 while what waits is sent; then, while older packets are on their way here, their end plus two.
NOTES = Layout(
    "neighbour notes",
    dict.fromkeys(QUEUE.fields, "i8") | {"asked": "i8", "learnt": "i8", "owed": "i8", "next_owed": "i8"},
    size=64,
)
#: Rings between compiled paths, or handlers, and the slow path: of an address, or of a change and its checksum.
POLLS = Layout("polls", {"head": "i8", "tail": ("i8", 8), "addresses": "64*i8"})
COMMANDS = Layout("commands", {"head": "i8", "tail": ("i8", 8), "words": f"{4 * 64}*i8"})
SLOTS, PROBES, POLL_MASK = 4096, 16, 63
GONE = -1
INSERT, DELETE, CLEAR = 1, 2, 3
#: A time that never comes; the clock is below 2**62 (see shm.layout), so that the sum of both is a word.
NEVER_NS = 1 << 61
#: One neighbour is asked for at most once in that time (RFC 1122, section 2.3.2.1).
ASK_NS = 1_000_000_000
#: Packets that one visit releases, drops or looks at: some 200 us of the interpreter.
AT_ONCE = 8
#: How long after a look at all that waits the next one begins.
SWEEP_NS = 1_000_000_000

TIMES = {"fresh_until", "valid_until", "asked", "learnt"}
#: Code of `arp_queue_full` among the reasons of ARPQuerier.
QUEUE_FULL = DROP - 2


@kernel
def first_place(address):
    """Return where the places of an address begin (multiplicative hashing; the product of both is a word)."""
    return (address * 0x779B1 >> 8) & (SLOTS - 1)


@kernel
def neighbour(table, address):
    """Return the entry of an address, 0 if it has none."""
    at = first_place(address)
    for _ in range(PROBES):
        entry = table + at * ENTRY.size
        found = load64(entry)
        if found == address:
            return entry
        if found == 0:
            return 0
        at = (at + 1) & (SLOTS - 1)
    return 0


@kernel
def may_be_asked(notes, now):
    """Return whether it is a second since a neighbour was asked for last, or its clock has gone back."""
    asked = load64(notes + NOTES["asked"])
    return asked == 0 or now - asked >= ASK_NS or now < asked


@kernel
def not_fresh(entry, notes, polls, core, now):
    """Return what becomes of a packet to a neighbour that is not fresh: 0 if it can be sent all the same."""
    owed = load64(notes + NOTES["owed"])
    if owed > 1:
        return QUEUE_FULL
    if owed == 0 and load64(entry + ENTRY["mac"]) and now < load64(entry + ENTRY["valid_until"]):
        head = load64(polls)
        if head - load64(polls + POLLS["tail"]) <= POLL_MASK and may_be_asked(notes, now):
            store64(polls + POLLS["addresses"] + 8 * (head & POLL_MASK), load64(entry))
            store64(notes + NOTES["asked"], now if now else 1)
            store64(polls, head + 1)
        return 0
    # Half of the punt ring is left to packets of neighbours without waiting packets.
    ring = load64(load64(core + CORE["task"]) + TASK["punt"])
    half = load64(ring + RING["capacity"]) // 2
    if room(ring, half) < half:
        return QUEUE_FULL
    return PUNT


def request(commands: int, kind: int, address: int = 0, mac: int = 0) -> None:
    """Ask the slow path for a change of the table, which only it may write. Raises ValueError if it is behind."""
    head = load64(commands)
    if head - acquire64(commands + COMMANDS["tail"]) > POLL_MASK:
        raise ValueError("64 changes wait to be made: try again when the router has had its turn")
    for i, word in enumerate((kind, address, mac, checksum(head, kind, address, mac))):
        store64(commands + COMMANDS["words"] + 32 * (head & POLL_MASK) + 8 * i, word)
    release64(commands, head + 1)


def checksum(*words: int) -> int:
    """Return a checksum: an interpreter's stores may be seen out of order, and a change is taken when all of it is."""
    return zlib.crc32(repr(words).encode())


def due(state: Any, now: int) -> bool:
    """Return whether the slow path has something to do though no packet came."""
    return (
        load64(state["polls"]) != load64(state["polls"] + POLLS["tail"])
        or state["owed_first"] != 0
        or load64(state["lost"] + NOTES["count"]) != 0
        or acquire64(state["commands"]) != load64(state["commands"] + COMMANDS["tail"])
        or now >= state["next_ns"]
        or now < state["now_ns"]
    )
