# SPDX-License-Identifier: MIT
"""Network namespaces with names, mounted below /run/netns as `ip netns` has them."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from vre.lab import kernel

T = TypeVar("T")
FOLDER = Path("/run/netns")
_SYSCTLS = Path("/proc/sys")


def place(name: str) -> Path:
    """Return where a namespace of that name is mounted."""
    return FOLDER / name


def make_folder() -> None:
    """Make the folder of namespaces as `ip netns` does: mounts in it are seen in every mount namespace."""
    FOLDER.mkdir(mode=0o755, parents=True, exist_ok=True)
    try:
        kernel.share_mounts(str(FOLDER))
    except OSError as error:
        if error.errno != errno.EINVAL:  # it is no mount yet
            raise
        kernel.bind(str(FOLDER), str(FOLDER))
        kernel.share_mounts(str(FOLDER))


def make(name: str) -> None:
    """Make a network namespace. Raises OSError, FileExistsError if there is one of that name."""
    os.close(os.open(place(name), os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o000))

    def fresh() -> None:
        kernel.unshare(kernel.NEWNET)
        kernel.bind("/proc/thread-self/ns/net", str(place(name)))

    try:
        _apart(fresh)
    except OSError:
        place(name).unlink()
        raise


def remove(name: str) -> None:
    """Remove a namespace, if it is there; it lives on until its last process has ended."""
    with contextlib.suppress(OSError):
        kernel.unmount(str(place(name)))
    with contextlib.suppress(FileNotFoundError):
        place(name).unlink()


def run_in(name: str, action: Callable[[], T]) -> T:
    """Return the result of an action in a namespace; it is a thread's of its own, so nothing else is there."""

    def inside() -> T:
        with kernel.opened(place(name)) as (fd,):
            kernel.setns(fd, kernel.NEWNET)
        return action()

    return _apart(inside)


def _apart(action: Callable[[], T]) -> T:
    """Return the result of an action in a thread, which ends with it: what it enters, no other thread does."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(action).result()


def write_sysctl(name: str, value: str) -> None:
    """Set a setting of the namespace that the thread is in, as in "net.ipv4.ip_forward". Raises OSError."""
    sysctl_path(name).write_text(value)


def sysctl_path(name: str) -> Path:
    """Return the file of a setting; interfaces whose names have dots need "/" between the parts, as with sysctl(8)."""
    return _SYSCTLS / (name if "/" in name else name.replace(".", "/"))


def processes(name: str) -> list[int]:
    """Return the processes in a namespace, but for this one."""
    try:
        wanted = place(name).stat()
    except OSError:
        return []
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                here = os.stat(entry / "ns" / "net")
                if (here.st_dev, here.st_ino) == (wanted.st_dev, wanted.st_ino):
                    found.append(int(entry.name))
    return found
