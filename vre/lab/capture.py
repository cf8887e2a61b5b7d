# SPDX-License-Identifier: MIT
"""Capturing what passes at a host's end of a link, both ways, as pcapng."""

from __future__ import annotations

import os
import signal
import socket
import struct
import time
from typing import NoReturn

_ALL_FRAMES, _SOL_PACKET, _AUXDATA = 3, 263, 8
_SO_TIMESTAMPNS = 35
_VLAN_VALID = 1 << 4
#: Status, lengths, offsets, then the VLAN tag that the kernel has taken off (struct tpacket_auxdata).
_AUX = struct.Struct("=IIIHHHH")
_TIME = struct.Struct("@ll")
_LONGEST = 1 << 18
_MAC_SIZE = 12


def capture(interface: str, output: int, count: int | None) -> NoReturn:
    """Write what an interface of this namespace sends and receives to a file, until a signal comes or it is closed."""
    # It imports Numba, which starts threads: only now, that the namespace has been entered.
    from workers.wire.capture_writer import section_header

    signal.signal(signal.SIGINT, lambda *_: os._exit(0))
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    status = 0
    try:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_FRAMES)) as tap:
            tap.setsockopt(_SOL_PACKET, _AUXDATA, 1)
            tap.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            tap.bind((interface, _ALL_FRAMES))
            _write(output, section_header())
            written = 0
            while count is None or written < count:
                frame, notes, _, _ = tap.recvmsg(_LONGEST, 512)
                _write(output, block(*_whole(frame, notes)))
                written += 1
    except BrokenPipeError:
        pass  # its reader has seen enough
    except OSError as error:
        os.write(2, f"error: {interface}: {error.strerror}\n".encode())
        status = 1
    os._exit(status)


def _whole(frame: bytes, notes: list[tuple[int, int, bytes]]) -> tuple[bytes, int]:
    """Return a frame with its VLAN tag, and its time in ns."""
    moment = time.time_ns()
    for level, kind, data in notes:
        if level == _SOL_PACKET and kind == _AUXDATA:
            status, _, _, _, _, tag, protocol = _AUX.unpack(data[: _AUX.size])
            if status & _VLAN_VALID:
                frame = frame[:_MAC_SIZE] + struct.pack("!HH", protocol or 0x8100, tag) + frame[_MAC_SIZE:]
        elif level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
            seconds, ns = _TIME.unpack(data[: _TIME.size])
            moment = seconds * 10**9 + ns
    return frame, moment


def block(frame: bytes, moment: int) -> bytes:
    """Return the enhanced packet block of a frame (pcapng, section 4.3); `moment` is in ns."""
    padded = frame + bytes(-len(frame) % 4)
    size = 32 + len(padded)
    head = struct.pack("<IIIIIII", 6, size, 0, moment >> 32, moment & 0xFFFFFFFF, len(frame), len(frame))
    return head + padded + struct.pack("<I", size)


def _write(output: int, data: bytes) -> None:
    while data:
        data = data[os.write(output, data) :]
