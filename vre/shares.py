# SPDX-License-Identifier: MIT
"""What part of a processor a domU may have, where others want it too: by the best means that this host gives.

| means | who may | what it is |
| --- | --- | --- |
| `cgroup` | root, or whom the host has delegated one to | a weight, against many processes too |
| `autogroup` | anybody, where the kernel groups sessions | a weight, against many processes too |
| `stops` | anybody | a limit: it is stopped when it has had its part, and goes on when more is due |

Which there is, is found by doing: a group is made and removed again.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from vre.groups import Groups

#: Weight of a process that nothing has been said about.
NORMAL = 1024
#: Threads that a domU may have where a group counts them: some more than its own limit.
_PIDS = 32
#: Memory that a domU's group may have beyond what its element may: its channel's, and pages that it shares no more.
_MORE_MEMORY = 64 << 20
#: Most processor time, in ns, that one who is stopped by turns can save up.
_SAVED_NS = 5e6


@dataclass
class Throttle:
    """Decides when a domU that may have `part` of a processor is stopped; the caller has the clock, and does it."""

    part: float
    stopped: bool = False
    stopped_s: float = 0.0  #: how long it has been, in all
    _due_ns: float = 0.0
    _at: float = -1.0
    _ran_ns: int = 0

    def look(self, now: float, ran_ns: int) -> bool:
        """Return whether it must be stopped now; it has run for `ran_ns`, `now` in seconds."""
        if self._at >= 0:
            self._due_ns = min(_SAVED_NS, self._due_ns + (now - self._at) * 1e9 * self.part - (ran_ns - self._ran_ns))
            self.stopped_s += (now - self._at) * self.stopped
        self._at, self._ran_ns = now, ran_ns
        self.stopped = self._due_ns < 0
        return self.stopped


class Shares:
    """Shares, and limits, of one platform's domUs. `means` is how processors are shared; see :class:`Groups`."""

    def __init__(self, name: str, note: Path) -> None:
        self._groups = Groups(name, note)
        self.means = "cgroup" if "cpu" in self._groups.controllers else "autogroup" if autogroups() else "stops"
        self.limits = [c for c in self._groups.controllers if c != "cpu"]
        self.close = self._groups.close

    def give(self, router: str, pid: int, weight: float, memory: int) -> Throttle | None:
        """Give the domU of a router, process `pid`, a weight against :data:`NORMAL`, and `memory` bytes at most.

        Returns
        -------
        Throttle or None
            What the caller has to look at, where that is the means.
        """
        weight = max(2.0, min(weight, 10 * NORMAL))
        self._groups.put(router, pid, {"cpu": weight, "memory": memory + _MORE_MEMORY, "pids": _PIDS})
        if self.means == "autogroup":
            nice = max(-20, min(19, round(math.log(NORMAL / weight, 1.25))))
            with contextlib.suppress(OSError):
                Path(f"/proc/{pid}/autogroup").write_text(str(nice))
        return Throttle(weight / (weight + NORMAL)) if self.means == "stops" else None


def stop_or_go(throttle: Throttle, pid: int, now: float, ran_ns: int) -> None:
    """Stop a domU, or let it go on, as its throttle says."""
    before = throttle.stopped
    if throttle.look(now, ran_ns) != before:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT if before else signal.SIGSTOP)


def autogroups() -> bool:
    """Return whether the kernel shares processors out by session."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/sched_autogroup_enabled").read_text().strip() == "1"
    return False


def weight_of(entitled: float) -> float:
    """Return the weight of a domU whose router is entitled to that part: a worker beside it works for all routers."""
    return NORMAL * entitled
