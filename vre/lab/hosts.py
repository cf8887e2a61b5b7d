# SPDX-License-Identifier: MIT
"""Hosts: their namespaces, interfaces, addresses and routes, by rtnetlink."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from vre.errors import PlatformError
from vre.lab import namespaces
from vre.lab.directory import LabDirectory
from vre.lab.isolation import is_rootless
from vre.lab.topology import End, Host, Lab, LabLink
from workers.arguments import show_ether

#: Seconds that the platform's end of a link may take to appear, and a link to have its carrier.
_PATIENCE_S = 5.0
#: What each host has: without IPv6 it sends no frame that was not asked for.
_NO_IPV6 = {"net.ipv6.conf.all.disable_ipv6": "1", "net.ipv6.conf.default.disable_ipv6": "1"}


def make_hosts(lab: Lab, directory: LabDirectory) -> None:
    """Make the hosts' namespaces, each noted before; they have a loopback interface, and links between hosts.

    Raises PlatformError.
    """
    for name, host in lab.hosts.items():
        namespace = lab.namespace(name)
        if namespaces.place(namespace).exists():
            raise PlatformError(f"there is a network namespace '{namespace}' already: give the lab another --name")
        if not is_rootless():
            directory.note(namespace)
        try:
            namespaces.make(namespace)
            namespaces.run_in(namespace, partial(_prepare, host))
        except OSError as error:
            raise PlatformError(f"host '{name}': {error.strerror} ({error.filename})") from None
    for link in lab.links:
        if all(end.node in lab.hosts for end in link.ends):
            _connect(lab, link)


def _prepare(host: Host) -> None:
    """Set what a host has before it has links."""
    for name, value in ({} if host.ipv6 else _NO_IPV6).items():
        if (namespaces.sysctl_path(name)).exists():  # a kernel without IPv6 needs no such setting
            namespaces.write_sysctl(name, value)
    for name, value in host.sysctls.items():
        try:
            namespaces.write_sysctl(name, value)
        except OSError as error:
            raise PlatformError(f"host '{host.name}': sysctl {name} = {value}: {error.strerror}") from None
    with _netlink() as link:
        link.link("set", index=_index(link, "lo"), state="up")


def configure_hosts(lab: Lab) -> None:
    """Give the hosts' interfaces their addresses and routes: the platform has made them. Raises PlatformError."""
    for name, host in lab.hosts.items():
        links = [(link, end) for link in lab.links for end in link.ends if end.node == name]
        namespaces.run_in(lab.namespace(name), partial(_configure, host, links))


def _configure(host: Host, links: Sequence[tuple[LabLink, End]]) -> None:
    from pyroute2.netlink.exceptions import NetlinkError

    with _netlink() as netlink:
        try:
            for link, end in links:
                _set_up(netlink, host, link, end)
            for route in host.routes:
                netlink.route("add", dst=str(route.network), gateway=str(route.gateway))
        except NetlinkError as error:
            raise PlatformError(f"host '{host.name}': {error.args[1] if len(error.args) > 1 else error}") from None


def _set_up(netlink: Any, host: Host, link: LabLink, end: End) -> None:
    index = _appeared(netlink, host, end.port)
    netlink.link("set", index=index, address=show_ether(link.mac(end)), mtu=link.mtu)
    netlink.link("set", index=index, state="up")
    for address in host.addresses.get(end.port, ()):
        more = {} if address.version == 4 else {"IFA_FLAGS": 2}  # no duplicate address detection: it takes a second
        netlink.addr("add", index=index, address=str(address.ip), prefixlen=address.network.prefixlen, **more)


def _appeared(netlink: Any, host: Host, port: str) -> int:
    """Return the number of an interface, once it is there. Raises PlatformError."""
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end:
        found = netlink.link_lookup(ifname=port)
        if found:
            return found[0]
        time.sleep(0.01)
    raise PlatformError(f"host '{host.name}' has no interface {port}: its link has not come up")


def _connect(lab: Lab, link: LabLink) -> None:
    """Connect two hosts: no platform is in between."""
    near, far = link.ends

    def pair() -> None:
        peer = {"ifname": far.port, "net_ns_fd": str(namespaces.place(lab.namespace(far.node)))}
        with _netlink() as netlink:
            netlink.link("add", ifname=near.port, kind="veth", peer=peer)

    namespaces.run_in(lab.namespace(near.node), pair)


def _index(netlink: Any, name: str) -> int:
    return netlink.link_lookup(ifname=name)[0]


def _netlink() -> Any:
    """Return an rtnetlink socket of the namespace that the thread is in."""
    from pyroute2.iproute.linux import IPRoute

    return IPRoute()
