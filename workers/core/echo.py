# SPDX-License-Identifier: MIT
"""The model of a domU in virtual time: a task that returns every packet."""

from __future__ import annotations

from shm.channel import DOWN, LENT, REQUEST_BYTES, RETURN_BYTES, SLOT_START, SLOTS, UP
from shm.intrinsics import acquire64, load64, release64, store64
from workers.datapath.turn import look


def echo(ends: int, core: int, task: int, quantum: int) -> int:
    """Take a turn as the domU whose memory the two words at `ends` point to; return how many requests it took."""
    down, up = load64(ends), load64(ends + 8)
    taken, returned = load64(up + UP["taken"]), load64(up)
    count = acquire64(down) - taken
    if count > quantum:
        count = quantum
    if count == 0:
        return 0
    count = look(core, task, 0, count)
    for i in range(count):
        word = load64(down + DOWN.size + REQUEST_BYTES * ((taken + i) & (SLOTS - 1)))
        if word >> 56 & 0xFF == LENT:
            # Slot, generation and length as they are; to the output that has its input's number.
            answer = (word & 0xFFFFFFFFFFFF) | SLOT_START << 48 | (word >> 48 & 15) << 56
            store64(up + UP.size + RETURN_BYTES * (returned & (SLOTS - 1)), answer)
            returned += 1
    store64(up + UP["taken"], taken + count)
    release64(up, returned)
    return count
