# SPDX-License-Identifier: MIT
"""The share of a processor that a domU may have under contention, by the best means that this host has.

| means | available to | what it is |
| --- | --- | --- |
| `cgroup` | root, or a user with a delegated one | a weight, against many processes too |
| `autogroup` | any user, if the kernel groups sessions | a weight, against many processes too |
| `stops` | any user | a limit: it is stopped when it has used its share, and continued when more is due |

A probe finds which there is: a group is made and removed again. A weight that is set is read back; a domU that gets
more than its weight while others wait for the processor is stopped and continued in turns, whatever was set.
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

#: Default weight of a process.
NORMAL = 1024
#: Most threads of a domU's group: some more than its own limit.
_PIDS = 32
#: Headroom of a domU's group above the element's limit, in bytes: channel memory and unshared copy-on-write pages.
_MORE_MEMORY = 64 << 20
#: Most processor time, in ns, that a throttled domU can save up.
_SAVED_NS = 5e6


@dataclass
class Throttle:
    """Decides when a domU with the share `part` of a processor is stopped; the caller has the clock, and does it."""

    part: float
    stopped: bool = False
    stopped_s: float = 0.0  #: for how long it has been stopped, in all
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
    """How a domU's share is enforced: the means, "" while unknown; the throttle if that is the means."""

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
            Its process; the first one of its session, which is not jailed as the domU is.
        weight, memory : float, int

        Returns
        -------
        Part
            The result. If its means is not known yet, the call must be repeated.
        """
        weight = max(2.0, min(weight, 10 * NORMAL))
        done = self._groups.put(router, pid, {"cpu": weight, "memory": memory + _MORE_MEMORY, "pids": _PIDS})
        if "cpu" in done:
            return Part("cgroup")
        # If groups fail, this kernel's autogroups do not count either.
        if self.means == "autogroup" and (said := _weigh_session(session, weight)) != "refused":
            return Part("autogroup" if said == "done" else "")
        return Part("stops", throttle_for(weight))


def throttle_for(weight: float) -> Throttle:
    """Return a throttle to the share of a processor that the weight would give a domU beside one worker."""
    return Throttle(part_beside_one(weight))


def part_beside_one(weight: float) -> float:
    """Return the share of a processor that a weight gives beside one worker."""
    return weight / (weight + NORMAL)


def exceeds(weight: float, got: float, waited: float) -> bool:
    """Return whether a domU exceeds its weight at the cost of others; one second alone may mislead.

    `got` is the fraction of a processor that it had, `waited` the fraction of that time that others waited for it.
    """
    return min(got, waited) > 1.5 * part_beside_one(weight) + 0.05


def _weigh_session(session: int, weight: float) -> str:
    """Give a session's group a weight; return "done", "later" if the kernel says EAGAIN, or "refused"."""
    nice = max(-20, min(19, round(math.log(NORMAL / weight, 1.25))))
    file = Path(f"/proc/{session}/autogroup")
    try:
        file.write_text(str(nice))
        # "/autogroup-N nice M"
        return "done" if file.read_text().split()[-1] == str(nice) else "refused"
    except (OSError, IndexError) as error:
        return "later" if isinstance(error, OSError) and error.errno == errno.EAGAIN else "refused"


def stop_or_go(throttle: Throttle, pid: int, now: float, ran_ns: int) -> None:
    """Stop a domU, or continue it, as its throttle says."""
    before = throttle.stopped
    if throttle.look(now, ran_ns) != before:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT if before else signal.SIGSTOP)


def autogroups() -> bool:
    """Return whether the kernel schedules by session (autogroups)."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/sched_autogroup_enabled").read_text().strip() == "1"
    return False


def weight_of(entitled: float) -> float:
    """Return the weight of a domU for its router's share: a worker beside it works for all routers."""
    return NORMAL * entitled
