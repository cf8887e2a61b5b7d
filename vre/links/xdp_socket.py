# SPDX-License-Identifier: MIT
"""Opening AF_XDP sockets to send by, in copy mode; :mod:`workers.wire.xdp_socket` sends."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
import time
from dataclasses import dataclass

from shm.link_layout import CHUNK, PLACES
from vre.links.namespaces import inside

_AF_XDP, _SOL_XDP = 44, 283
_MMAP_OFFSETS, _TX_RING, _UMEM, _FILL_RING, _COMPLETION_RING, _BUDGET = 1, 3, 4, 5, 6, 9
#: Where rings are, in the space of a socket that can be mapped.
TX_RING, COMPLETION_RING = 0x80000000, 0x180000000
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


class XdpSender:
    """An AF_XDP socket that sends from `chunks`, PLACES of CHUNK bytes in shared memory. Raises OSError."""

    def __init__(self, namespace: int, chunks: int) -> None:
        self.socket = inside(namespace, lambda: socket.socket(_AF_XDP, socket.SOCK_RAW, 0))
        try:
            self.socket.setsockopt(_SOL_XDP, _UMEM, struct.pack("QQIIII", chunks, PLACES * CHUNK, CHUNK, 0, 0, 0))
            # What is received is filled into nothing, but the socket must have such a ring.
            self.socket.setsockopt(_SOL_XDP, _FILL_RING, struct.pack("i", 2))
            self.socket.setsockopt(_SOL_XDP, _COMPLETION_RING, struct.pack("i", PLACES))
            self.socket.setsockopt(_SOL_XDP, _TX_RING, struct.pack("i", PLACES))
            # More frames a call than 32, where that can be set.
            with contextlib.suppress(OSError):
                self.socket.setsockopt(_SOL_XDP, _BUDGET, struct.pack("i", PLACES))
            words = struct.unpack("16Q", self.socket.getsockopt(_SOL_XDP, _MMAP_OFFSETS, 128))
        except BaseException:
            self.socket.close()
            raise
        self.tx, self.completion = Offsets(*words[4:7]), Offsets(*words[12:15])

    def bind(self, index: int) -> None:
        """Bind it to the first queue of an interface. Raises OSError."""
        address = struct.pack("HHIII", _AF_XDP, _COPY, index, 0, 0)
        end = time.monotonic() + _BUSY_S
        while _libc.bind(self.socket.fileno(), address, len(address)):
            error = ctypes.get_errno()
            if error != 16 or time.monotonic() > end:  # EBUSY
                raise OSError(error, os.strerror(error))
            time.sleep(0.01)
