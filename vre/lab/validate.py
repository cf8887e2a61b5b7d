# SPDX-License-Identifier: MIT
"""Errors between the parts of a lab, each of which is correct by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Interface
from typing import NamedTuple

from vre.lab.topology import Address, End, Host, Interface, LabLink, Route


class Mistake(NamedTuple):
    """A message, and the key that it is about."""

    message: str
    path: tuple[str, ...]


def validate(
    hosts: Mapping[str, Host],
    links: Sequence[LabLink],
    routers: Mapping[str, Mapping[str, Interface]],
    routes: Mapping[str, tuple[Route, ...]],
) -> Iterator[Mistake]:
    """Yield what does not fit together in a lab."""
    yield from _ports(links, routers)
    yield from _duplicates(hosts, routers)
    yield from _subnets(hosts, links, routers)
    for link in links:
        if all(end.node in hosts for end in link.ends) and link.options:
            key = next(iter(link.options))
            what = f"'{key}' is a key of a router's link: between two hosts the kernel carries the frames"
            yield Mistake(what, ("links", str(link.number), "2", key))
    for name, host in hosts.items():
        connected = [one for some in host.addresses.values() for one in some]
        for route in host.routes:
            if not _reached(route.gateway, connected):
                key = "gateway" if route.network.prefixlen == 0 else "routes"
                yield Mistake(_astray(f"host '{name}'", route.gateway, connected), ("hosts", name, key))
    for name, some in routes.items():
        for route in some:
            if not _reached(route.gateway, list(routers[name].values())):
                what = _astray(f"router '{name}'", route.gateway, list(routers[name].values()))
                yield Mistake(what, ("routers", name, "routes", str(route.network)))


def _ports(links: Sequence[LabLink], routers: Mapping[str, Mapping[str, Interface]]) -> Iterator[Mistake]:
    ends = {end for link in links for end in link.ends}
    for name, addresses in routers.items():
        for port, address in addresses.items():
            path = ("routers", name, "ports", port)
            if End(name, port) not in ends:
                have = ", ".join(end.port for end in sorted(ends) if end.node == name) or "none"
                yield Mistake(f"router '{name}' has no link at port '{port}'; it has {have}", path)
            elif not isinstance(address, IPv4Interface):
                yield Mistake(f"{address}: a router's port has an IPv4 address; IPv6 is not forwarded", path)


def _duplicates(hosts: Mapping[str, Host], routers: Mapping[str, Mapping[str, Interface]]) -> Iterator[Mistake]:
    owners: dict[Address, str] = {}
    for name, host in hosts.items():
        for one in (one for some in host.addresses.values() for one in some):
            if owners.setdefault(one.ip, name) != name:
                yield Mistake(f"{one.ip} is the address of '{owners[one.ip]}', too", ("hosts", name, "address"))
    for name, addresses in routers.items():
        for port, one in addresses.items():
            if owners.setdefault(one.ip, name) != name:
                yield Mistake(f"{one.ip} is the address of '{owners[one.ip]}', too", ("routers", name, "ports", port))


def _subnets(
    hosts: Mapping[str, Host], links: Sequence[LabLink], routers: Mapping[str, Mapping[str, Interface]]
) -> Iterator[Mistake]:
    """Yield links whose ends have addresses, but none that reaches the other."""
    for link in links:
        near, far = ([one for one in _of(end, hosts, routers) if one.version == 4] for end in link.ends)
        if near and far and not any(a.ip in b.network and b.ip in a.network for a in near for b in far):
            what = f"{link.ends[0]} ({near[0]}) and {link.ends[1]} ({far[0]}) are in different networks"
            yield Mistake(what, ("links", str(link.number)))


def _of(end: End, hosts: Mapping[str, Host], routers: Mapping[str, Mapping[str, Interface]]) -> Sequence[Interface]:
    """Return the addresses at an end."""
    if end.node in hosts:
        return hosts[end.node].addresses.get(end.port, ())
    address = routers.get(end.node, {}).get(end.port)
    return () if address is None else (address,)


def _reached(gateway: Address, connected: Sequence[Interface]) -> bool:
    return any(gateway.version == one.version and gateway in one.network for one in connected)


def _astray(who: str, gateway: Address, connected: Sequence[Interface]) -> str:
    networks = ", ".join(str(one.network) for one in connected) or "none"
    return f"gateway {gateway} is not in a network of {who}; there are {networks}"
