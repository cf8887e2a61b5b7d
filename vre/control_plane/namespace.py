# SPDX-License-Identifier: MIT
"""The network namespace of a router's control plane: a TAP for each port, with its MAC and addresses.

It has no name. It lives as long as the platform's process, or one that it has started, is there.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from pathlib import Path

from vre.config.control_ports import ControlPort
from vre.config.model import Router
from vre.errors import PlatformError
from workers.control.addresses import Interfaces
from workers.control.namespace import inside, make_namespace
from workers.control.taps import make_tap

#: What differs from a host: nothing is forwarded twice, and no neighbour configures it (RFC 4861, section 6.2.8).
_SETTINGS = {
    "ipv4/ip_forward": "0",
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
    "ipv4/conf/all/accept_redirects": "0",
    "ipv4/conf/default/accept_redirects": "0",
    "ipv4/conf/all/send_redirects": "0",
    "ipv4/conf/default/send_redirects": "0",
    "ipv6/conf/all/forwarding": "0",
    "ipv6/conf/default/accept_ra": "0",
    "ipv6/conf/default/autoconf": "0",
    "ipv6/conf/default/accept_redirects": "0",
}
_MTU = 1500
#: Interfaces' names have 15 bytes.
LONGEST_PORT = 15


def interfaces(router: Router) -> dict[str, tuple[str, ...]]:
    """Return the names of the interfaces of a router's control plane, each with its addresses."""
    behind = {str(name).partition(":")[2] for name in router.ports if isinstance(name, ControlPort)}
    return {router.own_name(nic): port.addresses for nic, port in router.ports.items() if nic in behind}


def open_namespace(router: Router) -> tuple[int, dict[str, int]]:
    """Make a router's namespace; return its descriptor, and its interfaces' numbers by name. Raises PlatformError."""
    try:
        fd = make_namespace()
    except PermissionError:
        raise PlatformError(
            f"router '{router.name}': a control plane needs a network namespace, hence root (CAP_SYS_ADMIN and"
            " CAP_NET_ADMIN), or a user namespace: run this with 'unshare -Urnm'"
        ) from None
    except OSError as error:
        raise PlatformError(f"router '{router.name}': {error.strerror}") from None
    try:
        return fd, inside(fd, lambda: _furnish(router))
    except OSError as error:
        os.close(fd)
        hint = "; is the module tun loaded?" if error.errno in (errno.ENOENT, errno.ENODEV) else ""
        raise PlatformError(f"router '{router.name}': its control plane cannot be made: {error}{hint}") from None


def _furnish(router: Router) -> dict[str, int]:
    """Set up the namespace that the thread is in."""
    assert router.control
    ports = interfaces(router)
    settings = dict(_SETTINGS)
    if not any(":" in address for listed in ports.values() for address in listed):
        settings["ipv6/conf/default/disable_ipv6"] = "1"
    for name, value in settings.items():
        # A kernel without IPv6 has none of its settings.
        with contextlib.suppress(FileNotFoundError):
            Path("/proc/sys/net", name).write_text(value)
    numbers = {}
    with Interfaces() as links:
        links.set_link(socket.if_nametoindex("lo"))
        for name, addresses in ports.items():
            make_tap(name)
            numbers[name] = socket.if_nametoindex(name)
            links.set_link(numbers[name], router.ports[router.names.get(name, name)].mac, _MTU)
            for address in addresses:
                links.add_address(numbers[name], address)
        for route in router.control.routes:
            try:
                links.add_route(route)
            except OSError as error:
                raise OSError(error.errno, f"route '{route}': {error.strerror}") from None
    return numbers
