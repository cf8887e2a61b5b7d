# SPDX-License-Identifier: MIT
"""Named shared-memory segments at fixed addresses, and the run directory that lists them.

Every process of a platform maps a segment at the same address, the one in its header, so an address read
from shared memory can be followed as it is. A platform's run directory holds its lock and its manifest;
whoever finds the lock free removes what the directory lists: that is how the memory of a killed platform
goes away with the next command.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import mmap
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import posix_ipc

from shm.layout import APART, HEADER, MAGIC, VERSION
from shm.memory import load32, load64, store32, store64

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
    """A segment that cannot be made or mapped; the message says what would help."""


def run_root() -> Path:
    """Return the folder of run directories: one for each user."""
    if "VRE_RUN" in os.environ:
        return Path(os.environ["VRE_RUN"])
    if os.geteuid() == 0:
        return Path("/run/vre")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime) / "vre" if runtime else Path(tempfile.gettempdir()) / f"vre-{os.geteuid()}"


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
        try:
            os.ftruncate(memory.fd, size)
            # Reserved now, so that a full /dev/shm is an error here and not a SIGBUS later.
            os.posix_fallocate(memory.fd, 0, size)
            _map(memory.fd, name, size, base)
        except OSError as error:
            posix_ipc.unlink_shared_memory("/" + name)
            raise SegmentError(f"no room for {size} bytes of shared memory ({name}): {error.strerror}") from None
        except SegmentError:
            posix_ipc.unlink_shared_memory("/" + name)
            raise
        finally:
            os.close(memory.fd)
        store32(base + HEADER["magic"], MAGIC)
        store32(base + HEADER["version"], VERSION)
        ctypes.memmove(base + HEADER["kind"], kind.encode()[:15] + b"\0", min(len(kind), 15) + 1)
        store64(base + HEADER["size"], size)
        store64(base + HEADER["base"], base)
        return cls(name, kind, size, base)

    @classmethod
    def attach(cls, name: str, kind: str, size: int, base: int) -> Segment:
        """Map an existing segment at the address it was made for."""
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
        return cls(name, kind, size, base)

    def detach(self) -> None:
        """Unmap it from this process."""
        _libc.munmap(self.base, self.size)

    def unlink(self) -> None:
        """Remove its name; the memory goes with its last mapping."""
        with contextlib.suppress(posix_ipc.ExistentialError):
            posix_ipc.unlink_shared_memory("/" + self.name)


def _map(fd: int, name: str, size: int, base: int) -> None:
    protection = mmap.PROT_READ | mmap.PROT_WRITE
    got = _libc.mmap(base, size, protection, mmap.MAP_SHARED | _MAP_FIXED_NOREPLACE, fd, 0)
    if got != base:
        if got not in (None, ctypes.c_void_p(-1).value):
            _libc.munmap(got, size)
        raise SegmentError(f"cannot map {name} at {base:#x}: {os.strerror(ctypes.get_errno())}")


class Arena:
    """Hands out parts of a segment that is being laid out, in order.

    Nothing is written here: the segment is made once its size is known (:class:`vre.space.Space`).
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
        """Bytes handed out so far, the header included."""
        return self._end - self.base


class RunDirectory:
    """The directory of one running platform: lock, manifest, sockets."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = run_root() / name
        self._lock: int | None = None

    @property
    def prefix(self) -> str:
        """What the names of the platform's segments begin with: told apart by user."""
        return f"vre.{os.geteuid()}.{self.name}."

    def acquire(self) -> None:
        """Create and lock the directory. Raises SegmentError where a live platform has it."""
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SegmentError(f"cannot use the run directory {self.path}: {error.strerror}") from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise SegmentError(
                f"a platform named '{self.name}' is running (run directory {self.path}); "
                "stop it, or give this one another name with --name"
            ) from None
        self._lock = fd
        self._remove_segments()

    def release(self) -> None:
        """Remove the segments and the directory, and folders elsewhere that its file `groups` lists."""
        if self._lock is None:
            return
        groups = self.path / "groups"
        for line in groups.read_text().split("\n") if groups.exists() else ():
            with contextlib.suppress(OSError):
                Path(line).rmdir()
        self._remove_segments()
        for file in self.path.iterdir():
            if file.is_dir():
                file.rmdir()
            else:
                file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.path.rmdir()
        os.close(self._lock)
        self._lock = None

    def _remove_segments(self) -> None:
        for file in Path("/dev/shm").glob(self.prefix + "*"):
            with contextlib.suppress(posix_ipc.ExistentialError):
                posix_ipc.unlink_shared_memory("/" + file.name)

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        """Publish what is where, in one step."""
        partial = self.path / "manifest.partial"
        partial.write_text(json.dumps(manifest))
        partial.replace(self.path / "manifest.json")

    def manifest(self) -> dict[str, Any]:
        """Return the manifest; raises SegmentError where no platform runs."""
        try:
            return json.loads((self.path / "manifest.json").read_text())
        except FileNotFoundError:
            raise SegmentError(f"no platform named '{self.name}' is running") from None

    def alive(self) -> bool:
        """Return whether a platform holds the lock."""
        try:
            fd = os.open(self.path / "lock", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False


def sweep() -> list[str]:
    """Remove what dead platforms of this user have left; return their names."""
    swept = []
    root = run_root()
    for path in sorted(root.iterdir()) if root.is_dir() else []:
        directory = RunDirectory(path.name)
        if path.is_dir() and not directory.alive():
            with contextlib.suppress(SegmentError):
                directory.acquire()
                directory.release()
                swept.append(path.name)
    return swept


_windows: dict[int, str] = {}


def claim_window(name: str) -> int:
    """Return a base address for a platform's segments that no other platform in this process uses."""
    number = next(n for n in range(64) if n not in _windows)
    _windows[number] = name
    return _WINDOWS + number * WINDOW


def free_window(base: int) -> None:
    """Give back what :func:`claim_window` returned."""
    _windows.pop((base - _WINDOWS) // WINDOW, None)
