# SPDX-License-Identifier: MIT
"""Processes that have been forked for the platform: each end is noticed once."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path

_PF_EXITING = 4
#: How long a process that has been killed is waited for until it runs no code of its own any more.
_EXPEL_S = 0.02


class Children:
    """The processes that have not been reaped yet.

    Parameters
    ----------
    poll : select.poll
        Has a descriptor of each, so that it wakes when one ends.
    """

    def __init__(self, poll: select.poll) -> None:
        self._poll = poll
        #: A descriptor of each of them, -1 on kernels without pidfds: its end is noticed at the next look.
        self._descriptors: dict[int, int] = {}

    def watch(self, pid: int) -> None:
        """Look for the end of one more."""
        self._descriptors[pid] = -1
        with contextlib.suppress(OSError):
            self._descriptors[pid] = os.pidfd_open(pid)
            self._poll.register(self._descriptors[pid], select.POLLIN)

    def ended(self) -> Iterator[tuple[int, int]]:
        """Reap those that have ended since the last call; yield the pid and the status of each."""
        for pid in list(self._descriptors):
            status = ended(pid)
            if status is not None:
                self._forget(pid)
                yield pid, status

    def _forget(self, pid: int) -> None:
        descriptor = self._descriptors.pop(pid)
        if descriptor >= 0:
            self._poll.unregister(descriptor)
            os.close(descriptor)

    def end(self, seconds: float) -> None:
        """Kill those that are left, and wait for their ends for at most that long."""
        end = time.monotonic() + seconds
        for pid in list(self._descriptors):
            if ended(pid) is None:
                os.kill(pid, signal.SIGKILL)
        for pid in list(self._descriptors):
            while ended(pid) is None and time.monotonic() < end:
                time.sleep(0.002)
            self._forget(pid)


def ended(pid: int) -> int | None:
    """Reap a child; return its status as `Popen.returncode`, None while it has not ended."""
    try:
        found, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return -signal.SIGKILL  # it has been reaped elsewhere in this process: its status is not known
    return os.waitstatus_to_exitcode(status) if found else None


def will_not_run(pid: int) -> bool:
    """Return whether a killed process will run none of its own code any more; wait a moment for that."""
    end = time.monotonic() + _EXPEL_S
    try:
        while time.monotonic() < end:
            # Field 9 of /proc/PID/stat is the kernel's flags: PF_EXITING is set before anything is torn down.
            flags = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[6])
            if flags & _PF_EXITING:
                return True
            time.sleep(0.0001)
    except (FileNotFoundError, ProcessLookupError):
        return True
    return False
