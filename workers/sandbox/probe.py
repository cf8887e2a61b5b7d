# SPDX-License-Identifier: MIT
"""What a domU must not be able to do: tried inside a throw-away jail, since only trying tells.

Each attempt returns whether it succeeded. Those of :data:`FATAL` end the process where the jail holds.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import socket
from collections.abc import Callable

_libc = ctypes.CDLL(None, use_errno=True)


def _works(action: Callable[..., object], *arguments: object) -> bool:
    try:
        action(*arguments)
    except (OSError, MemoryError):
        return False
    return True


def read_a_file_of_the_host() -> bool:
    """Open files that every host has."""
    return any(_works(os.open, path, os.O_RDONLY) for path in ("/etc/passwd", "/etc/hostname", "/etc/fstab"))


def see_other_processes() -> bool:
    """Look into /proc."""
    return _works(os.listdir, "/proc/1") or _works(os.open, "/proc/self/maps", os.O_RDONLY)


def write_a_file() -> bool:
    """Write to a world-writable folder."""
    files = [f"{path}/vre-probe-{os.getpid()}" for path in ("/tmp", "/dev/shm", "/")]
    written = [file for file in files if _works(os.open, file, os.O_WRONLY | os.O_CREAT)]
    for file in written:
        os.unlink(file)
    return bool(written)


def open_a_socket() -> bool:
    """Open a socket of any kind."""
    kinds = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_NETLINK)
    return any(_works(socket.socket, family, socket.SOCK_DGRAM) for family in kinds)


def start_a_process() -> bool:
    """Fork."""
    try:
        pid = os.fork()
    except OSError:
        return False
    if pid == 0:
        os._exit(0)
    return True


def run_a_program() -> bool:
    """Execute something: where it succeeds, nothing comes back, and that tells."""
    return _works(os.execve, "/bin/true", ["true"], {})


def become_root() -> bool:
    """Take the user id 0."""
    return _works(os.setuid, 0)


def take_too_much_memory() -> bool:
    """Map 64 GiB."""
    return _works(mmap.mmap, -1, 64 << 30)


def signal_others() -> None:
    """Signal every process there is; with 0, which does nothing to them."""
    os.kill(-1, 0)


def trace_a_process() -> None:
    """Ask to be traced by the parent: harmless, and refused all the same."""
    _libc.ptrace(0, 0, 0, 0)


def take_a_namespace() -> None:
    """Take a user namespace."""
    _libc.unshare(0x10000000)


def mount_something() -> None:
    """Mount a file system."""
    _libc.mount(b"none", b"/", b"tmpfs", 0, None)


def cut_off_memory() -> None:
    """Change the size of a file."""
    os.ftruncate(1, 0)


REFUSED = (
    read_a_file_of_the_host,
    see_other_processes,
    write_a_file,
    open_a_socket,
    start_a_process,
    run_a_program,
    become_root,
    take_too_much_memory,
)
FATAL = (signal_others, trace_a_process, take_a_namespace, mount_something, cut_off_memory)


def run(name: str | None) -> dict[str, bool]:
    """Try what must be refused, or the one of :data:`FATAL` called `name`; return what succeeded."""
    if name is None:
        return {attempt.__name__: attempt() for attempt in REFUSED}
    signal.signal(signal.SIGSYS, signal.SIG_DFL)
    with_name = {attempt.__name__: attempt for attempt in FATAL}
    try:
        with_name[name]()
    except OSError:
        return {name: False}
    return {name: True}
