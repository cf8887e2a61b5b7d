# SPDX-License-Identifier: MIT
"""The watchdog over trusted paths: whoever holds a core past its deadline loses it.

A worker stamps the task that it is about to run, and since when, and clears the stamp after. Here the stamps are read,
every 5 ms. A stamp that stays past the deadline costs the worker its life; its core goes on in the standby, without the
path, which is quarantined until somebody releases it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shm.layout import CORE, TASK
from shm.memory import acquire64, load64, store64
from vre.domu_policy import Progress
from vre.schedstat import Schedstat


@dataclass(frozen=True)
class Quarantined:
    """A path that has been taken from its core, at `at` seconds of the platform's time."""

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
    manifest : dict
        What is where.
    deadline : callable
        A router's name to how long a turn of its paths may take, in seconds.
    pid : callable
        A core's number to its worker's process, 0 while it has none.
    expel : callable
        Called with a core's number: ends its worker, and lets the standby go on.
    report : callable
        Told of events.
    """

    def __init__(
        self,
        manifest: dict[str, Any],
        deadline: Callable[[str], float],
        pid: Callable[[int], int],
        expel: Callable[[int], None],
        report: Callable[[str], None],
    ) -> None:
        self._manifest, self._deadline, self._report = manifest, deadline, report
        self._pid, self._expel = pid, expel
        self._progress: dict[int, Progress] = {}
        self._times: dict[int, Schedstat] = {}
        self.quarantined: list[Quarantined] = []

    def look(self, now: float) -> None:
        """Judge every core once; `now` in seconds."""
        for number, core in enumerate(self._manifest["cores"]):
            place = core["address"]
            task = acquire64(place + CORE["task"])
            if task == 0 or core["nic"]:
                continue
            known = self._task(task)
            if known is None:
                continue
            router, path = known
            progress = self._progress.setdefault(number, Progress(0.0))
            progress.deadline = self._deadline(router)
            pid = self._pid(number)
            if self._times.setdefault(number, Schedstat(pid)).pid != pid:
                self._times[number] = Schedstat(pid)
            self._times[number].look(now)
            waited = self._times[number].waited_s
            if pid and progress.hung(True, load64(place + CORE["since"]), now, waited):
                self._take_away(Quarantined(router, path, task, number, (now - progress.since) * 1e3, now))

    def _task(self, address: int) -> tuple[str, str] | None:
        for router in self._manifest["routers"]:
            for task in router["tasks"]:
                if task["address"] == address:
                    return router["name"], task["name"]
        return None

    def _take_away(self, found: Quarantined) -> None:
        store64(found.task + TASK["enabled"], 0)
        self._progress.pop(found.core)
        self.quarantined.append(found)
        self._report(
            f"router {found.router}: path {found.path} has held core {found.core} for {found.held_ms:.0f} ms; "
            "quarantined until it is released"
        )
        self._expel(found.core)

    def release(self, router: str) -> int:
        """Let a router's paths run again; return how many were quarantined."""
        mine = [found for found in self.quarantined if found.router == router]
        for found in mine:
            store64(found.task + TASK["enabled"], 1)
            self.quarantined.remove(found)
        return len(mine)
