# SPDX-License-Identifier: MIT
"""The control planes of a platform's routers: their namespaces, daemons and routes, while it runs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from ipaddress import IPv4Interface
from typing import Any

from shm.intrinsics import load64, store64
from shm.layout import CORE
from shm.route_layout import FEED, PUMP_PORT
from vre.config.control_ports import outputs_of
from vre.config.model import Model, Router
from vre.control_plane.daemon import Daemon
from vre.control_plane.namespace import interfaces, open_namespace
from vre.control_plane.routes import Exit, RouteFeed
from vre.memory.control import ControlMemory
from vre.memory.layout import Builder

#: How long routes are applied at one look, all routers together: a fifth of the time between two looks.
_LOOK_S = 0.001
_NEVER = 1 << 62


class Plane:
    """One router's control plane."""

    def __init__(self, router: Router, report: Callable[[str], None]) -> None:
        assert router.control
        self.router, self._control = router, router.control
        self.namespace, self.numbers = open_namespace(router)
        self.ports = interfaces(router)
        self.daemon: Daemon | None = None
        if router.control.kind != "static":
            self.daemon = Daemon(router, self.ports, self.namespace, report)
            self.daemon.on_end, self.daemon.on_start = self._hold, self._release
        self.feed: RouteFeed | None = None
        self._memory: ControlMemory | None = None

    def attach(self, builder: Builder, nudge: Callable[[], None]) -> None:
        """Connect its routes with the router's forwarding table; the memory is filled."""
        memory, program = builder.controls[self.router.name], builder.routers[self.router.name].program
        self._memory = memory
        graph = program.graph
        lookup = next(i for i, node in enumerate(graph.nodes) if node.cls.fib)
        outputs = outputs_of(graph, lookup)
        exits = {}
        for name, addresses in self.ports.items():
            output = outputs.get(self.router.names.get(name, name))
            if output is not None:
                networks = tuple(IPv4Interface(a).network for a in addresses if ":" not in a)
                exits[self.numbers[name]] = Exit(output, networks)

        def beats() -> list[int]:
            cores = sorted(set(builder.routers[self.router.name].cores.values()))
            return [load64(builder.cores[core].address + CORE["heartbeat"]) for core in cores]

        node = graph.nodes[lookup]
        self.feed = RouteFeed(memory.feed, exits, program.fibs[node.name], list(node.values["route"]), beats, nudge)

    def _hold(self) -> None:
        """Keep the routes that a daemon has left."""
        if self._memory:
            store64(self._memory.feed + FEED["hold_until_ns"], _NEVER)

    def _release(self) -> None:
        """Give a daemon that is back time to announce its routes again."""
        if self._memory and load64(self._memory.feed + FEED["hold_until_ns"]):
            until = time.monotonic_ns() + int(self._control.hold_s * 1e9)
            store64(self._memory.feed + FEED["hold_until_ns"], until)

    def row(self) -> dict[str, Any]:
        """Return what it is and does, as plain data."""
        assert self._memory and self.feed
        feed, ports = self._memory.feed, self._memory.pump_ports
        return {
            "router": self.router.name,
            "kind": self._control.kind,
            "state": self.daemon.state if self.daemon else "static",
            "pid": self.daemon.pid if self.daemon else 0,
            "served_by": load64(feed + FEED["pid"]),
            "restarts": self.daemon.restarts if self.daemon else 0,
            "namespace": f"/proc/{os.getpid()}/fd/{self.namespace}",
            "routes": load64(feed + FEED["routes"]),
            "refused": self.feed.counts.refused,
            "no_room": len(self.feed.waiting),
            "beyond": load64(feed + FEED["beyond"]),
            "dumps": load64(feed + FEED["dumps"]),
            "sent": sum(load64(port + PUMP_PORT["received"]) for port in ports),
            "received": sum(load64(port + PUMP_PORT["sent"]) for port in ports),
        }

    def end(self) -> None:
        """End the daemon, and let the namespace go."""
        if self.daemon:
            self.daemon.end()
        os.close(self.namespace)


class ControlPlanes:
    """All control planes of a platform.

    Parameters
    ----------
    model : Model
    report : callable
        Told of events.
    """

    def __init__(self, model: Model, report: Callable[[str], None]) -> None:
        self._model, self._report = model, report
        self._planes: dict[str, Plane] = {}
        self._next = 0

    def open(self) -> None:
        """Make the namespaces, and have the daemons check their configurations. Raises PlatformError, ConfigError."""
        for router in self._model.routers.values():
            if router.control:
                plane = self._planes[router.name] = Plane(router, self._report)
                if plane.daemon:
                    plane.daemon.check()

    def attach(self, builder: Builder, nudge: Callable[[], None]) -> None:
        """Connect the routes of all with their routers' forwarding tables; the memory is filled."""
        for plane in self._planes.values():
            plane.attach(builder, nudge)

    def name_namespaces(self, builder: Builder) -> None:
        """Tell the memory which namespaces there are: manifests have them."""
        for name, plane in self._planes.items():
            builder.controls[name].namespace = plane.namespace

    def begin(self, now: float) -> None:
        """Start the daemons."""
        for plane in self._planes.values():
            if plane.daemon:
                plane.daemon.start(now)

    def look(self, now: float) -> None:
        """Apply routes and look after daemons: a bounded part of it, each router in its turn."""
        planes = list(self._planes.values())
        end = time.perf_counter() + _LOOK_S
        for i in range(len(planes)):
            plane = planes[(self._next + i) % len(planes)]
            if plane.daemon:
                plane.daemon.look(now)
            left = end - time.perf_counter()
            if plane.feed and left > 0:
                plane.feed.look(left / (len(planes) - i))
        self._next += 1

    def rows(self) -> list[dict[str, Any]]:
        """Return what there is of each router's control plane, as plain data."""
        return [plane.row() for plane in self._planes.values()]

    def end(self) -> None:
        """End all of them."""
        for plane in self._planes.values():
            plane.end()
        self._planes.clear()
