# SPDX-License-Identifier: MIT
"""Links, addresses and routes of the namespace that the calling thread is in, set by netlink (rtnetlink(7))."""

from __future__ import annotations

import os
import socket
import struct
from ipaddress import ip_address, ip_interface, ip_network
from types import TracebackType
from typing import Self

_NEWLINK, _NEWADDR, _NEWROUTE, _DELROUTE = 16, 20, 24, 25
_REQUEST, _ACK, _CREATE, _REPLACE = 0x1, 0x4, 0x400, 0x100
_LINK_ADDRESS, _LINK_MTU = 1, 4
_ADDRESS, _LOCAL = 1, 2
_DST, _GATEWAY = 1, 5
#: RTPROT_STATIC, RT_TABLE_MAIN, RT_SCOPE_UNIVERSE, RTN_UNICAST.
_STATIC, _MAIN, _UNIVERSE, _UNICAST = 4, 254, 0, 1
_UP = 0x1
#: No duplicate address detection: a router's addresses are its configuration's business.
_NO_DAD = 0x02


class Interfaces:
    """A route socket that changes interfaces. Every method raises OSError, as the kernel refuses it."""

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self._socket.settimeout(5.0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def set_link(self, index: int, mac: int | None = None, mtu: int | None = None) -> None:
        """Set the address and the MTU of an interface, then set it up."""
        attributes = b"" if mac is None else _attribute(_LINK_ADDRESS, mac.to_bytes(6, "big"))
        attributes += b"" if mtu is None else _attribute(_LINK_MTU, struct.pack("I", mtu))
        if attributes:
            self._ask(_NEWLINK, 0, struct.pack("BxHiII", 0, 0, index, 0, 0) + attributes)
        self._ask(_NEWLINK, 0, struct.pack("BxHiII", 0, 0, index, _UP, _UP))

    def add_address(self, index: int, text: str) -> None:
        """Add an address with its network's length, as "10.0.0.1/24"."""
        found = ip_interface(text)
        family = socket.AF_INET if found.version == 4 else socket.AF_INET6
        body = struct.pack("BBBBi", family, found.network.prefixlen, _NO_DAD if found.version == 6 else 0, 0, index)
        packed = found.ip.packed
        self._ask(_NEWADDR, _CREATE | _REPLACE, body + _attribute(_LOCAL, packed) + _attribute(_ADDRESS, packed))

    def add_route(self, text: str) -> None:
        """Add a route, as "20.0.0.0/8 via 10.0.0.2"."""
        network, _, gateway = text.split()
        self._ask(_NEWROUTE, _CREATE | _REPLACE, _route(network) + _attribute(_GATEWAY, ip_address(gateway).packed))

    def remove_route(self, network: str) -> None:
        """Remove a route, as "20.0.0.0/8", whatever its next hop."""
        self._ask(_DELROUTE, 0, _route(network))

    def _ask(self, kind: int, flags: int, body: bytes) -> None:
        self._socket.send(struct.pack("IHHII", 16 + len(body), kind, _REQUEST | _ACK | flags, 1, 0) + body)
        answer = self._socket.recv(1 << 16)
        error = -struct.unpack_from("i", answer, 16)[0]
        if error:
            raise OSError(error, os.strerror(error))


def _route(text: str) -> bytes:
    """Return the body of a message about a route to a network."""
    network = ip_network(text)
    family = socket.AF_INET if network.version == 4 else socket.AF_INET6
    body = struct.pack("BBBBBBBBI", family, network.prefixlen, 0, 0, _MAIN, _STATIC, _UNIVERSE, _UNICAST, 0)
    return body + _attribute(_DST, network.network_address.packed)


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)
