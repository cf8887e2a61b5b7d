# SPDX-License-Identifier: MIT
"""All kinds of devices as the wire serves them: what has come is received, what TX rings hold is sent.

What is to happen to a frame between a TX ring and a device happens before it is put into a place:
:func:`room_of`, :func:`workers.wire.device.put` for each frame, then one :func:`flush`.
"""

from __future__ import annotations

from shm.intrinsics import kernel, load16, load64, prefetch_read, record, relaxed64
from shm.layout import RING, SLOT
from shm.link_layout import DEVICE, PACKET_RING, SUPER_FRAMES, TAP, XDP_RING
from shm.ring import available, next_pop, pop_to
from workers.datapath.packet import frame_address
from workers.datapath.wire_transaction import commit, keep_old
from workers.wire.accounts import AHEAD, BATCH, stamp
from workers.wire.capture import capture_frame
from workers.wire.delay_line import begin_batch
from workers.wire.device import DEVICE_RECORD, put, refuse, vacant
from workers.wire.impairment import clock_of_link
from workers.wire.messages import send_messages
from workers.wire.packet_socket import receive_packets
from workers.wire.sink import SINK_RECORD, enter, run_sink, sent_at
from workers.wire.super_frames import send_merged
from workers.wire.tap import receive_tap, send_tap
from workers.wire.xdp_socket import reap, receive_xdp, send_xdp

#: Bytes of what a device counts when it receives, from `received` to `completed`.
RECEIVED_COUNTS = 48


@kernel
def receive(wire, device, wall):
    """Receive what has come by a device, while traffic is let in; return how many frames."""
    state = record(device, DEVICE_RECORD)
    if load64(state["gate"]) == 0:
        return 0
    impairment, count = state["impairment"], 0
    keep_old(wire, device + DEVICE["received"], RECEIVED_COUNTS)
    state["batch"] = 0
    if impairment:
        state["batch_ns"] = clock_of_link(impairment, wall)
        state["batch"] = begin_batch(wire, impairment)
    if state["rx"] == PACKET_RING:
        count = receive_packets(wire, device, wall)
    elif state["rx"] == TAP:
        count = receive_tap(wire, device, wall)
    else:
        count = receive_xdp(wire, device, wall)
    state["batch"] = 0
    commit(wire)
    return count


@kernel
def flush(wire, device, wall):
    """Hand what is in a device's places to the operating system; what it cannot take at once waits there."""
    state = record(device, DEVICE_RECORD)
    if state["settled"] == state["filled"]:
        return
    if state["error"] and wall < state["retry_ns"]:
        refuse(wire, device, state["error"], state["retry_ns"])
    elif state["tx"] == XDP_RING:
        send_xdp(wire, device, wall)
    elif state["tx"] == TAP:
        send_tap(wire, device, wall)
    elif state["tx"] == SUPER_FRAMES:
        send_merged(wire, device, wall)
    else:
        send_messages(wire, device, wall)


@kernel
def room_of(device, wanted):
    """Return how many frames can be put, at most `wanted`."""
    if load64(device + DEVICE["tx"]) == XDP_RING:
        reap(device)
    return vacant(device, wanted)


@kernel
def send_out(wire, sink, since, wall):
    """Send what a TX ring holds to its device, as :func:`workers.wire.sink.run_sink` does to other ends."""
    state = record(sink, SINK_RECORD)
    if state["impairment"]:
        return run_sink(wire, sink, since, wall)
    ring, device, line, capture = state["ring"], state["device"], state["line"], state["capture"]
    count = available(ring, BATCH)
    if count == 0:
        return 0
    count = room_of(device, count)
    clock = wall
    if state["clock"]:
        clock = relaxed64(state["clock"])
        since = clock - 1000
    now, sent = stamp(clock), 0
    enter(wire, state)
    keep_old(wire, device + DEVICE["filled"], 8)
    tail, mask, slots = next_pop(ring), load64(ring + RING["mask"]), load64(ring + RING["slots"])
    tags, pool = load64(ring + RING["tags"]), load64(ring + RING["pool"])
    for i in range(count):
        if i + 2 * AHEAD < count:
            prefetch_read(slots + ((tail + i + 2 * AHEAD) & mask) * SLOT.size)
        at = (tail + i) & mask
        slot = slots + at * SLOT.size
        described = load64(slot + SLOT["time"])
        length, frame = described >> 32 & 0xFFFF, frame_address(slot, pool)
        if line:
            through = sent_at(line, length, since, clock)
            if through < 0:
                break
            now = stamp(through)
        if capture:
            capture_frame(capture, frame, length, wall)
        put(wire, device, frame, length, load16(tags + 2 * at), described & 0xFFFFFFFF, now)
        sent += 1
    pop_to(ring, tail + sent)
    commit(wire)
    flush(wire, device, wall)
    return sent
