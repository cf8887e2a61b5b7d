# SPDX-License-Identifier: MIT
"""Sources: each writes the frames of one link into one RX ring, at its rate, and counts those without room."""

from __future__ import annotations

from shm.intrinsics import kernel, load32, load64, prefetch, record, relaxed64, unlikely
from shm.layout import LINE, RING
from shm.ring import next_push, room, slot_at
from shm.wire_layout import FRAME, PART_BITS, SOURCE, SOURCE_INTERVAL_BITS, WIRE
from workers.datapath.nic import deliver
from workers.datapath.packet import HEADROOM, LARGE_ROOM
from workers.datapath.wire_transaction import change, commit, fill_ring, increase, keep_old
from workers.wire.accounts import AHEAD, BATCH, stamp
from workers.wire.delay_line import begin_batch
from workers.wire.impairment import clock_of_link, room_of, take_frame

#: A source that has run for so long begins anew, where a multiple of its interval is: elapsed ns << 16 is a word.
LONG_NS = 1 << 46
_PART = (1 << SOURCE_INTERVAL_BITS) - 1
SOURCE_RECORD = SOURCE.dtype
#: Bytes of what a source counts, from `start_ns` to `done`: kept for the case that its transaction is taken back.
COUNTS = 64


@kernel
def begin_anew(wire, source, clock):
    """Let a source's stream have begun later, by whole rounds or bursts, without a change of when what is due; return
    what has elapsed since."""
    state = record(source, SOURCE_RECORD)
    keep_old(wire, source + SOURCE["start_ns"], COUNTS)
    elapsed = clock - state["start_ns"]
    if state["interval"] < 0:
        rounds = (state["sent"] - state["base"]) // state["count"]
        passed, frames = rounds * state["period_ns"], rounds * state["count"]
    elif state["interval"] * state["burst"] <= LONG_NS:
        # 2**SOURCE_INTERVAL_BITS bursts take a whole number of ns.
        step = state["interval"] * state["burst"]
        passed = elapsed // step * step
        frames = (elapsed // step << SOURCE_INTERVAL_BITS) * state["burst"]
    else:
        # So slow that a burst takes longer than a second: what is lost is less than a ns in twenty hours.
        step = state["interval"] * state["burst"]
        bursts = elapsed // (step >> SOURCE_INTERVAL_BITS)
        passed = bursts * (step >> SOURCE_INTERVAL_BITS) + (bursts * (step & _PART) >> SOURCE_INTERVAL_BITS)
        frames = bursts * state["burst"]
    state["start_ns"] += passed
    state["base"] += frames
    return elapsed - passed


@kernel
def due(wire, source, clock):
    """Return how many frames a source should send now, with those that will find no room."""
    state = record(source, SOURCE_RECORD)
    if state["interval"] == 0:
        return BATCH
    elapsed = clock - state["start_ns"]
    if unlikely(elapsed >= LONG_NS):
        elapsed = begin_anew(wire, source, clock)
    if state["interval"] > 0:
        # Whole bursts, the first at the start.
        whole = (elapsed << SOURCE_INTERVAL_BITS) // (state["interval"] * state["burst"]) + 1
        return whole * state["burst"] - (state["sent"] - state["base"])
    count, at, wanted = state["count"], state["next"], 0
    begun = (state["sent"] - state["base"]) // count * state["period_ns"]
    while wanted < BATCH:
        if at + wanted >= count:
            break
        if begun + load64(state["frames"] + (at + wanted) * FRAME.size + FRAME["time_ns"]) > elapsed:
            break
        wanted += 1
    return wanted


@kernel
def clock_of(wire, source, wall):
    """Return the clock that a source is paced by; a stream that has not begun begins."""
    state = record(source, SOURCE_RECORD)
    clock = relaxed64(state["clock"]) if state["clock"] else wall
    if state["start_ns"] < 0:
        keep_old(wire, source + SOURCE["start_ns"], COUNTS)
        state["start_ns"] = clock
        state["base"] = state["sent"]
    return clock


@kernel
def grant(wire, source, wanted, back):
    """Return how many of `wanted` frames the ring has room for."""
    state = record(source, SOURCE_RECORD)
    ring = state["ring"]
    if ring == 0:
        return wanted
    part = state["part_back"] if back else state["part"]
    if part:
        # Several sources fill the ring, one after the other: the room is for what arrived at each, not for the first.
        credit = state["credit"] + room(ring, 1 << 16) * part
        change(wire, source + SOURCE["credit"], credit & ((1 << PART_BITS) - 1))
        wanted = credit >> PART_BITS if credit >> PART_BITS < wanted else wanted
    return room(ring, wanted)


@kernel
def write_frames(state, count, time):
    """Write the schedule's next `count` frames into the ring; return how many went in."""
    ring, at, written = state["ring"], state["next"], 0
    for i in range(count):
        if ring and i + AHEAD < count:
            # Only what there is room for: the line behind belongs to the worker, which is reading it.
            ahead = slot_at(ring, next_push(ring) + AHEAD)
            prefetch(load64(ring + RING["pool"]) + load32(ahead) * LINE + HEADROOM)
        frame = state["frames"] + at * FRAME.size
        length = load64(frame + FRAME["length"])
        if length > LARGE_ROOM:
            state["giants"] += 1
        elif ring:
            deliver(ring, load64(frame + FRAME["address"]), length, time, state["tag"])
            written += 1
            state["bytes"] += length
        at += 1
        if at == state["count"]:
            at = 0
    state["next"] = at
    state["placed"] += written
    return written


@kernel
def account_frames(wire, state, wanted, granted):
    """Account for `wanted` frames, of which `granted` have found room and the rest, if any, are lost."""
    if state["interval"] == 0:
        wanted = granted  # as fast as it is taken: what finds no room waits
    elif wanted > BATCH and granted == BATCH:
        wanted = BATCH  # there was room: the rest has its turn in the wire's next round
    missed = wanted - granted
    if missed > 0:
        increase(wire, state["full"], missed)
        state["next"] = (state["next"] + missed) % state["count"]
    state["sent"] += wanted
    if state["limit"] >= 0 and state["sent"] >= state["limit"]:
        state["done"] = 1


@kernel
def send_impaired_frames(wire, state, wanted, clock, wall):
    """Put the schedule's next `wanted` frames onto a link that delays or loses some; return how many it took.

    A source without a rate sends what the link has room for.
    """
    impairment, at = state["impairment"], state["next"]
    count = wanted if wanted < BATCH else BATCH
    batch = begin_batch(wire, impairment)
    if state["interval"] == 0:
        free = room_of(impairment)
        count = free if free < count else count
    leaves = clock_of_link(impairment, wall) if state["clock"] else clock
    for _ in range(count):
        frame = state["frames"] + at * FRAME.size
        length = load64(frame + FRAME["length"])
        if length > LARGE_ROOM:
            state["giants"] += 1
        else:
            take_frame(impairment, batch, load64(frame + FRAME["address"]), length, state["claim"], leaves)
            state["placed"] += 1
            state["bytes"] += length
        at += 1
        if at == state["count"]:
            at = 0
    state["next"] = at
    account_frames(wire, state, wanted, count)
    commit(wire)
    return count


@kernel
def run_source(wire, source, wall, back):
    """Send what is due; `back`: sources are served from the last to the first. Return how many frames went in."""
    state = record(source, SOURCE_RECORD)
    if state["done"] or state["paused"] or load64(state["gate"]) == 0:
        return 0
    clock = clock_of(wire, source, wall)
    wanted = due(wire, source, clock)
    if state["limit"] >= 0 and wanted > state["limit"] - state["sent"]:
        wanted = state["limit"] - state["sent"]
    if wanted <= 0:
        if load64(wire + WIRE["undo_count"]):
            commit(wire)  # its stream has begun
        return 0
    keep_old(wire, source + SOURCE["start_ns"], COUNTS)
    if state["impairment"]:
        return send_impaired_frames(wire, state, wanted, clock, wall)
    if state["ring"]:
        fill_ring(wire, state["ring"])
    granted = grant(wire, source, wanted if wanted < BATCH else BATCH, back)
    written = write_frames(state, granted, stamp(clock))
    account_frames(wire, state, wanted, granted)
    commit(wire)
    return written
