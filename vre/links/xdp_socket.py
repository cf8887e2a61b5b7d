# SPDX-License-Identifier: MIT
"""Opening AF_XDP sockets, in copy mode; :mod:`workers.wire.xdp_socket` sends and receives by them."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import socket
import struct
import time
from dataclasses import dataclass

from shm.link_layout import CHUNK, PLACES, XDP_FRAMES
from vre.links.namespaces import inside

_AF_XDP, _SOL_XDP = 44, 283
_MMAP_OFFSETS, _RX_RING, _TX_RING, _UMEM, _FILL_RING, _COMPLETION_RING, _BUDGET = 1, 2, 3, 4, 5, 6, 9
#: Where rings are, in the space of a socket that can be mapped.
RX_RING, TX_RING, FILL_RING, COMPLETION_RING = 0, 0x80000000, 0x100000000, 0x180000000
_COPY = 2
#: A queue that was in use is free a moment after its socket has been closed.
_BUSY_S = 1.0
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Offsets:
    """Where the words and entries of a ring are, in bytes from its start."""

    producer: int
    consumer: int
    entries: int


class XdpSocket:
    """An AF_XDP socket that sends from `chunks`, PLACES of CHUNK bytes in shared memory. Raises OSError.

    If it `receives`, XDP_FRAMES more are behind these.
    """

    def __init__(self, namespace: int, chunks: int, receives: bool = False) -> None:
        frames = XDP_FRAMES if receives else 0
        self.socket = inside(namespace, lambda: socket.socket(_AF_XDP, socket.SOCK_RAW, 0))
        try:
            room = (PLACES + frames) * CHUNK
            self.socket.setsockopt(_SOL_XDP, _UMEM, struct.pack("QQIIII", chunks, room, CHUNK, 0, 0, 0))
            # One that receives nothing must have a fill ring, too.
            self.socket.setsockopt(_SOL_XDP, _FILL_RING, struct.pack("i", frames or 2))
            self.socket.setsockopt(_SOL_XDP, _COMPLETION_RING, struct.pack("i", PLACES))
            self.socket.setsockopt(_SOL_XDP, _TX_RING, struct.pack("i", PLACES))
            if receives:
                self.socket.setsockopt(_SOL_XDP, _RX_RING, struct.pack("i", frames))
            # More frames a call than 32, where that can be set.
            with contextlib.suppress(OSError):
                self.socket.setsockopt(_SOL_XDP, _BUDGET, struct.pack("i", PLACES))
            words = struct.unpack("16Q", self.socket.getsockopt(_SOL_XDP, _MMAP_OFFSETS, 128))
            self.rx, self.tx, self.fill, self.completion = (Offsets(*words[i : i + 3]) for i in range(0, 16, 4))
            if receives:
                self._fill()
        except BaseException:
            self.socket.close()
            raise

    def _fill(self) -> None:
        """Give the kernel all chunks that it may receive into."""
        size = self.fill.entries + XDP_FRAMES * 8
        with mmap.mmap(self.socket.fileno(), size, offset=FILL_RING) as ring:
            struct.pack_into(
                f"{XDP_FRAMES}Q", ring, self.fill.entries, *range(PLACES * CHUNK, (PLACES + XDP_FRAMES) * CHUNK, CHUNK)
            )
            struct.pack_into("I", ring, self.fill.producer, XDP_FRAMES)

    def bind(self, index: int) -> None:
        """Bind it to the first queue of an interface. Raises OSError."""
        address = struct.pack("HHIII", _AF_XDP, _COPY, index, 0, 0)
        end = time.monotonic() + _BUSY_S
        while _libc.bind(self.socket.fileno(), address, len(address)):
            error = ctypes.get_errno()
            if error != 16 or time.monotonic() > end:  # EBUSY
                raise OSError(error, os.strerror(error))
            time.sleep(0.01)
