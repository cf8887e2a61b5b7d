# SPDX-License-Identifier: MIT
"""The wire: what is outside the router. It stands for NIC hardware and links, and costs no core time.

A source writes frames into an RX ring at its rate, and counts those for which the ring has no room. A sink
empties a TX ring: it keeps each router's account and latency histogram, writes captures, and carries
frames over cables to other ports. A device is both, at the far end of a port that leads out of the platform. One
compiled loop serves all of a wire process.
"""

from __future__ import annotations

from shm.intrinsics import acquire64, kernel, load64, pause, record, relaxed64, release64, store64, ticks
from shm.layout import CORE
from shm.wire_layout import SINK, WIRE
from workers.core.clock import to_ns
from workers.wire.devices import flush, receive, send_out
from workers.wire.far_end import run_link
from workers.wire.sink import run_sink
from workers.wire.source import run_source

#: Pauses between two rounds that move nothing.
PAUSES = 16
WIRE_RECORD = WIRE.dtype


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
        clock = relaxed64(core + CORE["clock_ns"])
        store64(core + CORE["now_served"], clock)
        if clock > state["paced_ns"]:
            state["paced_ns"] = clock
    count, back = acquire64(wire + WIRE["source_count"]), state["loops"] & 1
    for i in range(count):
        # Alternate the direction, so that the same source is not always served last in a shared ring.
        source = acquire64(state["sources"] + 8 * (count - 1 - i if back else i))
        if source:
            moved += run_source(wire, source, wall, back)
    for i in range(state["device_count"]):
        device = load64(state["devices"] + 8 * i)
        moved += receive(wire, device, wall)
        flush(wire, device, wall)
    if state["virtual"] == 0:
        # Sources took their time: what left since then did not leave when they began.
        wall = wall_ns(state, ticks())
    for i in range(state["sink_count"]):
        sink = state["sinks"] + i * SINK.size
        if load64(sink + SINK["device"]):
            moved += send_out(wire, sink, state["last_ns"], wall)
        else:
            moved += run_sink(wire, sink, state["last_ns"], wall)
    for i in range(acquire64(wire + WIRE["link_count"])):
        moved += run_link(wire, load64(state["links"] + 8 * i), wall)
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
