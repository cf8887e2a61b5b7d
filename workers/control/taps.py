# SPDX-License-Identifier: MIT
"""TAPs (Linux: Documentation/networking/tuntap.rst) of the namespace that the calling thread is in."""

from __future__ import annotations

import fcntl
import os
import struct

_TUNSETIFF, _TUNSETPERSIST = 0x400454CA, 0x400454CB
_TAP, _NO_PACKET_INFO = 0x2, 0x1000


def open_tap(name: str) -> int:
    """Return the descriptor of a TAP, which is made if it is not there. Raises OSError.

    Frames have no header of the driver's: checksums are right, and none is longer than the MTU.
    """
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _TAP | _NO_PACKET_INFO))
    except BaseException:
        os.close(fd)
        raise
    return fd


def make_tap(name: str) -> None:
    """Make a TAP that stays when nobody has it open; it goes with its namespace. Raises OSError."""
    fd = open_tap(name)
    try:
        fcntl.ioctl(fd, _TUNSETPERSIST, 1)
    finally:
        os.close(fd)
