# SPDX-License-Identifier: MIT
"""What every process of a platform does first: die with its parent, keep to its processor, map the memory."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import platform
import select
import signal
import socket
import time
from collections.abc import Iterator, Sequence

from shm.manifest import SegmentEntry

_PR_SET_PDEATHSIG, _PR_SET_NAME, _PR_SET_TIMERSLACK = 1, 15, 29
_MADV_POPULATE_WRITE = 23
#: A standby maps memory in pieces of this size, with a pause after each: the present worker is on the same processor.
_PART, _PAUSE_S = 1 << 20, 0.001
_libc = ctypes.CDLL(None, use_errno=True)
#: Functions of which none lets go of the interpreter's lock.
_python = ctypes.PyDLL(None, use_errno=True)
_python.syscall.restype = ctypes.c_long
_python.syscall.argtypes = [ctypes.c_long, ctypes.c_ulong, *[ctypes.c_void_p] * 4]
#: The number of the system call by machine (its arguments come in different orders, but only those that are 0 here).
_CLONE, _CLONE_PARENT = {"x86_64": 56, "aarch64": 220}, 0x8000


def follow_parent(parent: int) -> None:
    """Be killed when the parent ends, and end at once where it has ended already."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


def fork_sibling() -> int:
    """Fork this process as `os.fork` does, but as a child of this one's parent, which outlives it. Raises OSError.

    The C library's own fork cannot do that. What it does besides is for processes with several threads.
    """
    _python.PyOS_BeforeFork()
    pid = _python.syscall(_CLONE[platform.machine()], _CLONE_PARENT | signal.SIGCHLD, None, None, None, None)
    error = ctypes.get_errno()
    if pid == 0:
        _python.PyOS_AfterFork_Child()
    else:
        _python.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(error, os.strerror(error))
    return int(pid)


def take_name(name: str) -> None:
    """Let this process be called so, of which the kernel takes 15 bytes."""
    _libc.prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def take_processor(cpu: int | None, pid: int = 0) -> None:
    """Keep this process, or another one, to a processor, if one is given."""
    if cpu is not None:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(pid, {cpu})


def wakings(channel: socket.socket) -> Iterator[tuple[bool, bool]]:
    """Wait, and yield whether a child has ended and whether a message has come, time and again: a zygote's loop.

    Ctrl-C, a hang-up and `timeout` go to whole groups of processes; only the platform's own decides what they mean.
    """
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_write)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    leave_signals()
    while True:
        ready, _, _ = select.select([channel.fileno(), wake_read], [], [])
        if wake_read in ready:
            os.read(wake_read, 512)
        yield wake_read in ready, channel.fileno() in ready


def leave_signals() -> None:
    """Leave signals that ask a platform to end to the platform's own process, which ends all others."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def sleep_precisely() -> None:
    """Let timers be 1 us late at most: sleeps of 20 us would otherwise take 70, as the default slack is 50."""
    _libc.prctl(_PR_SET_TIMERSLACK, 1000, 0, 0, 0)


def settle_in(name: str, segments: Sequence[SegmentEntry], gently: bool = False) -> None:
    """Take a name, map all segments in, and keep the garbage collector and signals to the platform away.

    `gently`: others are at work on the processor, and shall not be held up.
    """
    take_name(name)
    sleep_precisely()
    leave_signals()
    for segment in segments:
        # A forked process meets shared memory page by page; better now than packet by packet. Kernels
        # before 5.14 do not know the call, and then it is packet by packet.
        part, end = _PART if gently else segment.size, segment.base + segment.size
        for at in range(segment.base, end, part):
            length = min(part, end - at)
            _libc.madvise(ctypes.c_void_p(at), ctypes.c_size_t(length), _MADV_POPULATE_WRITE)
            if gently:
                time.sleep(_PAUSE_S)
    gc.disable()
