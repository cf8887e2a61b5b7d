# SPDX-License-Identifier: MIT
"""A capture's writer: a process that takes what the wire captures to a file, and may be held up by it.

The wire puts pcapng blocks into a ring of bytes (:data:`shm.wire_layout.CAPTURE`) and never waits: a frame without
room is not captured, and counted. This process empties the ring into memory of its own, in whole blocks, and writes
that. So a file that takes nothing, a FIFO whose reader has stopped, a disk that hangs, costs frames of its own capture,
once the ring is full (CAPTURE_BYTES of vre.memory.wire) and as much waits here, and nothing else. A file that fails (no
space, an input/output error, a reader that has exited) ends its capture: what is in it ends with a whole frame, and all
later frames are counted as lost.

| opened | what follows |
| --- | --- |
| nothing there, or an empty file | it is written |
| a file that holds something | refused, unless the link says `overwrite` |
| a FIFO without a reader | tried again |
| a terminal, /dev/null | written |
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import select
import stat
import struct
import time

from shm.intrinsics import acquire64, add64, load64, release64, store64
from shm.manifest import CaptureEntry
from shm.wire_layout import CAPTURE, CAPTURE_FRAMES
from workers.process import take_name, take_processor

_POSITION = 0xFFFF_FFFF
#: Bytes of one write: what one takes is seen, and stopped, in between.
_PART = 1 << 20
#: Between two looks at an empty ring; the ring holds what comes meanwhile many times over.
_NAP_S = 0.002
#: Between two attempts to open a FIFO, and two looks whether the file is still there.
_AGAIN_S, _CHECK_S = 0.05, 1.0


def section_header() -> bytes:
    """Return the blocks a pcapng file begins with: section, and one Ethernet interface with ns times."""
    section = struct.pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28)
    # Option if_tsresol: 10**-9 s.
    options = struct.pack("<HHB3x", 9, 1, 9) + struct.pack("<HH", 0, 0)
    size = 20 + len(options)
    return section + struct.pack("<IIHHI", 1, size, 1, 0, 0) + options + struct.pack("<I", size)


class CaptureFile:
    """The far end of a capture: a ring in shared memory on one side, a file on the other.

    Parameters
    ----------
    address : int
        Of the CAPTURE; this is its only writer's side.
    path : str
    overwrite : bool
        Whether a file that holds something may be replaced.
    """

    def __init__(self, address: int, path: str, overwrite: bool) -> None:
        self.address, self._path, self._overwrite = address, path, overwrite
        self._fd = -1
        self._regular = False
        self._pending = memoryview(section_header())
        self._chunk, self._begun = self._pending, 0  # what is being written, and where in the file it begins
        self._open_at = self._check_at = 0.0

    def pump(self) -> bool:
        """Take the next step: open, take from the ring, or write. Return whether anything moved.

        Waits for nothing but the file: a few ms where that says that it is full, else as long as one write takes.
        """
        if load64(self.address + CAPTURE["error"]):
            return self._discard()
        try:
            if self._fd < 0 and not self._open():
                return False
            if not self._pending and not self._take():
                self._check()
                return False
            return self._write()
        except OSError as error:
            self._fail(error.errno or errno.EIO)
            return True

    def _open(self) -> bool:
        if time.monotonic() < self._open_at:
            return False
        self._open_at = time.monotonic() + _AGAIN_S
        flags = os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        try:
            fd = os.open(self._path, flags, 0o644)
        except OSError as error:
            if error.errno == errno.ENXIO and stat.S_ISFIFO(os.stat(self._path).st_mode):
                return False  # there is no reader yet
            raise
        found = os.fstat(fd)
        regular = stat.S_ISREG(found.st_mode)
        if regular and found.st_size and not self._overwrite:
            os.close(fd)
            raise FileExistsError(errno.EEXIST, "it holds something")
        # From here on the file is this capture's.
        self._fd, self._regular = fd, regular
        if regular:
            os.ftruncate(fd, 0)
        return True

    def _take(self) -> bool:
        """Take all whole blocks that are in the ring; return whether there were any."""
        filled, emptied = acquire64(self.address + CAPTURE["filled"]), load64(self.address + CAPTURE["emptied"])
        size, start = (filled - emptied) & _POSITION, emptied & _POSITION
        if size == 0:
            return False
        buffer, room = load64(self.address + CAPTURE["buffer"]), load64(self.address + CAPTURE["size"])
        first = min(size, room - start % room)
        data = ctypes.string_at(buffer + start % room, first) + ctypes.string_at(buffer, size - first)
        store64(self.address + CAPTURE["hand"], ((filled >> 32) - (emptied >> 32)) & CAPTURE_FRAMES)
        release64(self.address + CAPTURE["emptied"], filled)
        self._begun += len(self._chunk)
        self._chunk = self._pending = memoryview(data)
        return True

    def _write(self) -> bool:
        try:
            size = os.write(self._fd, self._pending[:_PART])
        except BlockingIOError:
            waiting = select.poll()
            waiting.register(self._fd, select.POLLOUT)
            waiting.poll(_NAP_S * 1000)
            return False
        self._pending = self._pending[size:]
        if not self._pending:
            self._written(load64(self.address + CAPTURE["hand"]))
        return True

    def _written(self, frames: int) -> None:
        store64(self.address + CAPTURE["hand"], 0)
        add64(self.address + CAPTURE["written"], frames)

    def _check(self) -> None:
        """Find out whether the file is still there: what is written to one that has been removed is lost."""
        if self._regular and time.monotonic() >= self._check_at:
            self._check_at = time.monotonic() + _CHECK_S
            if os.fstat(self._fd).st_nlink == 0:
                raise FileNotFoundError(errno.ENOENT, "it has been removed")

    def _fail(self, number: int) -> None:
        """End the capture with a whole frame."""
        done, frames, whole = len(self._chunk) - len(self._pending), 0, 0
        if not self._pending:
            whole = done  # all of it has been counted
        while whole < done:
            kind, size = struct.unpack_from("<II", self._chunk, whole)
            if whole + size > done:
                break
            frames += kind == 6
            whole += size
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                if self._regular:
                    os.ftruncate(self._fd, self._begun + whole)
                os.close(self._fd)
            self._fd = -1
        self._pending = memoryview(b"")
        if frames:
            self._written(frames)
        store64(self.address + CAPTURE["hand"], 0)
        store64(self.address + CAPTURE["error"], number)

    def _discard(self) -> bool:
        filled = acquire64(self.address + CAPTURE["filled"])
        moved = filled != load64(self.address + CAPTURE["emptied"])
        release64(self.address + CAPTURE["emptied"], filled)
        return moved

    def done(self) -> bool:
        """Return whether all that was captured is where it goes."""
        left = load64(self.address + CAPTURE["emptied"]) != acquire64(self.address + CAPTURE["filled"])
        return not left and not self._pending

    def drain(self, patience_s: float) -> None:
        """Write all that has been captured, and wait for the file: at most so long while it takes nothing."""
        end = time.monotonic() + patience_s
        while not self.done():
            if self.pump():
                end = time.monotonic() + patience_s
            elif time.monotonic() > end:
                self._fail(errno.ETIMEDOUT)

    def close(self) -> None:
        """Close the file; what has not been written is lost."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def run_writer(capture: CaptureEntry, number: int, cpu: int | None) -> None:
    """Be the writer of `capture`, whose number is `number`, until told to stop, and all is written."""
    address = capture.address
    file = CaptureFile(address, capture.path, capture.overwrite)
    take_name(f"vre-capture-{number}")
    take_processor(cpu)
    store64(address + CAPTURE["pid"], os.getpid())
    while not (load64(address + CAPTURE["stop"]) and file.done()):
        if not file.pump():
            time.sleep(_NAP_S)
    file.close()
