# SPDX-License-Identifier: MIT
"""Journals: a worker's messages, written without ever blocking.

A journal is a ring of bytes in shared memory with one writer, the process that is a core or the wire, and one reader,
the platform. What finds no room is dropped and counted for its router. Every core has one, `CORE["journal"]`, and the
wire, `WIRE["journal"]`.

To report a packet that raised, from a core's own process and nowhere else::

    put(load64(core + CORE["journal"]), FAULT, router, element, f"{type(error).__name__}: {error} at file.py:12")

`router` is the router's index (`CLIENT["router"]`; NOBODY if no router is at fault), `element` the element's number in
its shape (-1 for none). The platform shows a fault of the same (router, element, what is before the first colon)
as an event the 1st, 10th, 100th ... time, and counts it each time. LINE is for what elements print: it goes to standard
error, line by line. Text is escaped here, and cut to LONGEST of its kind in bytes.

The writer stores a record and publishes it by storing `head`, last. So a writer that is killed leaves no part of a
record behind, and the next one goes on at `head`. The interpreter's stores are in program order only if the
processor keeps them so; therefore a record carries a checksum and its own position, and one that does not match is left
for the reader's next poll.
"""

from __future__ import annotations

import ctypes
import struct
import zlib
from typing import NamedTuple

from shm.escape import escape
from shm.intrinsics import acquire64, add64, load64, release64, store64
from shm.layout import APART, CLIENTS, Layout

JOURNAL = Layout(
    "journal",
    {
        "head": ("i8", 0),  # writer: bytes published, a count that never wraps
        "dropped": "i8",  # writer: records that found no room
        "tail": ("i8", APART),  # reader: bytes read
        "text": ("i8", 2 * APART),  # set once: address of the bytes
        "size": "i8",  # set once: how many bytes
        "dropped_by": "i8",  # set once: address of one i8 for each router index, and one for NOBODY
    },
    size=3 * APART,
)
#: What a record is: a line that an element printed, or an exception that was raised about a packet.
LINE, FAULT = 1, 2
#: The router index of records that belong to no router.
NOBODY = CLIENTS
#: Longest text of each kind, in bytes: Print can show a whole frame.
LONGEST = {LINE: 8192, FAULT: 400}
#: Bytes of a core's journal: some 2,000 lines of Print, ten times what comes between two polls.
CORE_BYTES = 1 << 18
#: Bytes of the wire's journal, which reports only the wire's own faults.
WIRE_BYTES = 1 << 14

# Checksum of all that follows, bytes of text, kind, router, element, position.
_RECORD = struct.Struct("<IHHiiq")
_CHECKED = 4


class Record(NamedTuple):
    """One record, as :func:`take` returns it."""

    kind: int
    router: int
    element: int
    text: str


def footprint(size: int) -> int:
    """Return how many bytes a journal takes with its tables and `size` bytes of records."""
    return JOURNAL.size + 8 * (CLIENTS + 1) + size


def set_up(journal: int, size: int) -> None:
    """Make a journal of the :func:`footprint` of zeroed bytes at `journal`."""
    store64(journal + JOURNAL["dropped_by"], journal + JOURNAL.size)
    store64(journal + JOURNAL["text"], journal + JOURNAL.size + 8 * (CLIENTS + 1))
    store64(journal + JOURNAL["size"], size)


def put(journal: int, kind: int, router: int, element: int, text: str) -> bool:
    """Add a record; if there is no room, count it and return False. Only for the journal's one writer."""
    most = LONGEST[kind]
    said = escape(text, most).encode()[:most]
    head = load64(journal + JOURNAL["head"])
    length = -(-(_RECORD.size + len(said)) // 8) * 8
    if head + length - acquire64(journal + JOURNAL["tail"]) > load64(journal + JOURNAL["size"]):
        _bump(journal + JOURNAL["dropped"])
        _bump(load64(journal + JOURNAL["dropped_by"]) + 8 * router)
        return False
    checked = _RECORD.pack(0, len(said), kind, router, element, head)[_CHECKED:] + said
    _store(journal, head, struct.pack("<I", zlib.crc32(checked)) + checked)
    release64(journal + JOURNAL["head"], head + length)
    return True


def take(journal: int, most: int) -> list[Record]:
    """Return the next records, at most `most`, and free their room. Only for the journal's one reader."""
    tail, head = load64(journal + JOURNAL["tail"]), acquire64(journal + JOURNAL["head"])
    found: list[Record] = []
    while tail < head and len(found) < most:
        fixed = _load(journal, tail, _RECORD.size)
        checksum, length, kind, router, element, place = _RECORD.unpack(fixed)
        if place != tail:
            break
        text = _load(journal, tail + _RECORD.size, length)
        if zlib.crc32(fixed[_CHECKED:] + text) != checksum:
            break
        found.append(Record(kind, router, element, text.decode("utf-8", "replace")))
        tail += -(-(_RECORD.size + length) // 8) * 8
    release64(journal + JOURNAL["tail"], tail)
    return found


def dropped(journal: int, router: int | None = None) -> int:
    """Return how many records found no room: of one router, or of all."""
    if router is None:
        return load64(journal + JOURNAL["dropped"])
    return load64(load64(journal + JOURNAL["dropped_by"]) + 8 * router)


def _bump(word: int) -> None:
    add64(word, 1)


def _store(journal: int, place: int, data: bytes) -> None:
    text, size = load64(journal + JOURNAL["text"]), load64(journal + JOURNAL["size"])
    first = min(len(data), size - place % size)
    ctypes.memmove(text + place % size, data[:first], first)
    ctypes.memmove(text, data[first:], len(data) - first)


def _load(journal: int, place: int, length: int) -> bytes:
    text, size = load64(journal + JOURNAL["text"]), load64(journal + JOURNAL["size"])
    first = min(length, size - place % size)
    return ctypes.string_at(text + place % size, first) + ctypes.string_at(text, length - first)
