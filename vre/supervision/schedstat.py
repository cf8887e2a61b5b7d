# SPDX-License-Identifier: MIT
"""How long a process has run and waited for a processor, from the kernel's account of it."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

#: The kernel accounts a running process's time at its ticks; longest period of these, in seconds.
_TICK_S = 0.010
#: Turns a process id into a clock id (clock_getcpuclockid(3)): the scheduler's count for all its threads.
_ALL_THREADS = 2


class Schedstat:
    """One process's times, sampled repeatedly.

    `ran_ns` is the time of all its threads, including those that have ended. The time that it waited is its first
    thread's: the kernel counts a wait when it ends; a wait that goes on shows as being runnable and not running.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.ran_ns = 0
        self.waited_s = 0.0
        self._first_ns = 0
        self._ran_at = 0.0

    def look(self, now: float) -> None:
        """Update `ran_ns` and `waited_s`, as far as the kernel says; `now` in seconds."""
        # There is no account of a process that has ended.
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
        # Monotonic: an estimate may have been too high.
        self.waited_s = max(self.waited_s, int(waited) / 1e9 + (waits if waits > _TICK_S else 0.0))
