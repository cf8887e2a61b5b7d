# SPDX-License-Identifier: MIT
"""How long a process has run and waited for a processor: the kernel says so, whatever the process does."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

#: The kernel counts a running process's time at its ticks, which are at most so far apart, in seconds.
_TICK_S = 0.010
#: What makes a clock's number out of a process's (clock_getcpuclockid(3)): the scheduler's count, of all its threads.
_ALL_THREADS = 2


class Schedstat:
    """One process's times, looked at again and again.

    `ran_ns` is the time of all its threads, of those that have ended, too. What it waited is its first thread's: a wait
    is counted by the kernel when it ends; one that goes on shows as being runnable and not running.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.ran_ns = 0
        self.waited_s = 0.0
        self._first_ns = 0
        self._ran_at = 0.0

    def look(self, now: float) -> None:
        """Bring `ran_ns` and `waited_s` up to date, as far as the kernel says; `now` in seconds."""
        # Of a process that is gone it says nothing.
        with contextlib.suppress(OSError):
            self.ran_ns = max(self.ran_ns, time.clock_gettime_ns(~self.pid << 3 | _ALL_THREADS))
        try:
            ran, waited, _ = Path(f"/proc/{self.pid}/schedstat").read_text().split()
            state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, ValueError, IndexError):
            return
        if int(ran) != self._first_ns or state != "R":
            self._first_ns, self._ran_at = int(ran), now
        waits = now - self._ran_at
        # Never less than before: an estimate may turn out to have been too high.
        self.waited_s = max(self.waited_s, int(waited) / 1e9 + (waits if waits > _TICK_S else 0.0))
