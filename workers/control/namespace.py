# SPDX-License-Identifier: MIT
"""Network namespaces (network_namespaces(7)) that live as long as a descriptor, and work done inside one.

Such a namespace has no name: when the last process that has its descriptor, or is in it, has ended, the kernel removes
it, with its interfaces. So nothing of it can be left behind.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def enter(fd: int, kind: int = CLONE_NEWNET) -> None:
    """Let the calling thread be in the namespace of a descriptor. Raises OSError."""
    if _libc.setns(fd, kind):
        raise OSError(ctypes.get_errno(), f"cannot enter a namespace: {os.strerror(ctypes.get_errno())}")


def make_namespace() -> int:
    """Return the descriptor of a new, empty network namespace. Raises OSError."""

    def unshare() -> int:
        if _libc.unshare(CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot make a namespace: {os.strerror(ctypes.get_errno())}")
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    return in_thread(unshare)


def inside(fd: int, work: Callable[[], T]) -> T:
    """Return what `work` returns, done in the namespace of a descriptor; sockets that it opens stay there."""

    def entered() -> T:
        enter(fd)
        return work()

    return in_thread(entered)


def in_thread(work: Callable[[], T]) -> T:
    """Return what `work` returns in a thread of its own, which ends then; raise what it raises.

    Only the thread changes its namespace, and it never has to change back.
    """
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return done[0]
