# SPDX-License-Identifier: MIT
"""The watchdog over trusted paths: a path that holds a core past its deadline loses it.

A worker stamps the task that it is about to run, and the time, and clears the stamp after. The watchdog reads the
stamps every 5 ms. If a stamp stays past the deadline, the worker is killed; its core goes on in the standby, without
the path, which is quarantined until it is released. So is a path in which workers end
(:mod:`vre.supervision.restart_policy`). A worker that is in no path and finishes no slice is replaced, too: it has been
stopped, or the system delays it, and no path is at fault.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shm.intrinsics import acquire64, add64, load64, store64
from shm.layout import CORE, TASK
from shm.manifest import CurrentManifest, Manifest
from vre.supervision.attention import Attention
from vre.supervision.progress import Progress
from vre.supervision.restart_policy import PATH_DEATHS, ROUTER_DEATHS, WINDOW_S, Quarantine, Stamped
from vre.supervision.schedstat import Schedstat

#: How long a worker in no path may take to finish a slice: that takes a millisecond, or 20 if it is idle.
SILENCE_S = 1.0


@dataclass(frozen=True)
class Quarantined:
    """A path taken off its core, at `at` seconds of the platform's time; `held_ms` is 0 if workers ended in it."""

    router: str
    path: str
    task: int
    core: int
    held_ms: float
    at: float


class Watchdog:
    """Watches the workers of one platform.

    Parameters
    ----------
    manifest : CurrentManifest
    deadline : callable
        A router's name to the deadline of its paths' turns, in seconds.
    pid : callable
        A core's number to its worker's pid, 0 for none.
    expel : callable
        Called with a core's number: kills its worker; the standby takes over.
    report : callable
        Told of events.
    """

    def __init__(
        self,
        manifest: CurrentManifest,
        deadline: Callable[[str], float],
        pid: Callable[[int], int],
        expel: Callable[[int], None],
        report: Callable[[str], None],
    ) -> None:
        self._manifest, self._deadline, self._report = manifest, deadline, report
        self._pid, self._expel = pid, expel
        self._progress: dict[int, Progress] = {}
        self._beats: dict[int, Progress] = {}
        #: The time that deadlines are measured in: a freeze of the platform makes no worker late.
        self._attention = Attention()
        self._times: dict[int, Schedstat] = {}
        self.quarantined: list[Quarantined] = []

    def look(self, now: float) -> None:
        """Judge every core once; `now` in seconds."""
        self._hold()
        watched = self._attention.look(now)
        for number, core in enumerate(self._manifest.now.cores):
            pid = 0 if core.nic else self._pid(number)
            place = core.address
            has = pid != 0 and load64(place + CORE["pid"]) == pid
            # One that is not ready yet has no deadline; one that is ready takes the core at once.
            if pid == 0 or not (has or load64(place + CORE["standby"]) >= load64(place + CORE["incarnation"])):
                self._beats.pop(number, None)
                continue
            if self._times.setdefault(number, Schedstat(pid)).pid != pid:
                self._times[number] = Schedstat(pid)
                self._beats.pop(number, None)
            task = acquire64(place + CORE["task"]) if has else 0
            known = path_of(self._manifest.now, task) if task else None
            if known:
                self._beats.pop(number, None)
                self._judge_path(number, place, known, now, watched)
            else:
                self._judge_worker(number, place, watched)

    def _judge_path(self, number: int, place: int, path: Stamped, now: float, watched: float) -> None:
        progress = self._progress.setdefault(number, Progress(0.0))
        progress.deadline = self._deadline(path.router)
        if progress.hung(True, load64(place + CORE["since"]), watched, self._waited(number, watched)):
            held_ms = (watched - progress.since) * 1e3
            self._take_away(Quarantined(path.router, path.name, path.task, number, held_ms, now))

    def _judge_worker(self, number: int, place: int, watched: float) -> None:
        progress = self._beats.setdefault(number, Progress(SILENCE_S))
        if progress.hung(True, load64(place + CORE["heartbeat"]), watched, self._waited(number, watched)):
            self._beats.pop(number)
            self._expel(number)
            self._report(f"core {number}: its worker was in no path and did nothing for {SILENCE_S:g} s")

    def _waited(self, number: int, watched: float) -> float:
        """Return how long a worker has waited for a processor."""
        self._times[number].look(watched)
        return self._times[number].waited_s

    def _take_away(self, found: Quarantined) -> None:
        store64(found.task + TASK["enabled"], 0)
        self._progress.pop(found.core)
        self.quarantined.append(found)
        # Reporting does not block (:mod:`vre.supervision.outlet`).
        self._report(
            f"router {found.router}: path {found.path} has held core {found.core} for {found.held_ms:.0f} ms; "
            "quarantined until it is released"
        )
        self._expel(found.core)

    def quarantine(self, what: Quarantine, now: float) -> None:
        """Quarantine a path in which workers ended, or all of a router's. A turn of it on another core is its last."""
        where = {
            task.address: task.core
            for router in self._manifest.now.routers
            if router.name == what.router
            for task in router.tasks
            if what.path is None or what.path.task == task.address
        }
        for task in where.keys() - {found.task for found in self.quarantined}:
            store64(task + TASK["enabled"], 0)
            path = path_of(self._manifest.now, task)
            assert path
            self.quarantined.append(Quarantined(path.router, path.name, task, where[task], 0.0, now))
        which, times = (f"path {what.path.name} has", PATH_DEATHS) if what.path else ("its paths have", ROUTER_DEATHS)
        self._report(
            f"router {what.router}: {which} ended workers {times} times in {WINDOW_S:.0f} s; "
            "quarantined until it is released"
        )

    def _hold(self) -> None:
        """Forget removed paths, after a replaced configuration; keep moved ones quarantined."""
        if self.quarantined:
            self.quarantined = [found for found in self.quarantined if path_of(self._manifest.now, found.task)]
        for found in self.quarantined:
            store64(found.task + TASK["enabled"], 0)

    def release(self, router: str) -> int:
        """Let a router's paths run again; return how many were quarantined."""
        self._hold()
        mine = [found for found in self.quarantined if found.router == router]
        for found in mine:
            store64(found.task + TASK["enabled"], 1)
            self.quarantined.remove(found)
        for core in self._manifest.now.cores if mine else []:
            # Its worker may have skipped what such a path needs in the interpreter.
            add64(core.address + CORE["roster"], 1)
        return len(mine)


def path_of(manifest: Manifest, task: int) -> Stamped | None:
    """Return the router's path that a task is, None for a port's classifier or a removed task."""
    for router in manifest.routers:
        for one in router.tasks:
            if one.address == task:
                return Stamped(router.name, one.name, task)
    return None
