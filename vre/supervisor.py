# SPDX-License-Identifier: MIT
"""What is done when a process of the platform ends: a pure decision, and the words for it.

| who ended | how | what follows |
| --- | --- | --- |
| worker | any way, unasked | its core is recovered and a new worker forked |
| worker | too often: MAX_RESTARTS in WINDOW_S | the platform ends |
| wire, zygote | any way, unasked | the platform ends |
| worker, wire | asked to hand over to the next one | nothing |
| worker | asked to, but killed before it had | its core is recovered; the next one waits already |
"""

from __future__ import annotations

import signal
from collections import deque
from dataclasses import dataclass, field

#: Restart intensity, as Erlang's supervisors limit it.
MAX_RESTARTS, WINDOW_S = 20, 10.0


@dataclass(frozen=True)
class Restart:
    """Recover core `core` and fork a new worker for it."""

    core: int


@dataclass(frozen=True)
class Recover:
    """Recover core `core`, whose next worker waits for it."""

    core: int


@dataclass(frozen=True)
class GiveUp:
    """End the platform, for this reason."""

    reason: str


@dataclass
class Supervisor:
    """Decides from exits; the processes themselves are the platform's."""

    cores: dict[int, int] = field(default_factory=dict)  #: pid to core
    wires: set[int] = field(default_factory=set)
    retired: dict[int, int | None] = field(default_factory=dict)  #: asked to hand over: pid to core, None: wire
    stopping: bool = False
    _deaths: dict[int, deque[float]] = field(default_factory=dict)

    def forked(self, pid: int, core: int | None) -> None:
        """Take note of a new worker, or of a wire where `core` is None."""
        if core is None:
            self.wires.add(pid)
        else:
            self.cores[pid] = core

    def retire(self, pid: int) -> None:
        """Take note that a process has been asked to hand over to the next one, and to end."""
        if pid in self.wires:
            self.wires.discard(pid)
            self.retired[pid] = None
        else:
            self.retired[pid] = self.cores.pop(pid)

    def exited(self, pid: int, status: int, now: float) -> Restart | Recover | GiveUp | None:
        """Decide what follows the end of a process; `status` is negative for a signal, `now` in s."""
        if pid in self.retired:
            return self._retired(pid, status)
        core = self.cores.pop(pid, None)
        was_wire = pid in self.wires
        self.wires.discard(pid)
        if self.stopping:
            return None
        if was_wire:
            return GiveUp(f"the wire process {cause(status)}")
        if core is None:
            return None
        deaths = self._deaths.setdefault(core, deque())
        deaths.append(now)
        while now - deaths[0] > WINDOW_S:
            deaths.popleft()
        if len(deaths) > MAX_RESTARTS:
            return GiveUp(
                f"core {core} has ended {len(deaths)} times in {WINDOW_S:.0f} s; the last one {cause(status)}"
            )
        return Restart(core)

    def _retired(self, pid: int, status: int) -> Recover | GiveUp | None:
        core = self.retired.pop(pid)
        if status == 0 or self.stopping:
            return None
        return GiveUp(f"the wire process {cause(status)}") if core is None else Recover(core)


def cause(status: int) -> str:
    """Say how a process ended."""
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"exited with status {status}"
