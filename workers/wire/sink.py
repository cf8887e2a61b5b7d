# SPDX-License-Identifier: MIT
"""Sinks: each empties a TX ring into its port's account, capture and cable, at the speed of its link."""

from __future__ import annotations

from shm.intrinsics import add64, kernel, load16, load64, prefetch_read, record, relaxed64, store64
from shm.layout import RING, SLOT
from shm.ring import available, next_pop, pop_to, release, slot_at, tag_of
from shm.wire_layout import FCS, FRAME_EXTRA, LINK, LINK_BITS, SINK, SMALLEST, TALLY
from workers.datapath.headers import ETHER_DST, ETHER_SRC, load_mac
from workers.datapath.nic import arrive
from workers.datapath.packet import LARGE_ROOM, frame_address
from workers.wire.accounts import AHEAD, BATCH, stamp, tally
from workers.wire.capture import capture_frame
from workers.wire.delay_line import begin_batch, end_batch
from workers.wire.impairment import clock_of_link, take_frame

SINK_RECORD = SINK.dtype


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
def run_sink(sink, since, wall):
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
    now = stamp(clock)
    tail = next_pop(ring)
    mask, slots, tags, pool = (
        load64(ring + RING["mask"]),
        load64(ring + RING["slots"]),
        load64(ring + RING["tags"]),
        load64(ring + RING["pool"]),
    )
    capture, cable, counts, link = state["capture"], state["cable"], state["counts"], state["line"]
    if state["impairment"]:
        return send_impaired(sink, count, since, clock, wall)
    sent = 0
    for i in range(count):
        if i + 2 * AHEAD < count:
            prefetch_read(slots + ((tail + i + 2 * AHEAD) & mask) * SLOT.size)
        at = (tail + i) & mask
        slot = slots + at * SLOT.size
        described = load64(slot + SLOT["time"])
        length = described >> 32 & 0xFFFF
        if link:
            through = sent_at(link, length, since, clock)
            if through < 0:
                break
            now = stamp(through)
        if capture:
            capture_frame(capture, frame_address(slot, pool), length, wall)
        router = load16(tags + 2 * at)
        tally(counts, router, length, described & 0xFFFFFFFF, now)
        if cable and arrive(load64(cable), frame_address(slot, pool), length, now) == 0:
            account = load64(counts + 8 * router)
            add64(account + TALLY["unclaimed"], 1)
            if length >= ETHER_SRC:
                frame = frame_address(slot, pool)
                store64(account + TALLY["stray"], load_mac(frame + ETHER_DST))
        sent += 1
    pop_to(ring, tail + sent)
    release(ring)
    return sent


@kernel
def send_impaired(sink, count, since, clock, wall):
    """Put `count` frames of a TX ring onto a link that delays or loses some; return how many have left the ring."""
    state = record(sink, SINK_RECORD)
    ring, link, impairment = state["ring"], state["line"], state["impairment"]
    tail, pool = next_pop(ring), load64(ring + RING["pool"])
    paced = clock_of_link(impairment, wall)
    batch = begin_batch(impairment)
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
        tally(state["counts"], tag_of(ring, tail + i), length, described & 0xFFFFFFFF, stamp(through))
        # In dilated time `through` is of the sending core's clock, and the link's is another.
        leaves = paced if state["clock"] else through
        take_frame(impairment, batch, frame_address(slot, pool), length, 0, leaves)
        sent += 1
    end_batch(impairment, batch)
    pop_to(ring, tail + sent)
    release(ring)
    return sent
