# SPDX-License-Identifier: MIT
"""The traffic of a running platform's links: started, stopped, paused for one router, its rate changed."""

from __future__ import annotations

from shm.intrinsics import load64, store64
from shm.wire_layout import SOURCE, WIRE
from vre.memory.wire import interval
from vre.platform.handlers import Handlers
from vre.platform.runtime import Runtime


def let_in(runtime: Runtime, flowing: bool) -> None:
    """Start or stop the traffic of all links."""
    store64(runtime.manifest.wire.address + WIRE["gate"], int(flowing))


def rest(runtime: Runtime, router: str, resting: bool) -> None:
    """Pause or resume the traffic to one router."""
    for source in runtime.manifest.wire.sources:
        if source.router == router:
            store64(source.address + SOURCE["paused"], int(resting))


def set_rate(runtime: Runtime, router: str, rate: float) -> None:
    """Set the rate of the traffic to one router, in packets a second."""
    plans = [plan for plan in runtime.links.sources if plan.router == router]
    for plan in plans:
        store64(plan.address + SOURCE["paused"], 1)
    runtime.quiesce_wire()
    for plan in plans:
        plan.rate = rate
        store64(plan.address + SOURCE["interval"], interval(rate, plan.burst))
        store64(plan.address + SOURCE["start_ns"], -1)
    runtime.links.share_rings()
    for plan in plans:
        store64(plan.address + SOURCE["paused"], 0)


def finished(runtime: Runtime, handlers: Handlers) -> bool:
    """Return whether every link that has an end has reached it; False while one without end sends."""
    sources = runtime.manifest.wire.sources
    if runtime.manifest.wire.devices:
        return False  # the world does not end
    endless = [source for source in sources if not source.finite and source.router]
    made = any(kind == "source" for router in runtime.model.routers.values() for kind, _ in router.graph.tasks)
    if not sources or endless:
        # Every source element with STOP has made its LIMIT of packets.
        return not sources and made and handlers.sources_done()
    return bool(load64(runtime.manifest.wire.address + WIRE["finished"]))
