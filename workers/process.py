# SPDX-License-Identifier: MIT
"""What every process of a platform does first: die with its parent, keep to its processor, map the memory."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
from typing import Any

from shm.segment import Segment

_PR_SET_PDEATHSIG, _PR_SET_NAME, _PR_SET_TIMERSLACK = 1, 15, 29
_MADV_POPULATE_WRITE = 23
_libc = ctypes.CDLL(None, use_errno=True)


def follow_parent(parent: int) -> None:
    """Be killed when the parent ends, and end at once where it has ended already."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


def settle_in(name: str, cpu: int | None, manifest: dict[str, Any]) -> None:
    """Take a name and a processor, map all memory in, and keep the garbage collector and Ctrl-C away."""
    _libc.prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)
    # 1 us: sleeps of 20 us would otherwise take 70 (the default slack is 50).
    _libc.prctl(_PR_SET_TIMERSLACK, 1000, 0, 0, 0)
    if cpu is not None:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, {cpu})
    # Ctrl-C goes to the whole terminal; only the platform's own process decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for _, _, size, base in manifest["segments"]:
        # A forked process meets shared memory page by page; better now than packet by packet. Kernels
        # before 5.14 do not know the call, and then it is packet by packet.
        _libc.madvise(ctypes.c_void_p(base), ctypes.c_size_t(size), _MADV_POPULATE_WRITE)
    gc.disable()


def attach_all(manifest: dict[str, Any]) -> list[Segment]:
    """Map every segment of a platform."""
    return [Segment.attach(*row) for row in manifest["segments"]]
