# SPDX-License-Identifier: MIT
"""Offloads of an interface (SIOCETHTOOL): what would make frames that no wire carries is turned off."""

from __future__ import annotations

import array
import fcntl
import socket
import struct

from vre.links.namespaces import inside

_SIOCETHTOOL = 0x8946
_GET_FLAGS, _SET_FLAGS, _SET_TX_CHECKSUM, _GET_CHANNELS = 0x25, 0x26, 0x17, 0x3C
_TX_VLAN = 1 << 7


def send_whole_frames(namespace: int, name: str, offload: bool) -> None:
    """Let an interface insert VLAN tags before it sends, and compute checksums and cut segments unless `offload`.

    Without checksum offload the kernel cuts segments by itself. Raises OSError.
    """

    def work() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            if not offload:
                _ask(control, name, _SET_TX_CHECKSUM, 0)
            flags = _ask(control, name, _GET_FLAGS, 0)
            _ask(control, name, _SET_FLAGS, flags & ~_TX_VLAN)

    inside(namespace, work)


def receive_queues(namespace: int, name: str) -> int:
    """Return over how many queues an interface spreads the frames that it receives."""

    def work() -> int:
        channels = array.array("I", [_GET_CHANNELS, *[0] * 8])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            try:
                fcntl.ioctl(control, _SIOCETHTOOL, struct.pack("16sQ16x", name.encode(), channels.buffer_info()[0]))
            except OSError:
                return 1  # it has no such setting
        return max(1, channels[5] + channels[8])

    return inside(namespace, work)


def _ask(control: socket.socket, name: str, command: int, value: int) -> int:
    """Give an interface a command with a value, `struct ethtool_value`; return the value that comes back."""
    request = array.array("I", [command, value])
    address, _ = request.buffer_info()
    fcntl.ioctl(control, _SIOCETHTOOL, struct.pack("16sQ16x", name.encode(), address))
    return request[1]
