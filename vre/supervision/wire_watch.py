# SPDX-License-Identifier: MIT
"""The watchdog over the wire, which may have been stopped, or be delayed by the system.

No tenant's code runs there, so no router is at fault. It is killed, and its standby goes on where it ended.
"""

from __future__ import annotations

from collections.abc import Callable

from shm.intrinsics import load64
from shm.manifest import CurrentManifest
from shm.wire_layout import WIRE
from vre.supervision.attention import Attention
from vre.supervision.progress import Progress
from vre.supervision.schedstat import Schedstat
from vre.supervision.watchdog import SILENCE_S


class WireWatch:
    """Watches the wire of one platform.

    Parameters
    ----------
    manifest : CurrentManifest
    pid : callable
        Returns the wire's pid, 0 for none.
    expel : callable
        Ends the wire's process.
    report : callable
        Told of events.
    """

    def __init__(
        self,
        manifest: CurrentManifest,
        pid: Callable[[], int],
        expel: Callable[[], None],
        report: Callable[[str], None],
    ) -> None:
        self._manifest, self._pid, self._expel, self._report = manifest, pid, expel, report
        self._attention = Attention()
        self._progress, self._times = Progress(SILENCE_S), Schedstat(0)

    def look(self, now: float) -> None:
        """Judge the wire once, by its rounds; `now` in seconds."""
        watched = self._attention.look(now)
        pid, place = self._pid(), self._manifest.now.wire.address
        if pid == 0 or load64(place + WIRE["stop"]):
            self._progress = Progress(SILENCE_S)
            return
        if self._times.pid != pid:
            self._progress, self._times = Progress(SILENCE_S), Schedstat(pid)
        self._times.look(watched)
        if self._progress.hung(True, load64(place + WIRE["loops"]), watched, self._times.waited_s):
            self._progress = Progress(SILENCE_S)
            self._report(f"the wire made no round for {SILENCE_S:g} s and is killed")
            self._expel()
