# SPDX-License-Identifier: MIT
"""What a running platform can be asked: by Python code, or through its socket (:mod:`vre.platform.control_socket`)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from vre.config.fields import MAX_CORES, entitlement_text, integer
from vre.config.model import Model, Router
from vre.config.reader import from_text, load_model
from vre.errors import PlatformError, nearest
from vre.platform.arguments import described_router, held
from vre.platform.connections import LONGEST
from vre.platform.verbs import NAME, text
from vre.supervision.offload import apart

if TYPE_CHECKING:
    from vre.domu.modelled import VirtualDomus
    from vre.domu.supervisor import Domus
    from vre.platform.changes import Changes
    from vre.platform.router import RouterHandle
    from vre.supervision.watchdog import Watchdog


class Requests:
    """The part of :class:`vre.platform.platform.Platform` that checks what is asked for, and has it done."""

    model: Model
    changes: Changes
    domus: Domus | VirtualDomus
    watchdog: Watchdog
    #: A change is in progress.
    changing: bool = False

    def handle(self, name: str) -> RouterHandle:
        """Return the handle of a router."""
        raise NotImplementedError

    def wait(self, seconds: float) -> None:
        """Let time pass, and supervise."""
        raise NotImplementedError

    def report(self, event: str) -> None:
        """Take note of an event."""
        raise NotImplementedError

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """Let one change be made at a time: what is asked meanwhile, over the socket, may read, and write handlers."""
        if self.changing:
            raise PlatformError("a change is in progress: ask again when it is done")
        self.changing = True
        try:
            yield
        finally:
            self.changing = False

    @property
    def _passing(self) -> Callable[[float], None]:
        """What lets time pass while a process works: logical time stands still meanwhile."""
        return time.sleep if self.model.clock == "virtual" else self.wait

    def read(self, what: str) -> str:
        """Return the value of `"router/element.handler"` or `"router.entitlement"`. Raises PlatformError."""
        name, handler = self._named(what)
        if handler is None:
            return f"{self.model.routers[name].entitlement:g}"
        return self.handle(name).read(handler)

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
                self.changes.entitle(name, entitlement_text(value))
        else:
            self.handle(name).write(handler, value)

    @held(name=text(NAME))
    def release(self, name: str) -> None:
        """End the quarantine of a router's paths and of its domU. Raises PlatformError where there is none."""
        self._known(name)
        with self._changing():
            paths = self.watchdog.release(name)
            if paths:
                self.report(f"router {name}: {paths} path(s) released from quarantine")
            else:
                self.domus.release_quarantine(name)

    def _named(self, what: str) -> tuple[str, str | None]:
        what = str(what)
        name, slash, handler = what.partition("/")
        if not slash:
            name, _, field = what.rpartition(".")
            if field != "entitlement":
                raise PlatformError(f"'{what}' is not ROUTER/ELEMENT.HANDLER or ROUTER.entitlement")
        self._known(name)
        return name, handler if slash else None

    def _known(self, name: str) -> None:
        """Raise PlatformError where there is no router of that name."""
        if name not in self.model.routers:
            raise PlatformError(f"no router '{name}'{nearest(name, self.model.routers)}")

    def _known_cores(self, *cores: int) -> None:
        """Raise PlatformError where there is no such core; the NIC's own is the one behind the last."""
        for core in cores:
            if not 0 <= core < self.model.places:
                raise PlatformError(f"there is no core {core}: the platform has {self.model.cores}, from 0")

    @held(router=described_router)
    def add(self, router: Router) -> None:
        """Add a router while the platform runs. Raises ConfigError, PlatformError."""
        with self._changing():
            _forget_addresses(router)
            self.changes.add(router)
            self.report(f"router {router.name} added")

    @held(file=Path, name=text(NAME))
    def add_from(self, file: Path, name: str) -> None:
        """Add the router of that name in a platform file. Raises as :meth:`add` does."""
        with self._changing():
            routers = apart(f"reading {file}", self._passing, load_model, file).routers
            if name not in routers:
                raise PlatformError(f"{file} has no router '{name}'{nearest(name, routers)}")
            _forget_addresses(routers[name])
            self.changes.add(routers[name])
            self.report(f"router {name} added")

    @held(name=text(NAME))
    def remove(self, name: str) -> None:
        """Remove a router while the platform runs. Raises PlatformError."""
        self._known(name)
        if len(self.model.routers) == 1:
            raise PlatformError(f"'{name}' is the only router: end the platform instead")
        with self._changing():
            last = self.handle(name).stats()
            self.changes.remove(name)
            self.report(f"router {name} removed; it had forwarded {last.forwarded:,} packets")

    @held(name=text(NAME), config=text(LONGEST), file=text(4096))
    def replace(self, name: str, config: str, file: str = "config") -> float:
        """Give a router another configuration; return how long it rested, in seconds. Raises ConfigError."""
        self._known(name)
        with self._changing():
            graph = apart(f"checking the configuration of '{name}'", self._passing, from_text, config, file)
            rested = self.changes.replace(name, graph)
            self.report(f"router {name} has another configuration; it rested {rested * 1e3:.1f} ms")
        return rested

    @held(path=text(NAME), core=integer(0, MAX_CORES))
    def move(self, path: str, core: int) -> float:
        """Move `"router/task"`, with all that shares elements with it, to a core; return how long it rested, in s."""
        name, _, driver = path.partition("/")
        self._known(name)
        graph = self.model.routers[name].graph
        tasks = {graph.task_name(t): t for t in range(len(graph.tasks))}
        if driver not in tasks:
            raise PlatformError(f"no task '{driver}' in router '{name}'{nearest(driver, tasks)}")
        if not 0 <= core < self.model.cores:
            raise PlatformError(f"there is no core {core}: the platform has {self.model.cores}, from 0")
        if self.model.routers[name].direct:
            raise PlatformError(f"router '{name}' is mapped directly: it is on no core")
        group = next(group for group in graph.groups if tasks[driver] in group)
        with self._changing():
            return self.changes.move(name, group, core)


def _forget_addresses(router: Router) -> None:
    """Let a router's ports get MACs anew that nobody gave them: they were free where it was described."""
    for port in router.ports.values():
        if port.automatic:
            port.mac = -1
