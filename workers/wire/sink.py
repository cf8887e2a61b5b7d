# SPDX-License-Identifier: MIT
"""Sinks: each empties a TX ring into its port's account, capture and cable, at the speed of its link."""

from __future__ import annotations

from shm.intrinsics import kernel, load16, load64, prefetch_read, record, relaxed64, store64
from shm.layout import RING, SLOT
from shm.ring import available, next_pop, pop_to, slot_at, tag_of
from shm.wire_layout import FCS, FRAME_EXTRA, LINK, LINK_BITS, SINK, SMALLEST, TALLY
from workers.datapath.headers import ETHER_DST, ETHER_SRC, load_mac
from workers.datapath.nic import arrive
from workers.datapath.packet import LARGE_ROOM, frame_address
from workers.datapath.wire_transaction import (
    change,
    commit,
    empty_ring,
    fill_capture,
    increase,
    keep_old,
    undo_is_full,
)
from workers.wire.accounts import AHEAD, BATCH, bucket, count_alike, count_frame, count_run, latency, stamp
from workers.wire.capture import capture_frame
from workers.wire.delay_line import begin_batch
from workers.wire.impairment import clock_of_link, take_frame

SINK_RECORD = SINK.dtype
#: Bytes of a LINK's `free` and `part`.
PACE = 16


@kernel
def sent_at(link, length, since, clock):
    """Return when a link of finite speed is through with a frame that waits since `since`, -1: not begun yet.

    All in ns; it is taken from its ring when the link begins with it.
    """
    free, part = load64(link + LINK["free"]), load64(link + LINK["part"])
    byte_time = load64(link + LINK["byte_time"])
    # Further ahead than a frame takes: another core, whose clock is, has sent, and this one shall not wait for that.
    if free < since or free > clock + ((LARGE_ROOM + FCS + FRAME_EXTRA) * byte_time >> LINK_BITS):
        free, part = since, 0
    if free >= clock:
        return -1
    size = length + FCS
    if size < SMALLEST:
        size = SMALLEST  # what is shorter is padded
    part += (size + FRAME_EXTRA) * byte_time
    free += part >> LINK_BITS
    store64(link + LINK["free"], free)
    store64(link + LINK["part"], part & (1 << LINK_BITS) - 1)
    return free


@kernel
def enter(wire, state):
    """Enter in the wire's transaction what a sink is about to change, but for accounts."""
    empty_ring(wire, state["ring"])
    if state["capture"] and state["impairment"] == 0:
        fill_capture(wire, state["capture"])
    if state["line"]:
        keep_old(wire, state["line"] + LINK["free"], PACE)


@kernel
def carry(wire, claims, account, frame, length, now):
    """Take a frame over a cable to the port with these CLAIMS."""
    if arrive(wire, claims, frame, length, now) == 0:
        increase(wire, account + TALLY["unclaimed"], 1)
        if length >= ETHER_SRC:
            change(wire, account + TALLY["stray"], load_mac(frame + ETHER_DST))


@kernel
def send_run(wire, state, tail, count, since, clock, wall):
    """Send a run of frames, of the same router, out of the `count` from index `tail` on; return how many have left.

    What it adds to the router's account is in registers until its end.
    """
    ring, counts, link = state["ring"], state["counts"], state["line"]
    mask, slots, tags, pool = (
        load64(ring + RING["mask"]),
        load64(ring + RING["slots"]),
        load64(ring + RING["tags"]),
        load64(ring + RING["pool"]),
    )
    capture, cable = state["capture"], state["cable"]
    router = load16(tags + 2 * (tail & mask))
    account = load64(counts + 8 * router)
    now, sent, size, told, took, most = stamp(clock), 0, 0, 0, 0, 0
    # Frames of one batch came at one time: what they took is worked out once.
    seen = units = place = alike = 0
    while sent < count:
        at = (tail + sent) & mask
        if load16(tags + 2 * at) != router or (cable and undo_is_full(wire)):
            break
        if sent + 2 * AHEAD < count:
            prefetch_read(slots + ((tail + sent + 2 * AHEAD) & mask) * SLOT.size)
        slot = slots + at * SLOT.size
        described = load64(slot + SLOT["time"])
        length, time = described >> 32 & 0xFFFF, described & 0xFFFFFFFF
        if link:
            through = sent_at(link, length, since, clock)
            if through < 0:
                break
            now = stamp(through)
        if capture:
            capture_frame(capture, frame_address(slot, pool), length, wall)
        if time != seen or link:
            seen, units, found = time, 0, 0
            if time:
                units = latency(time, now)
                most = units if units > most else most
                found = account + TALLY["buckets"] + 8 * bucket(units)
            if found != place:
                count_alike(wire, place, alike)
                place, alike = found, 0
        if time:
            told += 1
            took += units
            alike += 1
        if cable:
            carry(wire, load64(cable), account, frame_address(slot, pool), length, now)
        size += length
        sent += 1
    if sent:
        count_alike(wire, place, alike)
        count_run(wire, account, sent, size, told, took, most)
    return sent


@kernel
def run_sink(wire, sink, since, wall):
    """Send what a TX ring holds; the round before was at `since`. Return how many frames left."""
    state = record(sink, SINK_RECORD)
    ring = state["ring"]
    count = available(ring, BATCH)
    if count == 0:
        return 0
    clock = wall
    if state["clock"]:
        clock = relaxed64(state["clock"])
        since = clock - 1000
    tail = next_pop(ring)
    enter(wire, state)
    if state["impairment"]:
        return send_impaired(wire, sink, count, since, clock, wall)
    sent = run = 0
    while sent < count:
        run = send_run(wire, state, tail + sent, count - sent, since, clock, wall)
        if run == 0:
            break  # the link is busy, or the undo log full
        sent += run
    pop_to(ring, tail + sent)
    commit(wire)
    return sent


@kernel
def send_impaired(wire, sink, count, since, clock, wall):
    """Put `count` frames of a TX ring onto a link that delays or loses some; return how many have left the ring."""
    state = record(sink, SINK_RECORD)
    ring, link, impairment = state["ring"], state["line"], state["impairment"]
    tail, pool = next_pop(ring), load64(ring + RING["pool"])
    paced = clock_of_link(impairment, wall)
    batch = begin_batch(wire, impairment)
    sent = 0
    for i in range(count):
        slot = slot_at(ring, tail + i)
        described = load64(slot + SLOT["time"])
        length = described >> 32 & 0xFFFF
        through = clock
        if link:
            through = sent_at(link, length, since, clock)
            if through < 0:
                break
        account = load64(state["counts"] + 8 * tag_of(ring, tail + i))
        count_frame(wire, account, length, described & 0xFFFFFFFF, stamp(through))
        # In dilated time `through` is of the sending core's clock, and the link's is another.
        leaves = paced if state["clock"] else through
        take_frame(impairment, batch, frame_address(slot, pool), length, 0, leaves)
        sent += 1
    pop_to(ring, tail + sent)
    commit(wire)
    return sent
