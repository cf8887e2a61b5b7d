# SPDX-License-Identifier: MIT
"""Reading captures: pcap and pcapng, of either byte order, with any clock, also compressed with gzip.

A file is read once, front to back, and never held whole. What is odd in it never stops a replay if frames can be had
all the same; it is recorded in :class:`Findings`, and reported with the replay.

The formats are those of draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng.
"""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

from workers.files import CAPTURE_BYTES, open_file, place
from workers.wire.traffic import BETWEEN_PAUSES, Pause, nothing

#: The only link type that ports take.
ETHERNET = 1
#: The longest record that any tool writes (libpcap's MAXIMUM_SNAPLEN), and the longest block that is believed.
_LONGEST_RECORD, _LONGEST_BLOCK = 1 << 18, 1 << 24
#: Bytes of a block that take as long to read as a frame, at most; and options of an interface that are looked at.
_FRAME_BYTES, _MOST_OPTIONS = 2048, 1000
_GZIP = b"\x1f\x8b"
_SECTION, _INTERFACE, _OLD_PACKET, _SIMPLE_PACKET, _PACKET = 0x0A0D0D0A, 1, 2, 3, 6
#: First bytes of a pcap file to byte order, ticks a second, and bytes of a record's header.
_PCAP = {
    bytes.fromhex(magic): (order, ticks, size)
    for magic, order, ticks, size in (
        ("a1b2c3d4", ">", 10**6, 16),
        ("d4c3b2a1", "<", 10**6, 16),
        ("a1b23c4d", ">", 10**9, 16),
        ("4d3cb2a1", "<", 10**9, 16),
        ("a1b2cd34", ">", 10**6, 24),
        ("34cdb2a1", "<", 10**6, 24),
    )
}


class CaptureError(ValueError):
    """A capture file that cannot be replayed."""


class Record(NamedTuple):
    """A captured Ethernet frame, when it was seen in ns since 1970 (None: not known), and its length on the wire."""

    data: bytes
    time_ns: int | None
    original: int


@dataclass
class Findings:
    """What was odd about a capture."""

    frames: int = 0
    cut: int = 0  #: frames that the capture's snapshot length has cut
    foreign: dict[int, int] = field(default_factory=dict)  #: link type to frames that are not Ethernet's
    broken: str = ""  #: why the rest of the file could not be read

    def notes(self) -> list[str]:
        """Return a line for each finding."""
        found = [
            f"{count} frame{'s' if count > 1 else ''} of link type {kind} left out: ports take Ethernet (1)"
            for kind, count in sorted(self.foreign.items())
        ]
        if self.cut:
            found.append(
                f"{self.cut} of {self.frames} frames were cut when captured: the rest of each is filled with 0"
            )
        if self.broken:
            found.append(f"the file is damaged: {self.broken}; the {self.frames} frames before that are replayed")
        return found


class _Broken(Exception):
    """The file cannot be read from here on."""


class _Input:
    """A file read in whole pieces."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.order = "<"

    def take(self, size: int) -> bytes:
        """Return exactly `size` bytes. Raises _Broken."""
        data = self._file.read(size)
        if len(data) < size:
            raise _Broken(f"truncated: {len(data)} bytes where {size} should be")
        return data

    def maybe(self, size: int) -> bytes:
        """Return `size` bytes, or none at the end of the file. Raises _Broken."""
        first = self._file.read(1)
        return first + self.take(size - 1) if first else b""

    def unpack(self, form: str, data: bytes) -> tuple[int, ...]:
        """Return the numbers in `data`, of the file's byte order."""
        return struct.unpack(self.order + form, data)


@contextmanager
def _opened(path: Path | str) -> Iterator[BinaryIO]:
    """Open a capture for reading; no device or pipe can hold that up. Raises CaptureError."""
    try:
        fd = open_file(place(path, os.getcwd()), CAPTURE_BYTES)
    except OSError as error:
        raise CaptureError(f"cannot read {path}: {error.strerror}") from None
    with os.fdopen(fd, "rb") as file:
        packed = file.peek(2)[:2] == _GZIP
        yield gzip.GzipFile(fileobj=file) if packed else file  # type: ignore[misc]


def read_records(path: Path | str, findings: Findings, pause: Pause = nothing) -> Iterator[Record]:
    """Yield the Ethernet frames of a capture, and note in `findings` what is odd about it.

    What has no frames, a gzip file of nothing else included, is read as long as it lasts: `pause` is called meanwhile.

    Raises
    ------
    CaptureError
        It is empty, no capture, of another link type, or damaged before its first frame.
    """
    with _opened(path) as file:
        try:
            for record in _records(path, _Input(file), findings, pause):
                findings.frames += 1
                findings.cut += record.original > len(record.data)
                yield record
        except _Broken as error:
            findings.broken = str(error)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            findings.broken = f"gzip: {error}"
        except OSError as error:
            findings.broken = str(error.strerror)
    if findings.frames == 0:
        if findings.broken:
            raise CaptureError(f"{path} holds no whole frame: {findings.broken}")
        if findings.foreign:
            kinds = " and ".join(map(str, sorted(findings.foreign)))
            raise CaptureError(f"{path} has link type {kinds}; only Ethernet ({ETHERNET}) can be replayed")
        raise CaptureError(f"{path} holds no frames")


def _records(path: Path | str, source: _Input, findings: Findings, pause: Pause) -> Iterator[Record]:
    magic = source.maybe(4)
    if not magic:
        raise CaptureError(f"{path} is empty: no capture header")
    if magic in _PCAP:
        return _pcap_records(path, source, magic, findings)
    if magic == _SECTION.to_bytes(4, "big"):
        return _pcapng_records(source, findings, pause)
    raise CaptureError(f"{path} is not a pcap or pcapng file: it begins with {magic.hex(' ')}")


