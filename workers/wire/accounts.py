# SPDX-License-Identifier: MIT
"""What sources and sinks share: the size of a batch, the time in a descriptor, the account of what has left."""

from __future__ import annotations

from shm.intrinsics import add64, bit_length, kernel, load64, store64
from shm.layout import TIME_UNIT_NS
from shm.wire_layout import SUB_BITS, TALLY, TALLY_BUCKETS

#: Frames that a source or sink handles before the next has its turn.
BATCH = 512
#: Slots ahead of the current one whose buffer is asked for.
AHEAD = 8
#: Longest latency that is told from a clock that was read too early, in TIME_UNIT_NS: 137 s less half a second.
LATENCY_MOST = (1 << 32) - (1 << 24)


@kernel
def stamp(clock_ns):
    """Return the descriptor's time for a clock reading; never 0, which means "made by a router"."""
    return (clock_ns // TIME_UNIT_NS & 0xFFFFFFFF) | 1


@kernel
def bucket(units):
    """Return the histogram bucket of a latency in time units: logarithmic, 32 linear steps per octave."""
    if units < 1 << SUB_BITS:
        return units
    shift = bit_length(units) - SUB_BITS - 1
    at = ((shift + 1) << SUB_BITS) + (units >> shift) - (1 << SUB_BITS)
    return at if at < TALLY_BUCKETS else TALLY_BUCKETS - 1


@kernel
def tally(counts, router, length, time, now):
    """Account one frame that a router sent."""
    account = load64(counts + 8 * router)
    add64(account + TALLY["packets"], 1)
    add64(account + TALLY["bytes"], length)
    if time:
        # Modulo 2**32, and a clock read a moment before the other's is no latency at all.
        units = (now - time) & 0xFFFFFFFF
        if units > LATENCY_MOST:
            units = 0
        add64(account + TALLY["latency_count"], 1)
        add64(account + TALLY["latency_sum"], units)
        if units > load64(account + TALLY["latency_max"]):
            store64(account + TALLY["latency_max"], units)
        place = account + TALLY["buckets"] + 8 * bucket(units)
        add64(place, 1)
