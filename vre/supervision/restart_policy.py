# SPDX-License-Identifier: MIT
"""What follows when a process of the platform ends: pure decisions, and their messages.

| process | ended | what follows |
| --- | --- | --- |
| worker | any way, unasked | its core is recovered and a new worker forked |
| worker | in the same path: PATH_DEATHS in WINDOW_S | also, the path is quarantined |
| worker | in paths of the same router: ROUTER_DEATHS in WINDOW_S | also, all of the router's paths are |
| worker | in no path, too often: MAX_RESTARTS in WINDOW_S | the platform ends |
| wire | any way, unasked | the next one takes over |
| wire | too often: MAX_RESTARTS in WINDOW_S | the platform ends |
| zygote | any way, unasked | it is started again; too often in WINDOW_S: the platform ends |
| worker, wire | asked to hand over to the next one | nothing |
| worker, wire | asked to, but killed before | what it left is recovered; its successor takes over |

A worker stamps the path that it is in, so the path that ended it is known. A router that ends workers
loses its paths; the platform goes on.
"""

from __future__ import annotations

import signal
from collections import deque
from dataclasses import dataclass, field

#: Restart intensity, as Erlang's supervisors limit it.
MAX_RESTARTS, WINDOW_S = 20, 10.0
#: How many workers a path may end, and all paths of a router together.
PATH_DEATHS, ROUTER_DEATHS = 3, 6
#: How often the zygote is started again.
ZYGOTE_DEATHS = 3
#: In place of a core's number, where ends are counted.
_ZYGOTE, _WIRE = -1, -2


@dataclass(frozen=True)
class Stamped:
    """The path of a router that a worker was in when it ended; `task` is the address of its record."""

    router: str
    name: str
    task: int


@dataclass(frozen=True)
class Quarantine:
    """Suspend a path until it is released, or all of a router's paths if `path` is None."""

    router: str
    path: Stamped | None = None


@dataclass(frozen=True)
class Restart:
    """Recover core `core` and fork a new worker for it."""

    core: int
    quarantine: Quarantine | None = None


@dataclass(frozen=True)
class Recover:
    """Recover core `core`, whose next worker is waiting."""

    core: int
    quarantine: Quarantine | None = None


@dataclass(frozen=True)
class Rewire:
    """Recover the wire; fork a new one, unless the next one is waiting as it was `asked` to hand over."""

    asked: bool = False


@dataclass(frozen=True)
class GiveUp:
    """End the platform, for this reason."""

    reason: str


@dataclass
class Supervisor:
    """Decides what follows an exit; it starts and ends no process itself."""

    cores: dict[int, int] = field(default_factory=dict)  #: pid to core
    wires: set[int] = field(default_factory=set)
    retired: dict[int, int | None] = field(default_factory=dict)  #: asked to hand over: pid to core, None: wire
    stopping: bool = False
    #: Times of ends: of workers, by core, or by router and path; of the zygote; of wires.
    _deaths: dict[int | str | Stamped, deque[float]] = field(default_factory=dict)

    def forked(self, pid: int, core: int | None) -> None:
        """Record a new worker, or a new wire if `core` is None."""
        if core is None:
            self.wires.add(pid)
        else:
            self.cores[pid] = core

    def retire(self, pid: int) -> None:
        """Record that a process has been asked to hand over to the next one, and to end."""
        if pid in self.wires:
            self.wires.discard(pid)
            self.retired[pid] = None
        else:
            self.retired[pid] = self.cores.pop(pid)

    def exited(
        self, pid: int, status: int, now: float, path: Stamped | None = None
    ) -> Restart | Recover | Rewire | GiveUp | None:
        """Decide what follows the end of a process.

        Parameters
        ----------
        pid, status : int
            `status` is negative for a signal.
        now : float
            In s.
        path : Stamped, optional
            The path that a worker was in.
        """
        if pid in self.retired:
            return self._retired(pid, status, now, path)
        core = self.cores.pop(pid, None)
        was_wire = pid in self.wires
        self.wires.discard(pid)
        if self.stopping:
            return None
        if was_wire:
            return self._rewire(status, now)
        if core is None:
            return None
        if path:
            return Restart(core, self._blame(path, now))
        deaths = self._count(core, now)
        if deaths > MAX_RESTARTS:
            return GiveUp(f"core {core} has ended {deaths} times in {WINDOW_S:.0f} s; the last one {cause(status)}")
        return Restart(core)

    def zygote_ended(self, status: int, now: float) -> GiveUp | None:
        """Decide what follows the end of the zygote: it is started again, or the platform ends."""
        deaths = self._count(_ZYGOTE, now)
        if deaths <= ZYGOTE_DEATHS:
            return None
        return GiveUp(f"the zygote has ended {deaths} times in {WINDOW_S:.0f} s; the last one {cause(status)}")

    def _retired(self, pid: int, status: int, now: float, path: Stamped | None) -> Recover | Rewire | GiveUp | None:
        core = self.retired.pop(pid)
        if status == 0 or self.stopping:
            return None
        if core is None:
            return self._rewire(status, now, asked=True)
        return Recover(core, self._blame(path, now) if path else None)

    def _rewire(self, status: int, now: float, asked: bool = False) -> Rewire | GiveUp:
        deaths = self._count(_WIRE, now)
        if deaths > MAX_RESTARTS:
            return GiveUp(f"the wire has ended {deaths} times in {WINDOW_S:.0f} s; the last one {cause(status)}")
        return Rewire(asked)

    def _blame(self, path: Stamped, now: float) -> Quarantine | None:
        """Count a death for a path and its router; return what they lose by it."""
        of_path, of_router = self._count(path, now), self._count(path.router, now)
        if of_router >= ROUTER_DEATHS:
            self._deaths.pop(path.router)
            return Quarantine(path.router)
        if of_path >= PATH_DEATHS:
            # After a release it may end as many again.
            self._deaths.pop(path)
            return Quarantine(path.router, path)
        return None

    def _count(self, whose: int | str | Stamped, now: float) -> int:
        """Count a death; return how many there have been in WINDOW_S."""
        deaths = self._deaths.setdefault(whose, deque())
        deaths.append(now)
        while now - deaths[0] > WINDOW_S:
            deaths.popleft()
        return len(deaths)


def cause(status: int) -> str:
    """Return in words how a process ended."""
    if status < 0:
        named = -status in signal.Signals._value2member_map_
        return f"was killed by {signal.Signals(-status).name if named else f'signal {-status}'}"
    return f"exited with status {status}"
