# SPDX-License-Identifier: MIT
"""As much of rtnetlink(7) as it takes to make interfaces."""

from __future__ import annotations

import os
import socket
import struct
from ipaddress import ip_address

from vre.links.namespaces import inside

_ERROR, _NEW_LINK = 2, 16
_REQUEST, _ACKNOWLEDGE, _EXCLUSIVE, _CREATE = 1, 4, 0x200, 0x400
# Attributes of a link.
_NAME, _MTU, _LINK_INFO, _NAMESPACE = 3, 4, 18, 28
_INFO_KIND, _INFO_DATA, _VETH_PEER = 1, 2, 1
_VXLAN_ID, _VXLAN_GROUP, _VXLAN_LEARNING, _VXLAN_PORT, _VXLAN_GROUP6 = 1, 2, 7, 15, 16
_HEADER = struct.Struct("=IHHII")
#: An interface without a number: `struct ifinfomsg`.
_FRESH = bytes(16)
#: A request is answered at once; this only ends what would never be.
_PATIENCE_S = 5.0


def attribute(kind: int, data: bytes) -> bytes:
    """Return an attribute, padded."""
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def make_veth(namespace: int, name: str, far: str, far_namespace: int, mtu: int) -> None:
    """Make a pair of interfaces: `name` in one namespace, `far` in another; by their descriptors. Raises OSError."""
    length = attribute(_MTU, struct.pack("=I", mtu))
    peer = _FRESH + attribute(_NAME, far.encode() + b"\0") + length
    peer += attribute(_NAMESPACE, struct.pack("=I", far_namespace))
    _make(namespace, name, length, b"veth", attribute(_VETH_PEER, peer))


def make_vxlan(carrier: int, name: str, namespace: int, remote: str, vni: int, port: int, mtu: int) -> None:
    """Make a VXLAN device `name` in a namespace, over the network of another, `carrier`. Raises OSError."""
    where = ip_address(remote)
    data = attribute(_VXLAN_ID, struct.pack("=I", vni)) + attribute(_VXLAN_PORT, struct.pack(">H", port))
    data += attribute(_VXLAN_GROUP if where.version == 4 else _VXLAN_GROUP6, where.packed)
    # All that it receives is for a port, and what it sends goes to one machine: nothing is learnt.
    data += attribute(_VXLAN_LEARNING, b"\0")
    attributes = attribute(_MTU, struct.pack("=I", mtu)) + attribute(_NAMESPACE, struct.pack("=I", namespace))
    _make(carrier, name, attributes, b"vxlan", data)


def _make(namespace: int, name: str, attributes: bytes, kind: bytes, data: bytes) -> None:
    """Make an interface of a kind, which `data` describes. Raises OSError."""
    info = attribute(_INFO_KIND, kind) + attribute(_INFO_DATA, data)
    body = _FRESH + attribute(_NAME, name.encode() + b"\0") + attributes + attribute(_LINK_INFO, info)
    flags = _REQUEST | _ACKNOWLEDGE | _CREATE | _EXCLUSIVE

    def make() -> None:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as route:
            route.settimeout(_PATIENCE_S)
            route.send(_HEADER.pack(_HEADER.size + len(body), _NEW_LINK, flags, 1, 0) + body)
            answer = route.recv(1 << 16)
        if _HEADER.unpack_from(answer)[1] == _ERROR:
            error = -struct.unpack_from("=i", answer, _HEADER.size)[0]
            if error:
                raise OSError(error, os.strerror(error))

    inside(namespace, make)
