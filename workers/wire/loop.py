# SPDX-License-Identifier: MIT
"""The wire: what is outside the router. It stands for NIC hardware and links, and costs no core time.

A source writes frames into an RX ring at its rate, and counts those for which the ring has no room. A sink
empties a TX ring: it keeps each router's account and latency histogram, writes captures, and carries
frames over cables to other ports. One compiled loop serves all of a wire process.
"""

from __future__ import annotations

from shm.intrinsics import (
    acquire64,
    add64,
    bit_length,
    copy,
    kernel,
    load16,
    load32,
    load64,
    pause,
    prefetch,
    prefetch_read,
    record,
    relaxed64,
    release64,
    store32,
    store64,
    ticks,
    unlikely,
)
from shm.layout import CORE, LINE, RING, SLOT, TIME_UNIT_NS, Layout
from shm.ring import available, commit_head, commit_tail, room, slot_at
from shm.wire_layout import (
    CAPTURE,
    CAPTURE_FRAMES,
    FCS,
    FRAME,
    FRAME_EXTRA,
    LINK,
    LINK_BITS,
    PART_BITS,
    SINK,
    SMALLEST,
    SOURCE,
    SOURCE_INTERVAL_BITS,
    SUB_BITS,
    TALLY,
    TALLY_BUCKETS,
    WIRE,
)
from workers.core.clock import to_ns
from workers.datapath.headers import ETHER_DST, ETHER_SRC, load_mac
from workers.datapath.nic import arrive, deliver
from workers.datapath.packet import HEADROOM, LARGE_ROOM, frame_address

#: Frames that a source or sink handles before the next has its turn.
BATCH = 512
#: Slots ahead of the one being written whose buffer is asked for.
AHEAD = 8
#: Longest latency that is told from a clock that was read too early, in TIME_UNIT_NS: 137 s less half a second.
LATENCY_MOST = (1 << 32) - (1 << 24)
#: Pauses between two rounds that move nothing.
PAUSES = 16
#: A source that has run for so long begins anew, where a multiple of its interval is: elapsed ns << 16 is a word.
LONG_NS = 1 << 46
_PART = (1 << SOURCE_INTERVAL_BITS) - 1
SOURCE_RECORD = SOURCE.dtype
SINK_RECORD = SINK.dtype
WIRE_RECORD = WIRE.dtype
CAPTURE_RECORD = CAPTURE.dtype
#: An Enhanced Packet Block (pcapng, section 4.3) up to the frame; its size counts the trailer too.
EPB = Layout(
    "epb",
    {
        "type": "u4",
        "size": "u4",
        "interface": "u4",
        "time_high": "u4",
        "time_low": "u4",
        "captured": "u4",
        "length": "u4",
        "data": "u4",
    },
)
EPB_TYPE = 6
_POSITION = 0xFFFF_FFFF


