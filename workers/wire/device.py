# SPDX-License-Identifier: MIT
"""Devices: interfaces of the operating system at the far ends of ports. Each kind of socket has a file of its own.

Towards the platform each kind hands its frames to :func:`take`. From the platform a frame is :func:`put` into a place;
:func:`workers.wire.devices.flush` then hands the filled places to the operating system, and accounts for those that it
has taken. What it does not take is a drop of the router whose frame it was.
"""

from __future__ import annotations

from shm.intrinsics import add64, copy, kernel, load32, load64, record, store32, store64
from shm.link_layout import CHUNK_BITS, DEVICE, PLACE
from shm.wire_layout import TALLY
from workers.datapath.headers import ETHER_DST, ETHER_SIZE, load_mac
from workers.datapath.nic import arrive
from workers.datapath.wire_transaction import change, commit, increase
from workers.wire.accounts import count_frame, stamp
from workers.wire.impairment import take_frame

DEVICE_RECORD = DEVICE.dtype
#: Frames that a device receives before the next has its turn.
RECEIVED_MOST = 64
#: A device that refuses frames is tried again after so long.
RETRY_NS = 1_000_000
#: Frames that a device does not take for so long are dropped.
STALLED_NS = 100_000_000
#: What becomes of a frame in a place, as the field of TALLY that counts it.
SENT = 0
LINK_DOWN, LINK_FULL, LINK_REFUSED = TALLY["link_down"], TALLY["link_full"], TALLY["link_refused"]


@kernel
def take(wire, device, frame, length, time):
    """Receive a frame that a device has brought, once the wire commits: it goes to the routers that claim it."""
    state = record(device, DEVICE_RECORD)
    state["received"] += 1
    state["received_bytes"] += length
    if state["batch"]:
        take_frame(state["impairment"], state["batch"], frame, length, 0, state["batch_ns"])
    elif arrive(wire, state["claims"], frame, length, time) == 0:
        state["unclaimed"] += 1
        if length >= ETHER_SIZE:
            state["stray"] = load_mac(frame + ETHER_DST)


@kernel
def arrival_time(device, wall):
    """Return the descriptor's time for what arrives at `wall` ns; 0, none, where cores have clocks of their own."""
    return stamp(wall) if load64(device + DEVICE["timed"]) else 0


@kernel
def place_at(device, index):
    """Return the address of a PLACE by a count that never wraps."""
    return load64(device + DEVICE["places"]) + (index & load64(device + DEVICE["place_mask"])) * PLACE.size


@kernel
def chunk_at(device, index):
    """Return the address of a place's bytes."""
    return load64(device + DEVICE["chunks"]) + ((index & load64(device + DEVICE["place_mask"])) << CHUNK_BITS)


@kernel
def vacant(device, wanted):
    """Return how many frames can be put, at most `wanted`."""
    filled = load64(device + DEVICE["filled"])
    free = load64(device + DEVICE["place_mask"]) + 1 - (filled - load64(device + DEVICE["settled"]))
    wanted = wanted if wanted < free else free
    count = 0
    while count < wanted:
        # An interface may be done with frames in another order than it got them.
        if load64(place_at(device, filled + count) + PLACE["busy"]):
            break
        count += 1
    return count


@kernel
def put(wire, device, frame, length, router, time, left):
    """Put a frame of a router into the next place; the caller has asked for room, and will commit and flush.

    One that the device cannot carry is dropped; so nothing is sent that is cut.
    """
    if length > load64(device + DEVICE["longest"]) or length < ETHER_SIZE:
        increase(wire, load64(load64(device + DEVICE["counts"]) + 8 * router) + LINK_REFUSED, 1)
        return
    filled = load64(device + DEVICE["filled"])
    copy(chunk_at(device, filled), frame, length)
    place = place_at(device, filled)
    store32(place + PLACE["length"], length)
    store32(place + PLACE["router"], router)
    store32(place + PLACE["time"], time)
    store32(place + PLACE["left"], left)
    store64(device + DEVICE["filled"], filled + 1)


@kernel
def settle(wire, device, end, fate):
    """Account for the places up to `end`: SENT, or the field of TALLY that counts why they were not.

    This is a transaction of its own, after the system call: frames of a call in which a wire is killed are sent again
    by the next, unless the operating system tells which it has taken, and are counted once.
    """
    counts = load64(device + DEVICE["counts"])
    for index in range(load64(device + DEVICE["settled"]), end):
        place = place_at(device, index)
        router = load32(place + PLACE["router"])
        if load64(counts + 8 * router) == 0:
            continue  # it has been removed, with its account
        if fate == SENT:
            count_frame(
                wire,
                load64(counts + 8 * router),
                load32(place + PLACE["length"]),
                load32(place + PLACE["time"]),
                load32(place + PLACE["left"]),
            )
        else:
            increase(wire, load64(counts + 8 * router) + fate, 1)
    change(wire, device + DEVICE["settled"], end)
    if load64(device + DEVICE["offered"]) < end:
        change(wire, device + DEVICE["offered"], end)
    commit(wire)


@kernel
def taken(device):
    """Note that a device takes frames."""
    store64(device + DEVICE["error"], 0)
    store64(device + DEVICE["stalled_ns"], 0)


@kernel
def refuse(wire, device, error, retry_ns):
    """Drop all that waits for a device that is down or gone, and what comes until it is tried again at `retry_ns`."""
    settle(wire, device, load64(device + DEVICE["filled"]), LINK_DOWN)
    if load64(device + DEVICE["error"]) == 0:
        add64(device + DEVICE["refusals"], 1)
    store64(device + DEVICE["error"], error)
    store64(device + DEVICE["retry_ns"], retry_ns)
    store64(device + DEVICE["stalled_ns"], 0)


@kernel
def stalls(device, wall):
    """Note that a device has taken nothing; return whether it has not for so long that what waits is dropped."""
    since = load64(device + DEVICE["stalled_ns"])
    if since == 0:
        store64(device + DEVICE["stalled_ns"], wall)
        return 0
    return wall - since > STALLED_NS
