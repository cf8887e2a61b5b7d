# SPDX-License-Identifier: MIT
"""Memory accesses counted by the processor, if it has counters that this user may read (perf_event_open(2)).

No turn reads a counter: the misses of a slice are attributed to the packets that each task had in it. Least squares
over many slices with different proportions of packets yields the misses per packet of each task.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from shm.intrinsics import load64, store64
from shm.layout import MODEL_BITS, TASK

#: Kinds of counters, and what is counted: misses of the last cache; page faults, which every kernel counts.
HARDWARE, SOFTWARE = 0, 1
CACHE_MISSES, PAGE_FAULTS = 3, 2
_ATTRIBUTES = struct.Struct("<IIQQQQQIIQ")
_EXCLUDE_KERNEL, _EXCLUDE_HYPERVISOR = 1 << 5, 1 << 6
_CLOSE_ON_EXEC = 8
_NUMBER = {"x86_64": 298, "aarch64": 241}
#: Slices per estimate: some seconds of a busy core.
SLICES = 2000
_libc = ctypes.CDLL(None, use_errno=True)


class Counter:
    """One counter of this thread. Raises OSError if there is none, or it may not be read."""

    def __init__(self, kind: int = HARDWARE, event: int = CACHE_MISSES) -> None:
        flags = _EXCLUDE_KERNEL | _EXCLUDE_HYPERVISOR
        attributes = _ATTRIBUTES.pack(kind, _ATTRIBUTES.size, event, 0, 0, 0, flags, 0, 0, 0)
        number = _NUMBER[os.uname().machine]
        self.fd = _libc.syscall(number, attributes, 0, -1, -1, ctypes.c_ulong(_CLOSE_ON_EXEC))
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def read(self) -> int:
        """Return the count."""
        return int.from_bytes(os.read(self.fd, 8), "little")

    def close(self) -> None:
        """Close it."""
        os.close(self.fd)


def why_not(kind: int = HARDWARE, event: int = CACHE_MISSES) -> str:
    """Return why something, misses if nothing is said, cannot be counted here; "" where it can."""
    try:
        Counter(kind, event).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def explain(packets: Any, misses: Any) -> Any:
    """Return the misses per packet of each task, by least squares.

    Parameters
    ----------
    packets : ndarray, shape (slices, tasks)
    misses : ndarray, shape (slices,)

    Returns
    -------
    ndarray of float64, shape (tasks,)
        None of them negative.
    """
    found, *_ = np.linalg.lstsq(packets.astype(np.float64), misses.astype(np.float64), rcond=None)
    return np.maximum(found, 0.0)


class LineMeter:
    """Updates the memory accesses per packet in the records of a core's tasks."""

    def __init__(self, counter: Counter, tasks: Sequence[int]) -> None:
        self._counter, self._tasks = counter, list(tasks)
        self._packets = np.zeros((SLICES, len(self._tasks)), dtype=np.int64)
        self._misses = np.zeros(SLICES, dtype=np.int64)
        self._rows = 0
        self._last = self._look()

    def _look(self) -> tuple[int, Any]:
        counts = [load64(task + TASK["packets"]) for task in self._tasks]
        return self._counter.read(), np.array(counts, dtype=np.int64)

    def after_slice(self) -> None:
        """Record a slice; after every SLICES of them that moved packets, update the estimates."""
        (misses, packets), now = self._last, self._look()
        self._last = now
        moved = now[1] - packets
        if not moved.any():
            return
        self._packets[self._rows], self._misses[self._rows] = moved, now[0] - misses
        self._rows += 1
        if self._rows == SLICES:
            self._rows = 0
            for task, lines, total in zip(
                self._tasks, explain(self._packets, self._misses), self._packets.sum(axis=0), strict=True
            ):
                if total >= SLICES:
                    # Never 0: a turn that is charged its accesses must cost something.
                    store64(task + TASK["lines"], round(max(1.0, float(lines)) * (1 << MODEL_BITS)))

    def close(self) -> None:
        """Close it."""
        self._counter.close()


def line_meter(tasks: Sequence[int]) -> LineMeter | None:
    """Return a meter for a core's tasks, None if the processor does not count: then the declared model holds."""
    try:
        return LineMeter(Counter(), tasks)
    except OSError:
        return None
