# SPDX-License-Identifier: MIT
"""The processes that serve control planes: one for each router that has one, and started again if it ends."""

from __future__ import annotations

import time
from collections.abc import Callable

from shm.intrinsics import load64, store64
from shm.manifest import CurrentManifest
from shm.route_layout import FEED, PUMP
from vre.supervision.restart_policy import cause
from workers.zygote.messages import Fork

#: How long after its end a process is started again, doubled each time up to the longest.
_AGAIN_S, _LONGEST_S = 0.1, 10.0
#: How long routes stay that are not there again after that.
_HOLD_NS = 30_000_000_000


class ControlProcesses:
    """Keeps the processes alive.

    Parameters
    ----------
    manifest : CurrentManifest
        Says what they serve.
    send : callable
        Asks the zygote for a process.
    report : callable
        Told of events.
    """

    def __init__(self, manifest: CurrentManifest, send: Callable[[Fork], None], report: Callable[[str], None]) -> None:
        self._manifest, self._send, self._report = manifest, send, report
        #: The number of its control plane, by its pid.
        self._serving: dict[int, int] = {}
        #: When one is to be asked for, by number, and how long it waits the next time.
        self._due: dict[int, float] = {}
        self._wait: dict[int, float] = {}
        self._stopping = False

    def start(self) -> None:
        """Ask for all of them."""
        for number in range(len(self._manifest.now.controls)):
            self._send(Fork("control", number, None))

    def forked(self, pid: int, number: int) -> None:
        """Take note of one that has been forked."""
        self._serving[pid] = number

    def not_forked(self, number: int) -> None:
        """Take note that there was no room for one: ask again later."""
        self._delay(number)

    def ended(self, pid: int, status: int) -> bool:
        """Take note that a process has ended; return whether it was one of these. It is started again soon."""
        number = self._serving.pop(pid, None)
        if number is None:
            return False
        if not self._stopping:
            entry = self._manifest.now.controls[number]
            self._report(f"router {entry.router}: what serves its control plane {cause(status)}; it is started again")
            # The next one begins with the whole table: what this one had told last is not known.
            store64(entry.feed + FEED["told"], 0)
            store64(entry.feed + FEED["wanted"], 1)
            # Its TAPs have lost their carrier meanwhile, and routes went with that: they stay until they are back.
            held = max(load64(entry.feed + FEED["hold_until_ns"]), time.monotonic_ns() + _HOLD_NS)
            store64(entry.feed + FEED["hold_until_ns"], held)
            self._delay(number)
        return True

    def _delay(self, number: int) -> None:
        wait = self._wait.get(number, _AGAIN_S)
        self._due[number] = time.monotonic() + wait
        self._wait[number] = min(2 * wait, _LONGEST_S)

    def ask_again(self) -> None:
        """Ask for those that are due."""
        now = time.monotonic()
        for number in [number for number, due in self._due.items() if now >= due]:
            del self._due[number]
            self._send(Fork("control", number, None))

    def stop(self) -> None:
        """Let all of them end."""
        self._stopping = True
        self._due.clear()
        for entry in self._manifest.now.controls:
            store64(entry.feed + FEED["stop"], 1)
            store64(entry.pump + PUMP["stop"], 1)
