# SPDX-License-Identifier: MIT
"""Nameless memory that a domU shares with dom0: sealed, passed by descriptor, gone with its last user.

Each incarnation of a domU gets memory of its own. Its size is sealed, so a domU cannot truncate it under dom0, which
would die of SIGBUS; what dom0 writes, the domU gets a descriptor of that is open for reading only.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import mmap
import os

from shm.channel import CHANNEL, DOWN_BYTES, UP_BYTES
from shm.intrinsics import add64, load64, store64
from shm.segment import SegmentError

_MAP_FIXED = 0x10
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
_FIELDS = (("down", "down_fd", DOWN_BYTES), ("up", "up_fd", UP_BYTES))
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


def make_memory(name: str, size: int) -> int:
    """Return the descriptor of fresh memory of sealed size. Raises OSError."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, size)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(fd)
        raise
    return fd


def read_only(fd: int) -> int:
    """Return a descriptor of the same memory through which nothing can be written, nor mapped for writing."""
    return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)


def map_at(address: int, fd: int, size: int, writable: bool = True, offset: int = 0) -> int:
    """Map memory at an address, in place of what was there, or at a free one if `address` is 0; return the address."""
    protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
    flags = mmap.MAP_SHARED | (_MAP_FIXED if address else 0)
    got = _libc.mmap(address or None, size, protection, flags, fd, offset)
    if got in (None, ctypes.c_void_p(-1).value):
        raise SegmentError(f"cannot map the memory behind a descriptor: {os.strerror(ctypes.get_errno())}")
    return int(got)


def unmap(address: int, size: int) -> None:
    """Unmap memory."""
    _libc.munmap(address, size)


def renew(channel: int) -> tuple[int, int]:
    """Give a channel fresh memory, mapped here; return the descriptors for the domU, which the caller closes.

    Raises OSError or SegmentError, and no descriptor is left open then.

    Workers map it when they next look round: :func:`follow`.
    """
    with contextlib.ExitStack() as failing:
        fresh = []
        for field, _, size in _FIELDS:
            fresh.append(make_memory(f"vre-{field}", size))
            failing.callback(os.close, fresh[-1])
        passed = read_only(fresh[0])
        failing.callback(os.close, passed)
        also_passed = os.dup(fresh[1])
        failing.callback(os.close, also_passed)
        for (field, _, size), fd in zip(_FIELDS, fresh, strict=True):
            map_at(load64(channel + CHANNEL[field]), fd, size)
        failing.pop_all()
    for (_, held, _), fd in zip(_FIELDS, fresh, strict=True):
        drop(channel, held)
        store64(channel + CHANNEL[held], fd)
    store64(channel + CHANNEL["owner"], os.getpid())
    add64(channel + CHANNEL["incarnation"], 1)
    return passed, also_passed


def drop(channel: int, held: str) -> None:
    """Close a descriptor that this process holds for a channel."""
    if load64(channel + CHANNEL["owner"]) == os.getpid():
        os.close(load64(channel + CHANNEL[held]))


def release(channel: int) -> None:
    """Let go of a channel's memory: it is gone once the domU and the workers are."""
    if load64(channel + CHANNEL["owner"]):
        for field, held, size in _FIELDS:
            drop(channel, held)
            unmap(load64(channel + CHANNEL[field]), size)
        store64(channel + CHANNEL["owner"], 0)


def follow(channel: int) -> None:
    """Map a channel's memory as it is now, in a process of dom0 that did not make it."""
    owner = load64(channel + CHANNEL["owner"])
    if owner == 0:
        return
    for field, held, size in _FIELDS:
        try:
            fd = os.open(f"/proc/{owner}/fd/{load64(channel + CHANNEL[held])}", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return  # renewed meanwhile: the incarnation is another, and this is done again
        try:
            if os.readlink(f"/proc/self/fd/{fd}").startswith(f"/memfd:vre-{field}"):
                map_at(load64(channel + CHANNEL[field]), fd, size)
        finally:
            os.close(fd)
