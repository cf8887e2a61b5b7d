# SPDX-License-Identifier: MIT
"""An existing interface is the link of one platform at a time, and not the one that the host lives by."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

from vre.links.errors import LinkError
from vre.links.namespaces import inside


def claim_interface(namespace: int, name: str) -> socket.socket:
    """Return what makes an interface this process's, until it is closed or the process ends. Raises LinkError.

    It is a name of a socket in the interface's own namespace, so nothing is left in any file system.
    """

    def claim() -> socket.socket:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            made.bind(f"\0vre-interface-{name}")
            made.listen(1)
        except OSError:
            made.close()
            raise LinkError(f"interface '{name}' is in use by another platform{_holder(name)}") from None
        return made

    return inside(namespace, claim)


def _holder(name: str) -> str:
    """Return which process has claimed an interface, as far as it can be told."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        try:
            asking.setblocking(False)
            asking.connect(f"\0vre-interface-{name}")
            pid = struct.unpack("3i", asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        except OSError:
            return ""
    return f", process {pid}"


def carries_default_route(namespace: int, name: str) -> bool:
    """Return whether a default route of a namespace leads through an interface. Raises OSError."""

    def look() -> bool:
        rows = [line.split() for line in _lines("/proc/thread-self/net/route")[1:]]
        if any(row[0] == name and row[1] == row[7] == "00000000" for row in rows):
            return True
        rows = [line.split() for line in _lines("/proc/thread-self/net/ipv6_route")]
        return any(row[-1] == name and row[0] == "0" * 32 and row[1] == "00" for row in rows)

    return inside(namespace, look)


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except FileNotFoundError:
        return []  # no IPv6