def _pcap_records(path: Path | str, source: _Input, magic: bytes, findings: Findings) -> Iterator[Record]:
    source.order, ticks, size = _PCAP[magic]
    kind = source.unpack("HHiIII", source.take(20))[-1]
    # The upper bits may say how long a frame check sequence is, in units of two bytes; frames have it then.
    check = 2 * (kind >> 28) if kind & 1 << 26 else 0
    kind &= 0xFFFF
    if kind != ETHERNET:
        raise CaptureError(f"{path} has link type {kind}; only Ethernet ({ETHERNET}) can be replayed")
    while head := source.maybe(size):
        seconds, part, length, original = source.unpack("IIII", head[:16])
        if length > _LONGEST_RECORD:
            raise _Broken(f"a record of {length} bytes")
        time_ns = seconds * 10**9 + part * (10**9 // ticks)
        yield _record(source.take(length), time_ns, original, check)


def _record(data: bytes, time_ns: int | None, original: int, check: int) -> Record:
    """Return a frame without its check sequence of `check` bytes, as far as that was captured."""
    whole = max(original, len(data)) - check
    return Record(data[: max(0, whole)], time_ns, whole)


class _Port(NamedTuple):
    """An interface of a pcapng section: link type, snapshot length, ticks to ns since 1970, bytes of check sequence."""

    kind: int
    snaplen: int
    clock: Callable[[int], int]
    check: int


def _pcapng_records(source: _Input, findings: Findings, pause: Pause) -> Iterator[Record]:
    ports: list[_Port] = []
    unpaused = 0
    first = _SECTION.to_bytes(4, "big")
    while True:
        if first == _SECTION.to_bytes(4, "big"):
            _section(source)
            ports = []
            unpaused += 1
        else:
            kind, body = _block(source, first)
            record = _block_record(source, kind, body, ports, findings)
            unpaused += len(body) // _FRAME_BYTES + (record is None)
            if record:
                yield record
        if unpaused >= BETWEEN_PAUSES:
            unpaused = 0
            pause()
        first = source.maybe(4)
        if not first:
            return


def _section(source: _Input) -> None:
    """Read the rest of a Section Header Block: it says the byte order of all that follows."""
    length, magic = source.take(4), source.take(4)
    source.order = {b"\x1a\x2b\x3c\x4d": ">", b"\x4d\x3c\x2b\x1a": "<"}.get(magic, "")
    if not source.order:
        raise _Broken("a section of unknown byte order")
    (size,) = source.unpack("I", length)
    if not 28 <= size <= _LONGEST_BLOCK or size % 4:
        raise _Broken(f"a section header of {size} bytes")
    source.take(size - 12)


def _block(source: _Input, first: bytes) -> tuple[int, bytes]:
    """Read a block whose first four bytes have been read; return its type and body."""
    (kind,) = source.unpack("I", first)
    (size,) = source.unpack("I", source.take(4))
    if not 12 <= size <= _LONGEST_BLOCK or size % 4:
        raise _Broken(f"a block of {size} bytes")
    body = source.take(size - 12)
    source.take(4)
    return kind, body


def _block_record(source: _Input, kind: int, body: bytes, ports: list[_Port], findings: Findings) -> Record | None:
    """Return the frame in a block; None if it holds none, or none of Ethernet."""
    time: int | None = None
    try:
        if kind == _INTERFACE:
            ports.append(_port(source, body))
            return None
        if kind == _PACKET:
            number, high, low, length, original = source.unpack("IIIII", body[:20])
            data, time = body[20 : 20 + length], high << 32 | low
        elif kind == _OLD_PACKET:
            number, _, high, low, length, original = source.unpack("HHIIII", body[:20])
            data, time = body[20 : 20 + length], high << 32 | low
        elif kind == _SIMPLE_PACKET:
            number = 0
            (original,) = source.unpack("I", body[:4])
            length = min(original, ports[0].snaplen or original, len(body) - 4)
            data = body[4 : 4 + length]
        else:
            return None
        port = ports[number]
    except (struct.error, IndexError):
        raise _Broken("a block that is too short, or of an interface that is not there") from None
    if len(data) < length:
        raise _Broken(f"a frame of {length} bytes in a block of {len(body)}")
    if port.kind != ETHERNET:
        findings.foreign[port.kind] = findings.foreign.get(port.kind, 0) + 1
        return None
    return _record(data, None if time is None else port.clock(time), original, port.check)


def _port(source: _Input, body: bytes) -> _Port:
    kind, _, snaplen = source.unpack("HHI", body[:8])
    options = dict(islice(_options(source, body), _MOST_OPTIONS))
    # if_tsresol: a negative power of ten, or of two if its first bit is set; microseconds without it.
    resolution = options.get(9, b"")[:1] or b"\6"
    base, power = (2, resolution[0] & 0x7F) if resolution[0] & 0x80 else (10, resolution[0])
    offset = options.get(14, b"")
    shift = int.from_bytes(offset, "big" if source.order == ">" else "little", signed=True) if len(offset) == 8 else 0
    # if_fcslen: bytes; bits, as the draft has it, where bytes would be too many.
    check = (options.get(13, b"\0")[:1] or b"\0")[0]
    check = check // 8 if check > 8 else check
    return _Port(kind, snaplen, lambda time: time * 10**9 // base**power + shift * 10**9, check)


def _options(source: _Input, body: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the options of an interface in place: copying the rest at each one would be quadratic."""
    at = 8
    while len(body) - at >= 4:
        code, length = source.unpack("HH", body[at : at + 4])
        if code == 0:
            return
        yield code, body[at + 4 : at + 4 + length]
        at += 4 + length + -length % 4
