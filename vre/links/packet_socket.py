# SPDX-License-Identifier: MIT
"""Opening AF_PACKET sockets (packet(7)); :mod:`workers.wire.packet_socket` receives from their rings."""

from __future__ import annotations

import socket
import struct

from vre.links.namespaces import inside

_SOL_PACKET = 263
_ADD_MEMBERSHIP, _RX_RING, _STATISTICS, _VERSION, _VIRTIO_HEADER = 1, 5, 6, 10, 15
_QDISC_BYPASS, _IGNORE_OUTGOING = 20, 23
_PROMISCUOUS, _VERSION_2, _ALL_FRAMES = 1, 1, 3
#: A ring is made of blocks of this size at least.
_BLOCK = 1 << 16


def open_receiver(namespace: int, frames: int, frame_size: int) -> socket.socket:
    """Return a socket with a ring of `frames`, both powers of two; it is bound by :func:`bind`. Raises OSError."""
    # Without a protocol it receives nothing before it is bound.
    made = inside(namespace, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
    try:
        made.setsockopt(_SOL_PACKET, _VERSION, _VERSION_2)
        made.setsockopt(_SOL_PACKET, _VIRTIO_HEADER, 1)
        made.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
        block = min(max(_BLOCK, frame_size), frames * frame_size)
        blocks = frames * frame_size // block
        made.setsockopt(_SOL_PACKET, _RX_RING, struct.pack("IIII", block, blocks, frame_size, frames))
    except BaseException:
        made.close()
        raise
    return made


def open_sender(namespace: int, described: bool) -> socket.socket:
    """Return a socket that receives nothing, to send by; it is bound by :func:`bind`. Raises OSError.

    Each frame comes after a VNET header if they are `described`.
    """
    made = inside(namespace, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
    try:
        made.setsockopt(_SOL_PACKET, _QDISC_BYPASS, 1)
        if described:
            made.setsockopt(_SOL_PACKET, _VIRTIO_HEADER, 1)
    except BaseException:
        made.close()
        raise
    return made


def bind(made: socket.socket, name: str, index: int, receives: bool) -> None:
    """Bind a socket to an interface, also to another one than before; promiscuous if it receives. Raises OSError."""
    made.bind((name, _ALL_FRAMES if receives else 0))
    if receives:
        made.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, struct.pack("iHH8s", index, _PROMISCUOUS, 0, b""))


def overrun(made: socket.socket) -> int:
    """Return for how many frames the ring had no room since this was asked last."""
    return struct.unpack("II", made.getsockopt(_SOL_PACKET, _STATISTICS, 8))[1]
