# SPDX-License-Identifier: MIT
"""System calls about namespaces that Python 3.11 does not have."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

NEWNS, NEWUSER, NEWPID, NEWNET = 0x20000, 0x10000000, 0x20000000, 0x40000000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_BIND, _MS_REC, _MS_SLAVE, _MS_SHARED = 2, 4, 8, 4096, 16384, 1 << 19, 1 << 20
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 47, 2
#: Version 3 of the structures of capget(2), which have 64 capabilities.
_CAPABILITIES = 0x20080522
_libc = ctypes.CDLL(None, use_errno=True)


def _must(result: int, what: str) -> None:
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), what)


def unshare(flags: int) -> None:
    """Take namespaces of one's own; the next child enters a new PID namespace. Raises OSError."""
    _must(_libc.unshare(flags), "unshare")


def setns(fd: int, kind: int) -> None:
    """Enter a namespace. Raises OSError."""
    _must(_libc.setns(fd, kind), "setns")


def mount(source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
    """Mount a file system. Raises OSError."""
    arguments = (source.encode(), os.fsencode(target), kind.encode() or None, flags, data.encode() or None)
    _must(_libc.mount(*arguments), f"mount on {target}")


def bind(source: str, target: str) -> None:
    """Mount a file or folder, with what is mounted below it, at a second place. Raises OSError."""
    mount(source, target, "", _MS_BIND | _MS_REC)


def mount_tmpfs(target: str) -> None:
    """Mount a tmpfs. Raises OSError."""
    mount("tmpfs", target, "tmpfs", _MS_NOSUID | _MS_NODEV, "size=16m,mode=755")


def mount_proc() -> None:
    """Mount the /proc of this process's PID namespace. Raises OSError."""
    mount("proc", "/proc", "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)


def leave_mounts() -> None:
    """Let no mount that is made here be seen outside. Raises OSError."""
    mount("none", "/", "", _MS_REC | _MS_SLAVE)


def share_mounts(target: str) -> None:
    """Let mounts below a mount be seen in the mount namespaces that are copied from it. Raises OSError."""
    mount("none", target, "", _MS_SHARED | _MS_REC)


def unmount(target: str) -> None:
    """Unmount what is mounted there, at once for those that do not use it; no link is followed. Raises OSError."""
    _must(_libc.umount2(os.fsencode(target), _MNT_DETACH | _UMOUNT_NOFOLLOW), f"umount {target}")


def keep_capabilities() -> None:
    """Let programs that this process starts have its capabilities, though it is not root. Raises OSError."""
    header, data = (ctypes.c_uint32 * 2)(_CAPABILITIES, 0), (ctypes.c_uint32 * 6)()
    _must(_libc.capget(header, data), "capget")
    data[2], data[5] = data[1], data[4]  # those that are permitted become inheritable
    _must(_libc.capset(header, data), "capset")
    for number in range(64):
        if data[1 + 3 * (number // 32)] >> number % 32 & 1:
            _must(_libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, number, 0, 0), "ambient capabilities")


@contextlib.contextmanager
def opened(*paths: str | Path) -> Iterator[list[int]]:
    """Open files for reading, and close them at the end of the block. Raises OSError."""
    with contextlib.ExitStack() as closing:
        found = []
        for path in paths:
            found.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
            closing.callback(os.close, found[-1])
        yield found
