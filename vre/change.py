# SPDX-License-Identifier: MIT
"""Changing a platform while it runs: entitlements, places, routers, configurations.

| change | what others notice |
| --- | --- |
| entitlement, weights | nothing: strides are single words |
| move of a group of tasks | nothing: the core it leaves finishes a slice |
| router added, removed, replaced | their core's next worker takes over between two slices |

A task is taken off a core in three steps: it is unlinked, its worker finishes the slice it may have it in, and the
wire sends what it has put into the core's TX rings. Only then does it run elsewhere, so packets keep their order.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from shm.layout import CLIENT, CORE, SLOT, TIME_UNIT_NS
from shm.memory import load64, store64
from shm.outside import SOURCE
from shm.ring import HEAD, TAIL
from vre.allocation import Placed, allocate, placement, split
from vre.errors import ConfigError, Problem
from vre.graph import Graph
from vre.inside import bridge, problems_inside
from vre.model import Router
from vre.roster import attach, discharge, place_all, set_weights, unlink
from vre.space import RingPlan, view
from vre.swap import take_over
from vre.tenant import Program, Tenant, fill_program, plan_program
from vre.validate import validate

if TYPE_CHECKING:
    from vre.platform import Platform

#: How long the wire is given to send what waits in a TX ring: a capture's file may be behind.
_DRAIN_S = 2.0


class Changes:
    """All changes of one running platform."""

    def __init__(self, platform: Platform) -> None:
        self.platform, self.model = platform, platform.model
        self.builder, self.links = platform.builder, platform.links

    # Entitlements.

    def entitle(self, name: str, entitlement: float) -> None:
        """Promise a router another share. Raises ConfigError."""
        router = self.model.routers[name]
        before, router.entitlement = router.entitlement, entitlement
        problems = self._problems()
        if problems:
            router.entitlement = before
            raise ConfigError(problems)
        self.place(allocate(self.model, self.platform.demands(), self.now_placed()))

    def _problems(self) -> list[Problem]:
        return validate(self.model, lambda message, *path: Problem(None, f"{'.'.join(path)}: {message}"))

    # Places.

    def now_placed(self) -> dict[tuple[str, int], int]:
        """Return (router, task number) to the core that it is on, classifiers included."""
        found = {(t.name, number): core for t in self.builder.tenants.values() for number, core in t.cores.items()}
        return found | {(port.name, 0): port.core for port in self.builder.ports.values() if port.queue}

    def place(self, placed: list[Placed]) -> int:
        """Make a placement true; return how many groups moved. Classifiers stay where they are."""
        moved, now = 0, self.now_placed()
        settled = []
        for group in placed:
            core = now[group.router, group.tasks[0]]
            if core != group.core and group.router in self.builder.tenants:
                self.move(group.router, group.tasks, group.core)
                moved, core = moved + 1, group.core
            settled.append(Placed(group.router, group.tasks, core, group.weight, group.pinned))
        self.platform.placed = settled
        set_weights(self.builder, split(self.model, settled))
        self.platform.publish()
        return moved

    def move(self, name: str, tasks: Sequence[int], core: int) -> float:
        """Move a group of a router's tasks to another core; return how long they rested, in seconds."""
        tenant = self.builder.tenants[name]
        old = tenant.cores[tasks[0]]
        begun = time.monotonic()
        sources = self._rest_sources(name) if self.platform.plan.dilated else []
        self.stop_tasks(tenant, tenant.program, tasks)
        if sources:
            self._change_clocks(tenant, sources, old, core)
        for number in tasks:
            attach(self.builder, tenant, number, core)
        self.platform.placed = [
            Placed(p.router, p.tasks, core, p.weight, p.pinned) if (p.router, p.tasks[0]) == (name, tasks[0]) else p
            for p in self.platform.placed
        ]
        set_weights(self.builder, split(self.model, self.platform.placed))
        self.platform.publish()
        for source in sources:
            store64(source + SOURCE["paused"], 0)
        return time.monotonic() - begun

    def stop_tasks(self, tenant: Tenant, program: Program, tasks: Sequence[int]) -> None:
        """Take tasks off their cores: nothing of theirs is in hand or in a TX ring any more."""
        cores = sorted({tenant.cores[number] for number in tasks})
        for number in tasks:
            unlink(self.builder, tenant.cores[number], program.tasks[number])
        self.platform.quiesce(*cores)
        for core in cores:
            # The worker may have left a mark on a task that is gone.
            store64(tenant.client(core) + CLIENT["last"], 0)
            self._drain(core)

    def _drain(self, core: int) -> None:
        """Wait until the wire has sent all that is in a core's TX rings now."""
        rings = [port.tx[core].address for port in self.builder.ports.values()]
        heads = [load64(ring + HEAD) for ring in rings]
        end = self.platform.now() + _DRAIN_S
        while any(load64(r + TAIL) < h for r, h in zip(rings, heads, strict=True)) and self.platform.now() < end:
            self.platform.wait(0.0001)

    def _rest_sources(self, name: str) -> list[int]:
        sources = [plan.address for plan in self.links.sources if plan.router == name]
        for source in sources:
            store64(source + SOURCE["paused"], 1)
        self.platform.quiesce_wire()
        return sources

    def _change_clocks(self, tenant: Tenant, sources: list[int], old: int, new: int) -> None:
        """Let times that were on one core's clock be on another's: of sources, and of packets that wait."""
        clocks = [self.builder.cores[core].address + CORE["clock_ns"] for core in (old, new)]
        shift = load64(clocks[1]) - load64(clocks[0])
        for source in sources:
            if load64(source + SOURCE["clock"]) == clocks[0]:
                store64(source + SOURCE["clock"], clocks[1])
                if load64(source + SOURCE["start_ns"]) >= 0:
                    store64(source + SOURCE["start_ns"], load64(source + SOURCE["start_ns"]) + shift)
        for ring in [*tenant.rx.values(), *tenant.program.rings]:
            _shift_times(ring, shift // TIME_UNIT_NS)

    # Routers.

    def add(self, router: Router) -> None:
        """Add a router. Raises ConfigError."""
        if router.name in self.model.routers:
            raise ConfigError([Problem(None, f"there is a router '{router.name}' already")])
        before = self.now_placed()
        self.model.routers[router.name] = router
        problems = self._problems()
        if self.model.places > len(self.builder.cores):
            problems.append(
                Problem(None, f"'{router.name}' is mapped directly: the first such router must be there at the start")
            )
        if problems:
            del self.model.routers[router.name]
            raise ConfigError(problems)
        platform = self.platform
        tenant = self.builder.plan(router)
        fresh = self.links.plan_sources([router.name])
        platform.make_room()
        self.builder.fill_tenant(tenant)
        self.links.open_accounts(tenant)
        platform.publish()
        platform.renew()
        placed = allocate(self.model, platform.demands(), before, fixed=True)
        place_all(self.builder, {k: c for k, c in placement(placed).items() if k[0] == router.name})
        platform.placed = placed
        set_weights(self.builder, split(self.model, placed))
        try:
            platform.domus.launch([tenant], platform.wait)
        except BaseException:
            self.remove(router.name)
            raise
        for plan in fresh:
            self.links.fill_source(plan)
        platform.publish()
        platform.report_notes()

    def remove(self, name: str) -> None:
        """Remove a router; what waits in its rings goes with it."""
        tenant, platform = self.builder.tenants[name], self.platform
        platform.domus.dismiss(name, platform.wait)
        gone = self.links.remove_sources(name)
        for port in self.builder.ports.values():
            port.disclaim(tenant)
        self.platform.quiesce_wire()
        classifying = [port.core for port in self.builder.ports.values() if port.queue]
        platform.quiesce(*classifying)
        self.stop_tasks(tenant, tenant.program, list(tenant.cores))
        platform.quiesce(*tenant.slots)
        discharge(self.builder, tenant)
        platform.quiesce(*range(len(self.builder.cores)))
        del self.model.routers[name]
        del self.builder.tenants[name]
        space = self.builder.space
        space.forget(tenant.label, list(tenant.rx.values()))
        space.forget(tenant.program.label, tenant.program.rings)
        if gone:
            space.forget(f"traffic-{name}", [])
        platform.placed = [p for p in platform.placed if p.router != name]
        set_weights(self.builder, split(self.model, platform.placed))
        platform.publish()
        platform.renew()
        space.sweep()

    # Configurations.

    def replace(self, name: str, graph: Graph) -> float:
        """Give a router another configuration; return how long it rested, in seconds. Raises ConfigError."""
        tenant, platform = self.builder.tenants[name], self.platform
        router = tenant.router
        before = router.graph, router.inner
        problems = problems_inside(graph) if router.inner else []
        router.graph, router.inner = (bridge(graph), graph) if router.inner else (graph, None)
        problems = problems or self._problems() or self._same_ports(tenant, before[0], router.graph)
        if problems:
            router.graph, router.inner = before
            raise ConfigError(problems)
        try:
            platform.domus.rehearse(tenant, router.graph, platform.wait)
        except BaseException:
            router.graph, router.inner = before
            raise
        new = plan_program(self.builder.space, tenant.router, tenant.generation + 1)
        platform.make_room()
        fill_program(tenant, new, self.model)
        platform.publish(upcoming=[tenant.manifest_of(new)])
        platform.renew()
        others = {key: core for key, core in self.now_placed().items() if key[0] != name}
        placed = allocate(self.model, platform.demands(), others, fixed=True)
        begun = time.monotonic()
        old = tenant.program
        platform.domus.dismiss(name, platform.wait)
        self.stop_tasks(tenant, old, list(tenant.cores))
        take_over(tenant, old, new)
        tenant.program, tenant.generation = new, tenant.generation + 1
        tenant.cores.clear()
        place_all(self.builder, {k: c for k, c in placement(placed).items() if k[0] == name})
        platform.placed = placed
        set_weights(self.builder, split(self.model, placed))
        rested = time.monotonic() - begun
        platform.domus.launch([tenant], platform.wait)
        self.builder.space.forget(old.label, old.rings)
        platform.publish()
        self.builder.space.sweep()
        return rested

    @staticmethod
    def _same_ports(tenant: Tenant, old: Graph, new: Graph) -> list[Problem]:
        ports = [{n.values["devname"] for n in graph.nodes if n.cls.driver == "rx"} for graph in (old, new)]
        if ports[0] == ports[1]:
            return []
        said = ", ".join(sorted(ports[0])) or "none"
        message = f"'{tenant.name}' receives from other ports than before ({said}): remove the router, and add it anew"
        return [Problem(None, message)]


def _shift_times(plan: RingPlan, units: int) -> None:
    """Add to the time stamps of the packets that wait in a ring; nobody uses it."""
    head, tail = load64(plan.address + HEAD), load64(plan.address + TAIL)
    slots = view(plan.slots, SLOT.dtype, plan.count)
    for index in range(tail, head):
        at = index % plan.count
        if slots["time"][at]:
            slots["time"][at] = (int(slots["time"][at]) + units) & 0xFFFFFFFF | 1
