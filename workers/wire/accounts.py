# SPDX-License-Identifier: MIT
"""What sources and sinks share: the size of a batch, the time in a descriptor, the account of what has left."""

from __future__ import annotations

from shm.intrinsics import add64, bit_length, kernel, load64, store64
from shm.layout import TIME_UNIT_NS
from shm.wire_layout import SUB_BITS, TALLY, TALLY_BUCKETS
from workers.datapath.wire_transaction import increase, keep_old

#: Frames that a source or sink handles before the next has its turn.
BATCH = 512
#: Slots ahead of the current one whose buffer is asked for.
AHEAD = 8
#: Longest latency that is told from a clock that was read too early, in TIME_UNIT_NS: 137 s less half a second.
LATENCY_MOST = (1 << 32) - (1 << 24)
#: Bytes of an account in front of its histogram that every frame changes, from `packets` to `latency_max`.
COUNTS = 40


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
def latency(time, now):
    """Return how long a frame that came at `time` took, in time units.

    Modulo 2**32, and a clock read a moment before the other's is no latency at all.
    """
    units = (now - time) & 0xFFFFFFFF
    return units if units <= LATENCY_MOST else 0


@kernel
def count_alike(wire, bucket, frames):
    """Add frames that took about as long as each other to the histogram bucket at `bucket`, if there are any."""
    if frames:
        increase(wire, bucket, frames)


@kernel
def count_run(wire, account, frames, size, told, took, most):
    """Add a run of frames to its router's account: their bytes; how many have a latency, its sum and maximum."""
    keep_old(wire, account, COUNTS)
    add64(account + TALLY["packets"], frames)
    add64(account + TALLY["bytes"], size)
    add64(account + TALLY["latency_count"], told)
    add64(account + TALLY["latency_sum"], took)
    if most > load64(account + TALLY["latency_max"]):
        store64(account + TALLY["latency_max"], most)


@kernel
def count_frame(wire, account, length, time, now):
    """Add one frame, which came at `time` and has left at `now`, to its router's account."""
    units = 0
    if time:
        units = latency(time, now)
        increase(wire, account + TALLY["buckets"] + 8 * bucket(units), 1)
    count_run(wire, account, 1, length, 1 if time else 0, units, units)
