# SPDX-License-Identifier: MIT
"""Network namespaces (network_namespaces(7)): opened, made, and entered by a thread that ends there.

A socket stays in the namespace that it was made in, so one process serves interfaces of many.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Made = TypeVar("Made")

#: Where `ip netns` keeps names of namespaces.
_NAMED = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_OWN = "/proc/thread-self/ns/net"
_libc = ctypes.CDLL(None, use_errno=True)


def path_of(name: str | None) -> str:
    """Return where a namespace is, by its name or its path; this process's own if there is none."""
    if name is None:
        return _OWN
    return name if "/" in name else str(_NAMED / name)


def open_namespace(name: str | None) -> int:
    """Return a descriptor of a namespace, by its name or its path; of this process's own for None. Raises OSError."""
    return os.open(path_of(name), os.O_RDONLY | os.O_CLOEXEC)


def make_namespace() -> int:
    """Return a descriptor of a new namespace, which has no name and goes with its last user. Raises OSError.

    No packet is answered there but by the platform: it has no addresses, and none is made for IPv6.
    """

    def make() -> int:
        if _libc.unshare(_CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        made = open_namespace(None)
        for which in ("all", "default"):
            setting = Path(f"/proc/sys/net/ipv6/conf/{which}/disable_ipv6")
            if setting.exists():
                setting.write_text("1")
        return made

    return _apart(make)


def inside(namespace: int, work: Callable[[], Made]) -> Made:
    """Return what `work` returns in a namespace, by its descriptor; this thread stays where it is. Raises OSError."""

    def enter() -> Made:
        if _libc.setns(namespace, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return work()

    return _apart(enter)


def _apart(work: Callable[[], Made]) -> Made:
    """Return what `work` returns in a thread of its own, or raise what it raises."""
    done: list[Made] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="vre-netns")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return done[0]
