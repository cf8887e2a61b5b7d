# SPDX-License-Identifier: MIT
"""What part of a processor a domU may have, where others want it too: by the best means that this host gives.

| means | who may | what it is |
| --- | --- | --- |
| `cgroup` | root, or whom the host has delegated one to | a weight, against many processes too |
| `autogroup` | anybody, where the kernel groups sessions | a weight, against many processes too |
| `stops` | anybody | a limit: it is stopped when it has had its part, and goes on when more is due |

Which there is, is found by doing: a group is made and removed again. A weight that is set is read again; and where a
domU is seen to get more than its weight, while others wait for the processor, it is stopped by turns, whatever was set.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from vre.domu.cgroups import Groups

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


@dataclass
class Part:
    """How one domU is kept to its part: the means, "" while it is not known yet; a throttle where that is the means."""

    means: str = ""
    throttle: Throttle | None = None


class Shares:
    """Shares, and limits, of one platform's domUs. `means` is the best there is; see :class:`Groups`."""

    def __init__(self, name: str, note: Path) -> None:
        self._groups = Groups(name, note)
        self.means = "cgroup" if "cpu" in self._groups.controllers else "autogroup" if autogroups() else "stops"
        self.limits = [c for c in self._groups.controllers if c != "cpu"]
        self.close = self._groups.close

    def give(self, router: str, pid: int, session: int, weight: float, memory: int) -> Part:
        """Give a router's domU a weight against :data:`NORMAL`, and `memory` bytes at most.

        Parameters
        ----------
        router : str
        pid, session : int
            Its process; and the first one of its session, which has not locked itself in as the domU has.
        weight, memory : float, int

        Returns
        -------
        Part
            What came of it. If its means is not known yet this must be asked for again.
        """
        weight = max(2.0, min(weight, 10 * NORMAL))
        done = self._groups.put(router, pid, {"cpu": weight, "memory": memory + _MORE_MEMORY, "pids": _PIDS})
        if "cpu" in done:
            return Part("cgroup")
        # Where groups fail, their kernel's sessions do not count either.
        if self.means == "autogroup" and (said := _weigh_session(session, weight)) != "refused":
            return Part("autogroup" if said == "done" else "")
        return Part("stops", throttle_for(weight))


def throttle_for(weight: float) -> Throttle:
    """Return what keeps a domU to the part of a processor that its weight would give it beside one worker."""
    return Throttle(part_beside_one(weight))


def part_beside_one(weight: float) -> float:
    """Return the part of a processor that a weight gives beside one worker."""
    return weight / (weight + NORMAL)


def exceeds(weight: float, got: float, waited: float) -> bool:
    """Return whether a domU has more than its weight, at the cost of others; a look at one second alone may err.

    `got` is the part of a processor that it has had, `waited` the part of that time that others waited for it.
    """
    return min(got, waited) > 1.5 * part_beside_one(weight) + 0.05


def _weigh_session(session: int, weight: float) -> str:
    """Give a session's group a weight; return "done", "later" where the kernel asks for patience, or "refused"."""
    nice = max(-20, min(19, round(math.log(NORMAL / weight, 1.25))))
    file = Path(f"/proc/{session}/autogroup")
    try:
        file.write_text(str(nice))
        # "/autogroup-N nice M"
        return "done" if file.read_text().split()[-1] == str(nice) else "refused"
    except (OSError, IndexError) as error:
        return "later" if isinstance(error, OSError) and error.errno == errno.EAGAIN else "refused"


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
