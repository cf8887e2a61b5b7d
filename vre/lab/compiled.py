# SPDX-License-Identifier: MIT
"""The platform of a lab: what a platform file would say, and where in the topology file that comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface
from typing import Any

from vre.lab.document import Path
from vre.lab.forwarding import RouterEnd, forwarding
from vre.lab.topology import End, Interface, LabLink, Route
from workers.arguments import show_ether


@dataclass(frozen=True)
class Compiled:
    """A platform as data, and for paths in it those that they come from; see :class:`vre.lab.document.PlatformView`."""

    data: dict[str, Any]
    origins: dict[Path, Path]


def compile_platform(
    name: str,
    rest: Mapping[str, Any],
    routers: Mapping[str, dict[str, Any]],
    links: Sequence[LabLink],
    addresses: Mapping[str, Mapping[str, Interface]],
    routes: Mapping[str, tuple[Route, ...]],
    hosts: set[str],
) -> Compiled:
    """Return the platform of a lab.

    Parameters
    ----------
    name : str
        The lab's name.
    rest : mapping
        The tables `platform` and `nics` of the topology file.
    routers : mapping
        What the file says of each router, without addresses and routes.
    links : sequence of LabLink
    addresses, routes : mapping
        Of each router: its ports' addresses, and its routes.
    hosts : set of str
        The nodes that are hosts.
    """
    nics, origins = _nics(name, links, hosts)
    given = rest.get("nics", {})
    data: dict[str, Any] = {key: value for key, value in rest.items() if key != "nics"}
    platform = rest.get("platform", {})
    # Hosts live in real time: traffic cannot follow the time that a core has had.
    data["platform"] = {"clock": "wall"} | platform if isinstance(platform, dict) else platform
    data["nics"] = nics | given if isinstance(given, dict) else given
    data["routers"] = {}
    for router, table in routers.items():
        ends = [(link, end) for link in links for end in link.ends if end.node == router]
        data["routers"][router] = _router(table, ends, addresses[router], routes[router])
        for _, end in ends:
            origins["routers", router, "ports", end.nic] = ("routers", router, "ports", end.port)
    return Compiled(data, origins)


def _nics(name: str, links: Sequence[LabLink], hosts: set[str]) -> tuple[dict[str, Any], dict[Path, Path]]:
    """Return the platform's ports, one for each end of a link that is a router's."""
    nics: dict[str, Any] = {}
    origins: dict[Path, Path] = {}
    for link in links:
        for end in link.ends:
            if end.node in hosts:
                continue
            far = link.other(end)
            to: dict[str, Any] = {"to": far.nic}
            if far.node in hosts:
                to = {"veth": f"{name}-{far.node}", "name": far.port, "mtu": link.mtu}
            nics[end.nic] = {"link": to | dict(link.options)}
            origins["nics", end.nic] = ("links", str(link.number))
            origins["nics", end.nic, "link"] = ("links", str(link.number), "2")
    return nics, origins


def _router(
    table: Mapping[str, Any],
    ends: Sequence[tuple[LabLink, End]],
    addresses: Mapping[str, Interface],
    routes: tuple[Route, ...],
) -> dict[str, Any]:
    """Return what a platform file says of a router: ports with addresses, and a configuration if it has none."""
    data = dict(table)
    data["ports"] = dict(table.get("ports", {}))
    domu = table.get("domu", {})
    control = isinstance(domu, dict) and "control" in domu
    values: dict[str, str] = {}
    known: list[RouterEnd] = []
    for link, end in ends:
        own, given = show_ether(link.mac(end)), data["ports"].get(end.port, {})
        data["ports"][end.port] = {"nic": end.nic, "mac": own} | given
        if end.port in addresses and control:
            data["ports"][end.port]["address"] = str(addresses[end.port])
        mac = str(given.get("mac", own)).replace("*", own)
        values |= {f"{_variable(end.port)}_mac": mac, f"{_variable(end.port)}_mtu": str(link.mtu)}
        address = addresses.get(end.port)
        if isinstance(address, IPv4Interface):
            values |= {f"{_variable(end.port)}_ip": str(address.ip), f"{_variable(end.port)}_net": str(address)}
            known.append(RouterEnd(end.port, address, mac, link.mtu))
    if isinstance(table.get("define", {}), dict):
        data["define"] = values | table.get("define", {})
    if control and routes:
        data["domu"] = {"routes": [f"{one.network} via {one.gateway}" for one in routes]} | domu
    if known and "config" not in table and "config" not in domu:
        data["config"] = forwarding(known, routes, control)
    return data


def _variable(port: str) -> str:
    """Return a port's name as part of a variable's: `$eth0_ip`."""
    return "".join(c if c.isalnum() else "_" for c in port)
