# SPDX-License-Identifier: MIT
"""Commands of iproute2 and net-tools that give a node its addresses and routes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, ip_interface

_ADDRESS = re.compile(r"ip (?:-\d )?a(?:ddr(?:ess)?)? (?:add|replace) (\S+)(?: \S+ \S+)*? dev (\S+)")
_ROUTE = re.compile(r"ip (?:-\d )?r(?:oute)? (?:add|replace) (\S+) via (\S+)(?: dev \S+)?")
_IFCONFIG = re.compile(r"ifconfig (\S+) (\d[\d.]+)(?:/(\d+)| netmask (\S+))?(?: broadcast \S+)?(?: up)?")
_ROUTE_ADD = re.compile(r"route add (?:-net )?(default|[\d./]+)(?: netmask (\S+))? gw (\S+)(?: dev \S+)?")
#: What needs no command here.
_NEEDLESS = re.compile(r"ip link set(?: dev)? \S+ up|ip link set up(?: dev)? \S+|sysctl (-w )?net\.ipv4\.ip_forward=1")


def addresses_in(commands: Iterable[str]) -> tuple[dict[str, list[str]], dict[str, str], list[str]]:
    """Return the addresses by interface, the gateways by network, and the commands that say something else."""
    addresses: dict[str, list[str]] = {}
    routes: dict[str, str] = {}
    rest: list[str] = []
    for command in commands:
        text = " ".join(command.split())
        if found := _ADDRESS.fullmatch(text):
            addresses.setdefault(found[2], []).append(found[1])
        elif found := _ROUTE.fullmatch(text):
            routes[found[1]] = found[2]
        elif found := _IFCONFIG.fullmatch(text):
            addresses.setdefault(found[1], []).append(_with_prefix(found[2], found[3] or found[4] or "24"))
        elif found := _ROUTE_ADD.fullmatch(text):
            network = found[1] if found[1] == "default" else _with_prefix(found[1], found[2] or "")
            routes[network] = found[3]
        elif text and not _NEEDLESS.fullmatch(text):
            rest.append(text)
    return addresses, routes, rest


def _with_prefix(address: str, mask: str) -> str:
    """Return ADDRESS/LENGTH, whatever the mask is written as."""
    if not mask or "/" in address:
        return address
    try:
        length = int(IPv4Address(mask)).bit_count() if "." in mask else int(mask)
        return ip_interface(f"{address}/{length}").with_prefixlen
    except ValueError:
        return address
