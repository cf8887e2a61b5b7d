# SPDX-License-Identifier: MIT
"""Named shared-memory segments at fixed addresses.

Every process of a platform maps a segment at the same address, the one in its header, so an address read
from shared memory can be followed as it is.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
from collections.abc import Iterable
from dataclasses import dataclass

import posix_ipc

from shm.intrinsics import load32, load64, store32, store64
from shm.layout import APART, HEADER, MAGIC, VERSION
from shm.manifest import SegmentEntry

#: Where segments are mapped: far from where Linux puts anything itself, within 39-bit address spaces too.
_WINDOWS = 0x10_0000_0000
#: Address space of one platform in a process: within 32 bits of lines.
WINDOW = 0x10_0000_0000
_MAP_FIXED_NOREPLACE = 0x100000
PAGE = mmap.PAGESIZE

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


class SegmentError(RuntimeError):
    """A segment cannot be made or mapped; the message has a remedy."""


@dataclass
class Segment:
    """One mapped segment."""

    name: str
    kind: str
    size: int
    base: int

    @classmethod
    def create(cls, name: str, kind: str, size: int, base: int) -> Segment:
        """Make and map a segment of `size` bytes at address `base`; its memory is reserved at once."""
        size = -(-size // PAGE) * PAGE
        try:
            memory = posix_ipc.SharedMemory("/" + name, posix_ipc.O_CREX, mode=0o600)
        except posix_ipc.ExistentialError:
            raise SegmentError(f"shared memory {name} exists already") from None
        except OSError as error:
            raise SegmentError(f"no shared memory ({name}): {error.strerror}") from None
        mapped = False
        try:
            os.ftruncate(memory.fd, size)
            # Reserved now, so that a full /dev/shm is an error here and not a SIGBUS later.
            os.posix_fallocate(memory.fd, 0, size)
            _map(memory.fd, name, size, base)
            mapped = True
            store32(base + HEADER["magic"], MAGIC)
            store32(base + HEADER["version"], VERSION)
            ctypes.memmove(base + HEADER["kind"], kind.encode()[:15] + b"\0", min(len(kind), 15) + 1)
            store64(base + HEADER["size"], size)
            store64(base + HEADER["base"], base)
        except BaseException as error:
            if mapped:
                _libc.munmap(base, size)
            posix_ipc.unlink_shared_memory("/" + name)
            if isinstance(error, OSError):
                text = f"no room for {size} bytes of shared memory ({name}): {error.strerror}"
                raise SegmentError(text) from None
            raise
        finally:
            os.close(memory.fd)
        return cls(name, kind, size, base)

    @classmethod
    def attach(cls, entry: SegmentEntry) -> Segment:
        """Map an existing segment at the address it was made for."""
        name, size, base = entry.name, entry.size, entry.base
        try:
            memory = posix_ipc.SharedMemory("/" + name)
        except posix_ipc.ExistentialError:
            raise SegmentError(f"shared memory {name} is gone") from None
        try:
            _map(memory.fd, name, size, base)
        finally:
            os.close(memory.fd)
        if load32(base + HEADER["magic"]) != MAGIC or load32(base + HEADER["version"]) != VERSION:
            raise SegmentError(f"{name} is not a segment of this version of vre")
        if load64(base + HEADER["base"]) != base:
            raise SegmentError(f"{name} belongs at another address")
        return cls(name, entry.kind, size, base)

    @property
    def entry(self) -> SegmentEntry:
        """It, for a manifest."""
        return SegmentEntry(self.name, self.kind, self.size, self.base)

    def detach(self) -> None:
        """Unmap it from this process."""
        _libc.munmap(self.base, self.size)

    def unlink(self) -> None:
        """Remove its name; the memory is freed with its last mapping."""
        with contextlib.suppress(posix_ipc.ExistentialError):
            posix_ipc.unlink_shared_memory("/" + self.name)


def attach_only(attached: dict[str, Segment], wanted: Iterable[SegmentEntry]) -> None:
    """Attach what is wanted and not attached yet, and detach what is not wanted. Raises SegmentError."""
    entries = {entry.name: entry for entry in wanted}
    for name in attached.keys() - entries.keys():
        attached.pop(name).detach()
    for name, entry in entries.items():
        if name not in attached:
            attached[name] = Segment.attach(entry)


def _map(fd: int, name: str, size: int, base: int) -> None:
    protection = mmap.PROT_READ | mmap.PROT_WRITE
    got = _libc.mmap(base, size, protection, mmap.MAP_SHARED | _MAP_FIXED_NOREPLACE, fd, 0)
    if got != base:
        if got not in (None, ctypes.c_void_p(-1).value):
            _libc.munmap(got, size)
        raise SegmentError(f"cannot map {name} at {base:#x}: {os.strerror(ctypes.get_errno())}")


class Arena:
    """A bump allocator for a segment that is being laid out.

    It writes nothing: the segment is made once its size is known (:mod:`vre.memory.address_space`).
    """

    def __init__(self, base: int) -> None:
        self.base = base
        self._end = base + HEADER.size

    def take(self, size: int, align: int = APART) -> int:
        """Return the address of `size` fresh bytes."""
        address = -(-self._end // align) * align
        self._end = address + size
        return address

    @property
    def size(self) -> int:
        """Bytes allocated so far, including the header."""
        return self._end - self.base


_windows: dict[int, str] = {}


def claim_window(name: str) -> int:
    """Return a base address for a platform's segments that no other platform in this process uses."""
    number = next(n for n in range(64) if n not in _windows)
    _windows[number] = name
    return _WINDOWS + number * WINDOW


def free_window(base: int) -> None:
    """Give back what :func:`claim_window` returned."""
    _windows.pop((base - _WINDOWS) // WINDOW, None)