@kernel
def stamp(clock_ns):
    """Return the descriptor's time for a clock reading; never 0, which means "made by a router"."""
    return (clock_ns // TIME_UNIT_NS & 0xFFFFFFFF) | 1


@kernel
def begin_anew(state, clock):
    """Let a source's stream have begun later, by whole rounds or bursts, without a change of when what is due; return
    what has elapsed since."""
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
def due(source, clock):
    """Return how many frames a source should send now, with those that will find no room."""
    state = record(source, SOURCE_RECORD)
    if state["interval"] == 0:
        return BATCH
    elapsed = clock - state["start_ns"]
    if unlikely(elapsed >= LONG_NS):
        elapsed = begin_anew(state, clock)
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
def clock_of(state, wall):
    """Return the clock that a source is paced by; a stream that has not begun begins."""
    clock = relaxed64(state["clock"]) if state["clock"] else wall
    if state["start_ns"] < 0:
        state["start_ns"] = clock
        state["base"] = state["sent"]
    return clock


@kernel
def grant(state, wanted, back):
    """Return how many of `wanted` frames the ring has room for."""
    ring = state["ring"]
    if ring == 0:
        return wanted
    part = state["part_back"] if back else state["part"]
    if part:
        # Several sources fill the ring, one after the other: the room is for what arrived at each, not for the first.
        credit = state["credit"] + room(ring, 1 << 16) * part
        state["credit"] = credit & ((1 << PART_BITS) - 1)
        wanted = credit >> PART_BITS if credit >> PART_BITS < wanted else wanted
    return room(ring, wanted)


@kernel
def write_frames(state, count, time):
    """Write the schedule's next `count` frames into the ring; return how many went in."""
    ring, at, written = state["ring"], state["next"], 0
    for i in range(count):
        if ring and i + AHEAD < count:
            # Only what there is room for: the line behind belongs to the worker, which is reading it.
            ahead = slot_at(ring, load64(ring + RING["next_head"]) + AHEAD)
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
    if ring:
        commit_head(ring)
    state["next"] = at
    state["placed"] += written
    return written


@kernel
def account_frames(state, wanted, granted):
    """Account for `wanted` frames, of which `granted` have found room and the rest, if any, are lost."""
    if state["interval"] == 0:
        wanted = granted  # as fast as it is taken: what finds no room waits
    elif wanted > BATCH and granted == BATCH:
        wanted = BATCH  # there was room: the rest has its turn in the wire's next round
    missed = wanted - granted
    if missed > 0:
        add64(state["full"], missed)
        state["next"] = (state["next"] + missed) % state["count"]
    state["sent"] += wanted
    if state["limit"] >= 0 and state["sent"] >= state["limit"]:
        state["done"] = 1


@kernel
def run_source(source, wall, back):
    """Send what is due; `back`: sources are served from the last to the first. Return how many frames went in."""
    state = record(source, SOURCE_RECORD)
    if state["done"] or state["paused"] or load64(state["gate"]) == 0:
        return 0
    clock = clock_of(state, wall)
    wanted = due(source, clock)
    if state["limit"] >= 0 and wanted > state["limit"] - state["sent"]:
        wanted = state["limit"] - state["sent"]
    if wanted <= 0:
        return 0
    granted = grant(state, wanted if wanted < BATCH else BATCH, back)
    written = write_frames(state, granted, stamp(clock))
    account_frames(state, wanted, granted)
    return written


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


@kernel
def put_bytes(capture, place, source, size):
    """Copy `size` bytes into a capture's ring at byte `place`."""
    buffer, room = load64(capture + CAPTURE["buffer"]), load64(capture + CAPTURE["size"])
    start = place & (room - 1)
    first = room - start if start + size > room else size
    copy(buffer + start, source, first)
    if first < size:
        copy(buffer, source + first, size - first)


@kernel
def put_word(capture, place, value):
    """Store 32 bits in a capture's ring at byte `place`, a multiple of four: none is ever cut in two."""
    store32(load64(capture + CAPTURE["buffer"]) + (place & (load64(capture + CAPTURE["size"]) - 1)), value)


@kernel
def capture_frame(capture, frame, length, wall):
    """Append an Enhanced Packet Block (pcapng); where the ring has no room for it, count the frame as lost."""
    state = record(capture, CAPTURE_RECORD)
    filled = state["filled"]
    at = filled & _POSITION
    padded = (length + 3) & ~3
    size = EPB.size + padded
    # Pairs with the writer's release: it has taken out what was there before.
    if ((at - acquire64(capture + CAPTURE["emptied"])) & _POSITION) + size > state["size"]:
        state["lost"] += 1
        return
    time = state["epoch_ns"] + wall
    put_word(capture, at + EPB["type"], EPB_TYPE)
    put_word(capture, at + EPB["size"], size)
    put_word(capture, at + EPB["interface"], state["interface"])
    put_word(capture, at + EPB["time_high"], time >> 32)
    put_word(capture, at + EPB["time_low"], time)
    put_word(capture, at + EPB["captured"], length)
    put_word(capture, at + EPB["length"], length)
    put_word(capture, at + EPB["data"] + padded - 4, 0)
    put_bytes(capture, at + EPB["data"], frame, length)
    put_word(capture, at + EPB["data"] + padded, size)
    state["frames"] += 1
    # The block, before the writer sees that it is there.
    release64(capture + CAPTURE["filled"], (((filled >> 32) + 1) & CAPTURE_FRAMES) << 32 | ((at + size) & _POSITION))


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
    tail = load64(ring + RING["next_tail"])
    mask, slots, tags, pool = (
        load64(ring + RING["mask"]),
        load64(ring + RING["slots"]),
        load64(ring + RING["tags"]),
        load64(ring + RING["pool"]),
    )
    capture, cable, counts, link = state["capture"], state["cable"], state["counts"], state["line"]
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
    store64(ring + RING["next_tail"], tail + sent)
    commit_tail(ring)
    return sent


@kernel
def wall_ns(state, now):
    """Return a count of ticks as the platform's wall clock shows it."""
    return to_ns(now - state["epoch_ticks"], state["tick_rate"])


@kernel
def run_round(wire, wall):
    """Serve every link once at `wall` ns. Return how many frames moved."""
    state = record(wire, WIRE_RECORD)
    moved = 0
    for i in range(state["core_count"]):
        core = load64(state["cores"] + 8 * i)
        store64(core + CORE["now_served"], relaxed64(core + CORE["clock_ns"]))
    count, back = acquire64(wire + WIRE["source_count"]), state["loops"] & 1
    for i in range(count):
        # Alternate the direction, so that the same source is not always served last in a shared ring.
        source = acquire64(state["sources"] + 8 * (count - 1 - i if back else i))
        if source:
            moved += run_source(source, wall, back)
    if state["virtual"] == 0:
        # Sources took their time: what left since then did not leave when they began.
        wall = wall_ns(state, ticks())
    for i in range(state["sink_count"]):
        moved += run_sink(state["sinks"] + i * SINK.size, state["last_ns"], wall)
    for i in range(state["core_count"]):
        # Read before the sources ran: all that was due by then has been brought.
        core = load64(state["cores"] + 8 * i)
        release64(core + CORE["served_ns"], load64(core + CORE["now_served"]))
    return moved


@kernel
def rest():
    """Wait some 100 ns: a worker may run on the other half of this processor's core, and has all of it meanwhile."""
    for _ in range(PAUSES):
        pause()


def run_wire(wire: int, until: int) -> int:
    """Serve all links of a wire until `until` ticks, or until more rounds moved nothing than it has patience for.

    In virtual time `until` is now, and all that is due by then moves.

    Returns
    -------
    int
        Frames moved.
    """
    state = record(wire, WIRE_RECORD)
    moved = idle = 0
    now = until if state["virtual"] else ticks()
    while now < until or state["virtual"]:
        wall = wall_ns(state, now)
        round_moved = run_round(wire, wall)
        moved += round_moved
        state["loops"] += 1
        if round_moved:
            idle = 0
        elif idle == state["patience"]:
            break
        else:
            idle += 1
            rest()
        if state["virtual"] == 0:
            state["last_ns"] = wall
            now = ticks()
    state["last_ns"] = wall_ns(state, now)
    return moved
