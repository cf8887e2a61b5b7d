# SPDX-License-Identifier: MIT
"""The life cycle of a platform: described, started, run, changed, ended. This is the Python interface."""

from __future__ import annotations

import contextlib
import os
from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

from shm.run_directory import sweep
from vre.config import fields
from vre.config.model import Model, Nic, Router
from vre.errors import PlatformError, why_not
from vre.platform.arguments import described, duration, function, held, is_a, optional
from vre.platform.commands import Commands
from vre.platform.description import add_router, check, describe_port, describe_router, empty_model
from vre.platform.events import Events
from vre.platform.impairments import port_of, resolve, settings
from vre.platform.router import RouterHandle
from vre.platform.running import Running
from vre.platform.signatures import made_by, of_commands, of_parts
from vre.platform.start import start
from vre.platform.verbs import NAME, text
from vre.supervision.boundary import Boundary
from vre.supervision.outlet import Outlet, to_stream

if TYPE_CHECKING:
    from vre.platform.accounts import Reader

#: Seconds that readers of its output have at the end.
_FLUSH_S = 0.5
_NOT_STARTED = "the platform has not been started: start() or run() does that"
_ENDED = "the platform has ended; only its last figures can be read"


class Platform:
    """A virtual router platform on this host.

    Use it as a context manager: all that it started is ended when the block is left, however it is left.

    Parameters
    ----------
    cores : int
        Emulated cores.
    name : str
        Name of the platform and its run directory; two platforms of one user need different names.
    clock : {"auto", "wall", "cpu"}
        What paces the traffic; "auto" takes "cpu" if there are more cores than processors.
    idle : {"auto", "poll", "sleep"}
        What an idle core does.
    quantum : int
        Packets that a task may take per turn; a port takes twice as many from its queue.
    model : Model, optional
        A whole platform, as a file describes it, in place of all settings.
    say : callable, optional
        Given each line of progress and each event.
    settings
        Any other of :class:`vre.config.model.Model`'s: `discipline`, `sample`, `turn_ns`, `machine`, `memory`,
        `memory_shares`, `rebalance`.

    Raises
    ------
    ConfigError
        From :meth:`router` and :meth:`start`: mistakes in the configuration.
    PlatformError
        From :meth:`start`: the host cannot run it.
    """

    @held(described, name=optional(text(NAME)), model=optional(is_a(Model, "a model")), say=optional(function))
    def __init__(
        self,
        cores: int = 1,
        name: str | None = None,
        clock: str = "auto",
        idle: str = "auto",
        quantum: int | None = None,
        model: Model | None = None,
        say: Callable[[str], None] | None = None,
        **settings: Any,
    ) -> None:
        self.model = model or empty_model(
            f"p{os.getpid()}" if name is None else name, cores, clock, idle, quantum, settings
        )
        # In virtual time the caller may block on a reader.
        threaded = self.model.clock != "virtual"
        self._voice = Outlet(say or (lambda text: None), threaded)
        self._lines = Outlet(to_stream(), threaded)
        self._events = Events(self._voice.say)
        self.boundary = Boundary(self._events.report)
        self._cleanup = contextlib.ExitStack()
        self._running: Running | None = None
        self._reader: Reader | None = None
        self._ended = 0.0
        self._unread: Counter[str] = Counter()

    # Description.

    @made_by(describe_port)
    def nic(self, nic: Nic) -> Nic:
        """Add a port with its link; see :class:`vre.config.model.Nic`. Raises ConfigError, and PlatformError."""
        if self._running:
            raise PlatformError(f"port '{nic.name}' cannot be added: the platform runs")
        self.model.nics[nic.name] = nic
        return nic

    @made_by(describe_router)
    def router(self, router: Router) -> RouterHandle:
        """Add a router, also to a running platform."""
        if self._running:
            self.add(router)
        else:
            add_router(self.model, router)
        return self.handle(router.name)

    # Life.

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def start(self) -> None:
        """Lay out the memory, compile, and start all cores and the wire; traffic begins to flow."""
        if self._running:
            return
        check(self.model)
        sweep()
        try:
            self._running = start(
                self.model, self._cleanup, self._events, self.boundary, self._voice.say, self._lines.say
            )
            self._reader = self._running.reader
        except BaseException as error:
            self.stop()
            # For example: the run directory's file system is full, no descriptors or processes are left.
            if isinstance(error, OSError):
                raise PlatformError(f"the platform cannot be started: {why_not(error)}") from error
            raise

    @held(seconds=optional(duration), tick=optional(function))
    def run(self, seconds: float | None = None, tick: Callable[[float], None] | None = None) -> None:
        """Run for a time, or until every finite link has drained; then let what is in flight leave.

        Parameters
        ----------
        seconds : float, optional
            None: until all finite links are done, or for ever if a link has no end.
        tick : callable, optional
            Called ten times a second, or more often, with the seconds since the start.
        """
        self.start()
        self.parts.run(seconds, tick)

    tend = held(seconds=duration)(of_parts(Running.tend))
    pause = held(seconds=duration)(of_parts(Running.pause))
    halt = of_parts(Running.halt)
    finished = of_parts(Running.finished)

    def stop(self) -> None:
        """End everything and remove every trace; the figures of the reader and of routers stay readable."""
        if self._running:
            self.halt()
            self.reader.freeze()
            self.lost_lines()
            self._ended = self.now()
        self._events.end()
        self._cleanup.close()
        self._running = None
        for outlet in (self._voice, self._lines):
            outlet.finish(_FLUSH_S)

    @held(text=is_a(str, "text"))
    def say(self, text: str) -> None:
        """Write a line to the platform's output, without blocking."""
        self._voice.say(text)

    # What runs.

    @property
    def parts(self) -> Running:
        """The parts of the platform while it runs. Raises PlatformError before its start, and after its end."""
        if self._running is None:
            raise PlatformError(_ENDED if self._reader else _NOT_STARTED)
        return self._running

    @property
    def reader(self) -> Reader:
        """Accounts; after the end, those that it ended with. Raises PlatformError before the start."""
        if self._reader is None:
            raise PlatformError(_NOT_STARTED)
        return self._reader

    @property
    def running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._running is not None

    def now(self) -> float:
        """Return the platform's time in seconds, logical if it is virtual; after the end, the time of the end."""
        return self._running.runtime.now() if self._running else self._ended

    def elapsed(self) -> float:
        """Return how long the platform has run, in seconds of its time."""
        return self._events.elapsed()

    @held(name=text(NAME))
    def handle(self, name: str) -> RouterHandle:
        """Return the handle of a router."""
        return RouterHandle(name, lambda: self.reader, lambda: self.parts.commands)

    @property
    def routers(self) -> list[RouterHandle]:
        """Handles of all routers."""
        return [self.handle(name) for name in self.model.routers]

    @property
    def events(self) -> deque[str]:
        """The last events."""
        return self._events.texts

    @held(core=fields.integer(0, fields.MAX_CORES))
    def worker_pid(self, core: int) -> int:
        """Return the process of a core. Raises PlatformError."""
        self.parts.runtime.require_cores(core)
        return self.parts.runtime.engine.pid(core)

    def lost_lines(self) -> dict[str, int]:
        """Return how many lines were dropped: of each router's elements, and under "" those of the platform itself."""
        if self._running:
            self._unread = Counter(self._running.journals.dropped())
        return dict(self._unread + self._lines.dropped + self._voice.dropped)

    # Commands.

    def read(self, what: str) -> str:
        """Return the value of `"router/element.handler"` or `"router.entitlement"`; the latter also after the end."""
        name = str(what).removesuffix(".entitlement")
        if self._reader and not self._running and name != what and name in self.model.routers:
            return f"{self.model.routers[name].entitlement:g}"
        return self.parts.commands.read(what)

    write = of_commands(Commands.write)
    release = of_commands(Commands.release)
    add = of_commands(Commands.add)
    remove = of_commands(Commands.remove)
    replace = of_commands(Commands.replace)
    move = of_commands(Commands.move)
    rest = of_commands(Commands.rest)
    set_rate = of_commands(Commands.set_rate)

    @held(
        described,
        port=text(NAME),
        direction=optional(fields.choice("in", "out")),
        clear=fields.boolean,
    )
    def link(self, port: str, direction: str | None = None, clear: bool = False, **values: Any) -> list[dict[str, Any]]:
        """Change what a port's links do to frames, before the start or while it runs; return what they do then.

        Parameters
        ----------
        port : str
        direction : {"in", "out"}, optional
            Into the port or out of it, if it has links both ways.
        clear : bool
            Begin without impairments; else those that are not named stay as they are.
        values
            `delay="5ms"`, `loss={"p": "1%", "r": "30%"}` and others, see :mod:`vre.config.impairment`.

        Raises
        ------
        ConfigError
            Everything that is wrong with the values; nothing has changed.
        """
        if self._running:
            return self._running.commands.link(port, direction, clear, values)
        nic = port_of(self.model, port)
        if values or clear:
            way, nic.impaired[way] = resolve(nic, direction, clear, values)
        return settings(nic)
