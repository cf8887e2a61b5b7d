# SPDX-License-Identifier: MIT
"""Packets as the authors of untrusted elements see them: one at a time, or many."""

from __future__ import annotations

from typing import Any

import numpy as np

from shm.channel import DROPPED, SLOT_BYTES


class Packet:
    """A packet in the hands of an element's `push`.

    Slices read and write the frame in place: `packet[12:14]`. Without a word it goes to output 0.

    Attributes
    ----------
    input : int
        Input of the element that it came by.
    net : int or None
        Where its IP header begins, where dom0 has marked one.
    paint, type, vlan, device : int
        Its annotations (Click).
    """

    __slots__ = ("_begin", "_end", "_memory", "_output", "_row", "_stage", "input", "marks")

    def __init__(self, memory: memoryview, begin: int, end: int, port: int, marks: int, row: int, stage: Any) -> None:
        self._memory, self._begin, self._end = memory, begin, end
        self._output, self._row, self._stage = 0, row, stage
        self.input, self.marks = port, marks

    def __len__(self) -> int:
        return self._end - self._begin

    @property
    def data(self) -> memoryview:
        """The frame's bytes, as they are in the slot."""
        return self._memory[self._begin : self._end]

    def __getitem__(self, key: Any) -> Any:
        return self.data[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self.data[key] = value

    @property
    def net(self) -> int | None:
        """Where its IP header begins, None if no element has marked one."""
        return ((self.marks & 0xFFFF) or None) and (self.marks & 0xFFFF) - 1

    @property
    def paint(self) -> int:
        """The paint annotation."""
        return self.marks >> 16 & 0xFF

    @property
    def type(self) -> int:
        """The packet type annotation: host, broadcast, multicast, other host."""
        return self.marks >> 24 & 0xFF

    @property
    def vlan(self) -> int:
        """The VLAN tag annotation."""
        return self.marks >> 32 & 0xFFFF

    @property
    def device(self) -> int:
        """The number of the port that it came in by."""
        return self.marks >> 48 & 0xFFFF

    def strip(self, size: int) -> None:
        """Remove `size` bytes at the front."""
        self._begin += min(size, len(self) - 1)

    def prepend(self, data: bytes) -> None:
        """Put bytes in front; ValueError where there is no room."""
        if self._begin % SLOT_BYTES < len(data):
            raise ValueError(f"no room for {len(data)} bytes in front of the packet")
        self._begin -= len(data)
        self._memory[self._begin : self._begin + len(data)] = data

    def resize(self, size: int) -> None:
        """Cut off or add bytes at the end; ValueError where there is no room."""
        if size < 1 or self._begin % SLOT_BYTES + size > SLOT_BYTES:
            raise ValueError(f"a packet cannot have {size} bytes")
        self._end = self._begin + size

    def drop(self) -> None:
        """Drop it."""
        self._output = DROPPED

    def emit(self, port: int, data: bytes | None = None) -> bool:
        """Send another packet, a copy of this one or `data`, to an output; False if the domU has no slot for it."""
        return self._stage.emit(port, bytes(self.data) if data is None else data)


class Packets:
    """Up to 256 packets in the hands of an element's `batch`.

    Attributes
    ----------
    data : ndarray of uint8, shape (packets, longest)
        The frames; what is written here is in the packets afterwards.
    length : ndarray of int64
        Bytes of each; may be changed up to `longest`.
    input, output : ndarray of int64
        Where each came in, and where it is to go: 0 until it is changed.
    marks : ndarray of int64
        Annotations, as in :class:`Packet`.
    """

    def __init__(self, data: Any, length: Any, port: Any, marks: Any) -> None:
        self.data, self.length, self.input, self.marks = data, length, port, marks
        self.output = np.zeros(len(length), dtype=np.int64)

    def __len__(self) -> int:
        return len(self.length)

    def drop(self, which: Any) -> None:
        """Drop the packets that a mask or a list of indices names."""
        self.output[which] = DROPPED
