# SPDX-License-Identifier: MIT
"""Replaying a capture: which router gets which frame, and when. The file is read twice, and never held whole.

The first pass finds how much memory each router's part takes, the second copies the frames there.
"""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from shm.intrinsics import store64
from shm.layout import LINE
from shm.wire_layout import FRAME
from workers.datapath.headers import ETHER_SIZE, ETHER_TYPE, TYPE_VLAN, VLAN_TAG_SIZE, VLAN_TCI, get16
from workers.datapath.packet import LARGE_ROOM
from workers.wire.capture_reader import CaptureError, Findings, read_records
from workers.wire.traffic import BETWEEN_PAUSES, Pause, nothing

#: A step in a capture's clock that is longer, either way, is a clock that was set and no wait: it is left out.
LONGEST_GAP_NS = 3600 * 10**9
#: Destinations of unclaimed frames that are recorded.
STRANGERS = 16
#: What is kept of a frame that no buffer holds, with or without its VLAN's tag: enough to be counted as such.
_LONGEST = LARGE_ROOM + VLAN_TAG_SIZE + 1


class Timeline:
    """From the times in a capture to when each frame is due, in ns from the first one's.

    A frame whose time is not known, or before the one of the frame before it, is due with that.
    """

    def __init__(self) -> None:
        self._zero: int | None = None
        self._latest = 0
        self.gaps = 0

    def due(self, time_ns: int | None) -> int:
        """Return when the next frame is due."""
        if time_ns is None:
            return self._latest
        if self._zero is None:
            self._zero = time_ns
        if abs(time_ns - self._zero - self._latest) > LONGEST_GAP_NS:
            self._zero = time_ns - self._latest
            self.gaps += 1
        self._latest = max(self._latest, time_ns - self._zero)
        return self._latest


class Sorter:
    """Demultiplexes frames, as a NIC with a queue per router does (see also :mod:`workers.datapath.nic`).

    Parameters
    ----------
    claims : sequence of (int or None, int)
        MAC (None: all unclaimed frames) and VLAN (-1: untagged) of each router.
    strip : bool
        Take off a VLAN's tag, as a NIC does that sorts by it.
    """

    def __init__(self, claims: Sequence[tuple[int | None, int]], strip: bool = True) -> None:
        self._strip = strip
        #: VLAN to the receivers of group frames, and, by MAC, of others.
        self._all: dict[int, list[int]] = {}
        self._by_mac: dict[tuple[int, int | None], list[int]] = {}
        for i, (mac, vlan) in enumerate(claims):
            self._all.setdefault(vlan, []).append(i)
            self._by_mac.setdefault((vlan, mac), []).append(i)

    def sort(self, data: bytes) -> tuple[list[int], bytes]:
        """Return the routers that get a frame, and the frame as they get it. A frame without a header is unclaimed."""
        if len(data) < ETHER_SIZE:
            return [], data
        vlan, tagged = -1, len(data) >= ETHER_SIZE + VLAN_TAG_SIZE and get16(data, ETHER_TYPE) == TYPE_VLAN
        if tagged:
            # VLAN 0 is a priority, and no VLAN (IEEE 802.1Q).
            vlan = get16(data, VLAN_TCI) & 0xFFF or -1
        mine = self._all.get(vlan, [])
        # An unclaimed VLAN: the frame goes, with its tag, to the router that takes the rest.
        takers = self._by_mac.get((-1, None), [])
        if mine:
            group = data[0] & 1
            takers = mine if group else self._by_mac.get((vlan, int.from_bytes(data[:6], "big")), [])
            takers = takers or self._by_mac.get((vlan, None), [])
        if tagged and mine and self._strip:
            data = data[:ETHER_TYPE] + data[ETHER_TYPE + VLAN_TAG_SIZE :]
        return takers, data


