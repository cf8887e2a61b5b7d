# SPDX-License-Identifier: MIT
"""Moving frames between a router and the TAPs of its control plane.

The process is the router's own: however many frames come, neither the wire nor another router waits for a TAP. Each
frame is a system call, the least that a TAP can be had for.
"""

from __future__ import annotations

from shm.intrinsics import add64, kernel, load16, load64, record, store64
from shm.layout import RING, SLOT
from shm.ring import available, next_pop, pop_to, publish, release, room, slot_at
from shm.route_layout import PUMP, PUMP_PORT
from shm.syscalls import EPOLL_PWAIT, READ, WRITE, sys6
from workers.datapath.nic import deliver
from workers.datapath.packet import LARGE_ROOM, frame_address

#: Frames that a TAP has its turn for.
_BATCH = 64
#: How long to wait, in ms, for a frame from a TAP: the rings are looked at in between.
_BUSY_MS, _IDLE_MS = 1, 10
#: Rounds without a frame after which it idles, and rounds until the interpreter runs.
_PATIENCE, _ROUNDS = 200, 10
PUMP_RECORD, PORT_RECORD = PUMP.dtype, PUMP_PORT.dtype


@kernel
def write_tap(port):
    """Write what the router has sent to a TAP; return how many frames left the ring."""
    state = record(port, PORT_RECORD)
    ring = state["up"]
    count = available(ring, _BATCH)
    if count == 0:
        return 0
    pool, tail = load64(ring + RING["pool"]), next_pop(ring)
    for i in range(count):
        slot = slot_at(ring, tail + i)
        # A TAP takes a frame or refuses it at once: it waits for nobody.
        if sys6(WRITE, state["tap"], frame_address(slot, pool), load16(slot + SLOT["length"]), 0, 0, 0) < 0:
            state["refused"] += 1
        else:
            state["sent"] += 1
    pop_to(ring, tail + count)
    release(ring)
    return count


@kernel
def read_tap(port, buffer):
    """Put what the control plane sends into the router's RX ring; return how many frames came."""
    state = record(port, PORT_RECORD)
    ring, count = state["down"], 0
    while count < _BATCH:
        length = sys6(READ, state["tap"], buffer, LARGE_ROOM, 0, 0, 0)
        if length <= 0:
            break
        count += 1
        if room(ring, 1):
            deliver(ring, buffer, length, 0, 0)
            state["received"] += 1
        else:
            add64(ring + RING["full"], 1)
    if count:
        publish(ring)
    return count


@kernel
def run_pump(pump):
    """Move frames for some rounds, and wait for them in between; return how many were moved."""
    state = record(pump, PUMP_RECORD)
    total = 0
    for _ in range(_ROUNDS):
        moved = 0
        for i in range(state["count"]):
            port = state["ports"] + i * PUMP_PORT.size
            moved += write_tap(port)
            moved += read_tap(port, state["buffer"])
        state["rounds"] += 1
        total += moved
        if moved:
            state["idle"] = 0
        else:
            state["idle"] += 1
            wait = _IDLE_MS if state["idle"] > _PATIENCE else _BUSY_MS
            sys6(EPOLL_PWAIT, state["epoll"], pump + PUMP["events"], 1, wait, 0, 8)
    return total


def rejoin(up: int, down: int) -> None:
    """Let the rings of a TAP go on where this process's predecessor, if there was one, has published last."""
    store64(up + RING["next_tail"], load64(up + RING["tail"]))
    store64(down + RING["next_head"], load64(down + RING["head"]))
