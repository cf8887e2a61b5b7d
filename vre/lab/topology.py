# SPDX-License-Identifier: MIT
"""A lab as checked data: hosts, links between their ports and the routers', and what shall hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from pathlib import Path
from typing import Any, NamedTuple

from vre.config.model import Model

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network

#: Locally administered (IEEE 802), "L", then the number of the end.
_FIRST_MAC = 0x02_4C_00_00_00_00


class End(NamedTuple):
    """One end of a link: a port of a host or router."""

    node: str
    port: str

    def __str__(self) -> str:
        return f"{self.node}:{self.port}"

    @property
    def nic(self) -> str:
        """The platform's port, if it is a router's."""
        return f"{self.node}-{self.port}"


@dataclass(frozen=True)
class LabLink:
    """A link: its number in the file, its two ends, its MTU in bytes, and what its file says of it besides."""

    number: int
    ends: tuple[End, End]
    mtu: int = 1500
    options: Mapping[str, Any] = field(default_factory=dict)

    def mac(self, end: End) -> int:
        """Return the Ethernet address of an end: the same each time that the lab comes up."""
        return _FIRST_MAC + 2 * self.number + self.ends.index(end) + 1

    def other(self, end: End) -> End:
        """Return the end that is not this one."""
        return self.ends[1 - self.ends.index(end)]

    def __str__(self) -> str:
        return f"{self.ends[0]} -- {self.ends[1]}"


@dataclass(frozen=True)
class Route:
    """A route of a host or router: the gateway by which a network is reached."""

    network: Network
    gateway: Address


@dataclass
class Host:
    """A host: a network namespace.

    `addresses` are by interface; `run` holds the commands that run in it from the start, `sysctls` settings below
    /proc/sys by name; without `ipv6` it has no IPv6 addresses, not even link-local ones.
    """

    name: str
    addresses: dict[str, tuple[Interface, ...]] = field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    run: tuple[str, ...] = ()
    sysctls: dict[str, str] = field(default_factory=dict)
    ipv6: bool = False


@dataclass(frozen=True)
class Check:
    """What shall hold in a lab: a command in a host ends with a status and prints a text, within some seconds."""

    name: str
    host: str
    command: str
    status: int = 0
    output: str = ""
    within_s: float = 10.0


@dataclass
class Lab:
    """A whole lab, checked; `model` is the platform of its routers, `routers` their ports' addresses."""

    name: str
    file: Path
    model: Model
    hosts: dict[str, Host]
    links: list[LabLink]
    checks: list[Check]
    routers: dict[str, dict[str, Interface]] = field(default_factory=dict)

    def namespace(self, host: str) -> str:
        """Return the name of a host's network namespace."""
        return f"{self.name}-{host}"

    def link_at(self, end: End) -> LabLink | None:
        """Return the link at an end."""
        return next((link for link in self.links if end in link.ends), None)
