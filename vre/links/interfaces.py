# SPDX-License-Identifier: MIT
"""Interfaces of a network namespace, looked up and set (netdevice(7)).

Looking one up waits for no lock of the kernel: it is done again and again while a platform runs.
"""

from __future__ import annotations

import fcntl
import socket
import struct
from dataclasses import dataclass

from vre.links.namespaces import inside

_GET_FLAGS, _SET_FLAGS, _GET_MTU, _SET_MTU, _GET_INDEX = 0x8913, 0x8914, 0x8921, 0x8922, 0x8933
_IFF_UP, _IFF_RUNNING = 1, 0x40
_ENODEV = 19
_REQUEST = struct.Struct("16si20x")


@dataclass(frozen=True)
class Interface:
    """An interface: `up` as it was set, `runs` if it has a carrier, too; `mtu` in bytes."""

    index: int
    up: bool
    runs: bool
    mtu: int


class Interfaces:
    """The interfaces of a namespace, by its descriptor. Raises OSError."""

    def __init__(self, namespace: int) -> None:
        self._control = inside(namespace, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))

    def close(self) -> None:
        """Close the socket that asks."""
        self._control.close()

    def _ask(self, what: int, name: str, value: int = 0) -> int:
        answer = fcntl.ioctl(self._control, what, _REQUEST.pack(name.encode(), value))
        return int(_REQUEST.unpack(answer)[1])

    def find(self, name: str) -> Interface | None:
        """Return an interface, None if there is none of that name. Raises OSError."""
        try:
            flags = self._ask(_GET_FLAGS, name) & 0xFFFF
            index, mtu = self._ask(_GET_INDEX, name), self._ask(_GET_MTU, name)
        except OSError as error:
            if error.errno == _ENODEV:
                return None
            raise
        return Interface(index, bool(flags & _IFF_UP), flags & _IFF_RUNNING != 0 and flags & _IFF_UP != 0, mtu)

    def set_up(self, name: str) -> None:
        """Set an interface up. Raises OSError."""
        self._ask(_SET_FLAGS, name, self._ask(_GET_FLAGS, name) & 0xFFFF | _IFF_UP)

    def set_mtu(self, name: str, mtu: int) -> None:
        """Set an interface's MTU. Raises OSError."""
        self._ask(_SET_MTU, name, mtu)