@dataclass
class Part:
    """One router's frames of a capture, or the unclaimed ones, as a schedule for the wire."""

    capture: Replayed
    recorded: bool = False  #: at the capture's own times
    count: int = 0
    room: int = 0  #: bytes of memory for the frames
    last_ns: int = 0
    blob: int = 0  #: where the frames go
    entries: int = 0  #: where their FRAME records go; 0: nowhere

    def write(self, pause: Pause = nothing) -> None:
        """Write all parts of the capture that have memory. Raises CaptureError if the file has changed."""
        self.capture.write(pause)


@dataclass
class Replayed:
    """One capture, demultiplexed for some routers; the last of its parts is the unclaimed frames.

    Parameters
    ----------
    path : Path or str
    claims, strip
        As :class:`Sorter` takes them.

    Raises
    ------
    CaptureError
        From :meth:`measure`: it cannot be replayed. From :meth:`write`: it is another file by now.
    """

    path: Path | str
    claims: Sequence[tuple[int | None, int]]
    strip: bool = True
    total: int = 0
    notes: list[str] = field(default_factory=list)
    #: Destination MACs of unclaimed frames, and how many of each; at most STRANGERS of them.
    strangers: Counter[int] = field(default_factory=Counter)
    _written: bool = False

    def _frames(self, findings: Findings, timeline: Timeline, pause: Pause) -> Iterator[tuple[list[int], bytes, int]]:
        """Yield the receivers of each frame, the frame, and when it is due; call `pause` now and then."""
        sorter, nobody = Sorter(self.claims, self.strip), [len(self.claims)]
        for number, record in enumerate(read_records(self.path, findings, pause)):
            if number % BETWEEN_PAUSES == BETWEEN_PAUSES - 1:
                pause()
            # What was cut off is filled with zeros: its headers say that it has that length.
            whole = record.data[:_LONGEST].ljust(min(record.original, _LONGEST), b"\0")
            takers, data = sorter.sort(whole)
            yield takers or nobody, data, timeline.due(record.time_ns)

    def measure(self, pause: Pause = nothing) -> list[Part]:
        """Return how much each router gets, and the unclaimed rest."""
        self.parts = [Part(self) for _ in range(len(self.claims) + 1)]
        findings, timeline = Findings(), Timeline()
        for takers, data, due in self._frames(findings, timeline, pause):
            self.total += 1
            if takers[0] == len(self.claims) and len(data) >= 6:
                mac = int.from_bytes(data[:6], "big")
                if mac in self.strangers or len(self.strangers) < STRANGERS:
                    self.strangers[mac] += 1
            for i in takers:
                part = self.parts[i]
                part.count += 1
                part.room += _rounded(len(data))
                part.last_ns = due
        self.notes = findings.notes()
        if timeline.gaps:
            steps = f"{timeline.gaps} step{'s' if timeline.gaps > 1 else ''}"
            self.notes.append(f"{steps} of its clock by more than an hour left out")
        return self.parts

    def write(self, pause: Pause = nothing) -> None:
        """Copy the frames to where the parts have memory now, once."""
        if self._written:
            return
        self._written = True
        at, left = [part.blob for part in self.parts], [part.count for part in self.parts]
        room = [part.room for part in self.parts]
        for takers, data, due in self._frames(Findings(), Timeline(), pause):
            for i in takers:
                size = _rounded(len(data))
                if left[i] == 0 or room[i] < size:
                    raise CaptureError(f"{self.path} has changed while it was read")
                part = self.parts[i]
                entry = part.entries + (part.count - left[i]) * FRAME.size
                left[i], room[i] = left[i] - 1, room[i] - size
                if part.entries:
                    ctypes.memmove(at[i], data, len(data))
                    store64(entry + FRAME["address"], at[i])
                    store64(entry + FRAME["length"], len(data))
                    store64(entry + FRAME["time_ns"], due)
                    at[i] += size
        if any(left):
            raise CaptureError(f"{self.path} has changed while it was read")


def _rounded(size: int) -> int:
    return -(-max(1, size) // LINE) * LINE
