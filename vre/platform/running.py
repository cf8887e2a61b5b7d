# SPDX-License-Identifier: MIT
"""All parts of one running platform, and their supervision while time passes."""

from __future__ import annotations

from collections.abc import Callable

from vre.config.captures import Captures
from vre.control_plane.planes import ControlPlanes
from vre.domu.domus import Domus
from vre.errors import HandlerError
from vre.platform import traffic
from vre.platform.accounts import Reader
from vre.platform.changes import Changes
from vre.platform.commands import Commands
from vre.platform.control_socket import ControlServer
from vre.platform.handlers import Handlers
from vre.platform.rebalancer import Rebalancer
from vre.platform.runtime import Runtime
from vre.supervision.journals import Journals
from vre.supervision.watchdog import Watchdog
from vre.supervision.wire_watch import WireWatch

#: How long a request may wait, in seconds.
_TEND_S = 0.02
#: Polls of the journals at the end, enough to empty them.
_LAST_LOOKS = 100


class Running:
    """The parts of one running platform; :mod:`vre.platform.start` makes them.

    Attributes
    ----------
    runtime, reader, handlers, domus, watchdog, changes, commands, planes
        See the classes.
    """

    def __init__(
        self,
        runtime: Runtime,
        handlers: Handlers,
        domus: Domus,
        watchdog: Watchdog,
        wire_watch: WireWatch | None,
        journals: Journals,
        captures: Captures,
        rebalancer: Rebalancer,
        changes: Changes,
        commands: Commands,
        reader: Reader,
        control: ControlServer,
        planes: ControlPlanes,
    ) -> None:
        self.runtime, self.handlers, self.domus, self.watchdog = runtime, handlers, domus, watchdog
        self.changes, self.commands, self.reader, self.control = changes, commands, reader, control
        self.journals, self._captures, self._rebalancer = journals, captures, rebalancer
        self._wire_watch, self.planes = wire_watch, planes
        self._looking = False
        handlers.await_readers = self._await_readers

    def tend(self, seconds: float) -> None:
        """Wait, supervise, and serve requests."""
        end = self.runtime.now() + seconds
        while (left := end - self.runtime.now()) > 1e-9:
            self.runtime.wait(min(left, _TEND_S))
            self.control.serve()
            self._rebalancer.look()
            self.changes.look()

    def run(self, seconds: float | None, tick: Callable[[float], None] | None) -> None:
        """Run for some seconds, or until every finite link has drained; then pause the traffic.

        Parameters
        ----------
        seconds : float, optional
        tick : callable, optional
            Called ten times a second, or more often, with the seconds since the start.
        """
        now = self.runtime.now
        begun = now()
        while seconds is None or now() - begun < seconds:
            # If the end is not known, poll often at first: the length of a short run is known within some percent.
            passed = now() - begun
            left = min(0.1, passed / 50) if seconds is None else min(0.1, seconds - passed)
            self.tend(max(left, 0.0002))
            if tick:
                tick(now() - begun)
            if seconds is None and self.finished() and self.reader.drained():
                break
        self.pause()

    def pause(self, seconds: float = 0.5) -> None:
        """Stop the traffic and wait, at most `seconds`, until nothing is in flight."""
        traffic.let_in(self.runtime, False)
        end = self.runtime.now() + seconds
        self.tend(0.01)
        while self.runtime.now() < end and not self.reader.drained():
            self.tend(0.01)

    def finished(self) -> bool:
        """Return whether every link that has an end has reached it; False while one without end sends."""
        return traffic.finished(self.runtime, self.handlers)

    def look(self) -> None:
        """Check everything that is watched, and take the steps that are due."""
        looking, self._looking = self._looking, True
        try:
            self.read_words()
            self.domus.look()
            self.watchdog.look(self.runtime.now())
            self.runtime.devices.look()
            self.planes.look(self.runtime.now())
            if self._wire_watch:
                self._wire_watch.look(self.runtime.now())
            if self.commands.changing:
                # While it waits for a compiler or a domU, other requests are answered and other changes refused.
                self.control.serve()
        finally:
            self._looking = looking

    def read_words(self) -> None:
        """Read the messages of workers, wire and capture writers."""
        self._captures.look()
        self.journals.look()

    def halt(self) -> None:
        """Stop cores and wire, but keep the memory: accounts can be read exactly."""
        self.runtime.engine.halt()
        self.runtime.devices.look(now=True)
        self._captures.look()
        for _ in range(_LAST_LOOKS):
            if not self.journals.look():
                break

    def _await_readers(self, router: str) -> None:
        """Wait until the cores of a router have finished the slices that they were in. Raises HandlerError."""
        if self._looking:
            # A domU asks, or another request is being handled: do not wait for it.
            raise HandlerError("its room is freed in a moment: try again")
        self.runtime.quiesce(*sorted(set(self.runtime.builder.routers[router].cores.values())))
