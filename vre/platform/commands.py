# SPDX-License-Identifier: MIT
"""The commands of a running platform: from Python, through its socket, or from a router's domU."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from vre.config.fields import MAX_CORES, boolean, choice, entitlement_text, integer, number
from vre.config.model import Router
from vre.config.reader import from_text, load_model
from vre.domu.domus import Domus
from vre.errors import PlatformError, nearest
from vre.platform import traffic
from vre.platform.accounts import Reader
from vre.platform.arguments import described_router, held, optional
from vre.platform.changes import Changes
from vre.platform.connections import LONGEST
from vre.platform.handlers import Handlers
from vre.platform.impairments import port_of, resolve, settings
from vre.platform.runtime import Runtime
from vre.platform.verbs import NAME, text
from vre.supervision.offload import apart
from vre.supervision.watchdog import Watchdog
from workers.arguments import RATES


class Commands:
    """Validates the commands to a running platform and carries them out, one change at a time.

    Parameters
    ----------
    runtime : Runtime
    changes : Changes
    handlers : Handlers
    domus : Domus
    watchdog : Watchdog
    reader : Reader

    Attributes
    ----------
    changing : bool
        A change is in progress.
    """

    def __init__(
        self,
        runtime: Runtime,
        changes: Changes,
        handlers: Handlers,
        domus: Domus,
        watchdog: Watchdog,
        reader: Reader,
    ) -> None:
        self._runtime, self._changes, self._handlers = runtime, changes, handlers
        self._domus, self._watchdog, self._reader = domus, watchdog, reader
        self._model = runtime.model
        self.changing = False

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """Allow one change at a time: meanwhile requests over the socket may only read, and write handlers."""
        if self.changing:
            raise PlatformError("a change is in progress: ask again when it is done")
        self.changing = True
        try:
            yield
        finally:
            self.changing = False

    @property
    def _passing(self) -> Callable[[float], None]:
        """How to wait while a process works: logical time stands still meanwhile."""
        return time.sleep if self._model.clock == "virtual" else self._runtime.wait

    def read(self, what: str) -> str:
        """Return the value of `"router/element.handler"` or `"router.entitlement"`. Raises PlatformError."""
        name, handler = self._named(what)
        if handler is None:
            return f"{self._model.routers[name].entitlement:g}"
        return self.read_handler(name, handler)

    def write(self, what: str, value: str | float) -> None:
        """Write a handler or an entitlement, or release a router; a value may be a number, too.

        Raises PlatformError, ConfigError, HandlerError.
        """
        value = str(value)
        if isinstance(what, str) and what.endswith(".release") and "/" not in what:
            self.release(what.removesuffix(".release"))
            return
        name, handler = self._named(what)
        if handler is None:
            with self._changing():
                self._changes.entitle(name, entitlement_text(value))
        else:
            self.write_handler(name, handler, value)

    @held(most=optional(integer(0, 1 << 62)))
    def read_handler(self, name: str, handler: str, most: int | None = None) -> str:
        """Return the value of a router's `element.handler`, or its first `most` characters. Raises HandlerError."""
        return self._runtime.boundary.call("read", f"router {name}", self._handlers.read, name, handler, most)

    def write_handler(self, name: str, handler: str, value: str) -> None:
        """Write a router's `element.handler`. Raises HandlerError."""
        self._runtime.boundary.call("write", f"router {name}", self._handlers.write, name, handler, value)

    @held(name=text(NAME))
    def release(self, name: str) -> None:
        """End the quarantine of a router's paths and of its domU. Raises PlatformError if there is none."""
        self.require(name)
        with self._changing():
            paths = self._watchdog.release(name)
            if paths:
                self._runtime.report(f"router {name}: {paths} path(s) released from quarantine")
            if self._domus.quarantined(name) or not paths:
                self._domus.release_quarantine(name)

    def _named(self, what: str) -> tuple[str, str | None]:
        what = str(what)
        name, slash, handler = what.partition("/")
        if not slash:
            name, _, field = what.rpartition(".")
            if field != "entitlement":
                raise PlatformError(f"'{what}' is not ROUTER/ELEMENT.HANDLER or ROUTER.entitlement")
        self.require(name)
        return name, handler if slash else None

    def require(self, name: str) -> None:
        """Raise PlatformError if there is no router of that name."""
        if name not in self._model.routers:
            raise PlatformError(f"no router '{name}'{nearest(name, self._model.routers)}")

    @held(router=described_router)
    def add(self, router: Router) -> None:
        """Add a router while the platform runs. Raises ConfigError, PlatformError."""
        with self._changing():
            _forget_addresses(router)
            self._changes.add(router)
            self._runtime.report(f"router {router.name} added")

    @held(file=Path, name=text(NAME))
    def add_from(self, file: Path, name: str) -> None:
        """Add the router of that name in a platform file. Raises as :meth:`add` does."""
        with self._changing():
            routers = apart(f"reading {file}", self._passing, load_model, file).routers
            if name not in routers:
                raise PlatformError(f"{file} has no router '{name}'{nearest(name, routers)}")
            _forget_addresses(routers[name])
            self._changes.add(routers[name])
            self._runtime.report(f"router {name} added")

    @held(name=text(NAME))
    def remove(self, name: str) -> None:
        """Remove a router while the platform runs. Raises PlatformError."""
        self.require(name)
        if len(self._model.routers) == 1:
            raise PlatformError(f"'{name}' is the only router: end the platform instead")
        with self._changing():
            last = self._reader.router(name)
            self._changes.remove(name)
            self._runtime.report(f"router {name} removed; it had forwarded {last.forwarded:,} packets")

    @held(name=text(NAME), config=text(LONGEST), file=text(4096))
    def replace(self, name: str, config: str, file: str = "config") -> float:
        """Replace a router's configuration; return how long it was paused, in seconds. Raises ConfigError."""
        self.require(name)
        with self._changing():
            graph = apart(f"checking the configuration of '{name}'", self._passing, from_text, config, file)
            graph.rename_ports(self._model.routers[name].names)
            rested = self._changes.replace(name, graph)
            self._runtime.report(f"router {name} has another configuration; paused for {rested * 1e3:.1f} ms")
        return rested

    @held(path=text(NAME), core=integer(0, MAX_CORES))
    def move(self, path: str, core: int) -> float:
        """Move `"router/task"`, with all tasks that share elements with it, to a core; return its pause in s."""
        name, _, driver = path.partition("/")
        self.require(name)
        graph = self._model.routers[name].graph
        tasks = {graph.task_name(t): t for t in range(len(graph.tasks))}
        if driver not in tasks:
            raise PlatformError(f"no task '{driver}' in router '{name}'{nearest(driver, tasks)}")
        if not 0 <= core < self._model.cores:
            raise PlatformError(f"there is no core {core}: the platform has {self._model.cores}, from 0")
        if self._model.routers[name].direct:
            raise PlatformError(f"router '{name}' is mapped directly: it is on no core")
        group = next(group for group in graph.groups if tasks[driver] in group)
        with self._changing():
            return self._changes.move(name, group, core)

    @held(port=text(NAME), direction=optional(choice("in", "out")), clear=boolean)
    def link(self, port: str, direction: str | None, clear: bool, values: dict[str, Any]) -> list[dict[str, Any]]:
        """Change a port's impairments, if there are values or they are cleared; return what its links do.

        Raises ConfigError, PlatformError.
        """
        nic = port_of(self._model, port)
        if values or clear:
            way, wanted = resolve(nic, direction, clear, values)
            with self._changing():
                self._changes.impairments.change(port, way, wanted)
        return settings(nic)

    @held(router=text(NAME), resting=boolean)
    def rest(self, router: str, resting: bool) -> None:
        """Pause or resume the links' traffic to one router. Raises PlatformError."""
        self.require(router)
        traffic.rest(self._runtime, router, resting)

    @held(router=text(NAME), rate=number(*RATES, "a rate"))
    def set_rate(self, router: str, rate: float) -> None:
        """Set the rate of the links' traffic to one router, in packets a second. Raises PlatformError."""
        self.require(router)
        traffic.set_rate(self._runtime, router, rate)


def _forget_addresses(router: Router) -> None:
    """Have a router's automatic MACs assigned again: they were free on the platform that described it."""
    for port in router.ports.values():
        if port.automatic:
            port.mac = -1
