# SPDX-License-Identifier: MIT
"""Values of a topology file: each kind returns the accepted value, or raises ValueError that says what is accepted."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from vre.config import fields
from vre.lab.topology import Address, End, Interface, Network, Route
from workers.arguments import seconds
from workers.ranges import shown

#: Longest name of an interface (IFNAMSIZ with its NUL), and of a node: it becomes part of other names.
_INTERFACE, NODE = 15, 32
_END = re.compile(r"([A-Za-z0-9_-]+):([A-Za-z0-9_.-]+)")
_NODE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
_SYSCTL = re.compile(r"[A-Za-z0-9_-]+(?:[./][A-Za-z0-9_.-]+)+")
#: The least MTU of IPv4 (RFC 791), and the largest of an interface.
MTUS = (68, 65535)


def node(name: str) -> str:
    """Take the name of a host or router."""
    if not _NODE.fullmatch(name) or len(name) > NODE:
        raise ValueError(f"'{shown(name)}' is not a name: at most {NODE} letters, digits, _ and -")
    return name


def interface_name(name: str) -> str:
    """Take the name of an interface of a host."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name) or len(name) > _INTERFACE or name in (".", "..", "lo", "all"):
        raise ValueError(f"'{shown(name)}' cannot be an interface: at most {_INTERFACE} letters, digits, '_', '-', '.'")
    return name


def end(value: Any) -> End:
    """Take an end of a link, as in "h1:eth0"."""
    found = _END.fullmatch(fields.string(value))
    if not found:
        raise ValueError(f'must be NODE:PORT, as in "h1:eth0", not {shown(repr(value))}')
    return End(node(found[1]), interface_name(found[2]))


def interface(value: Any) -> Interface:
    """Take an address with the length of its prefix, as in "10.0.1.2/24"."""
    text = fields.string(value)
    try:
        found = ip_interface(text)
    except ValueError:
        found = None
    if found is None or "/" not in text or found.ip.is_multicast or found.ip.is_unspecified:
        raise ValueError(
            f'must be the address of a host with its prefix, as in "10.0.1.2/24", not {shown(repr(value))}'
        )
    if found.version == 4 and found.network.prefixlen < 31 and found.ip in (found.network[0], found.network[-1]):
        raise ValueError(f"{found.ip} is the network's own address or its broadcast address, and no host's")
    return found


def interfaces(value: Any) -> tuple[Interface, ...]:
    """Take an address, or a list of addresses."""
    return tuple(interface(one) for one in value) if isinstance(value, list) else (interface(value),)


def address(value: Any) -> Address:
    """Take the address of a host, as in "10.0.1.1"."""
    try:
        return ip_address(fields.string(value))
    except ValueError:
        raise ValueError(f'must be an address, as in "10.0.1.1", not {shown(repr(value))}') from None


def addresses(value: Any) -> tuple[Address, ...]:
    """Take an address, or a list of addresses."""
    return tuple(address(one) for one in value) if isinstance(value, list) else (address(value),)


def network(text: str) -> Network:
    """Take a network, as in "10.0.0.0/8"; "default" is the one of all IPv4 addresses."""
    try:
        return ip_network("0.0.0.0/0" if text == "default" else text)
    except ValueError:
        raise ValueError(f'must be a network, as in "10.0.0.0/8", or "default", not {shown(repr(text))}') from None


def routes(value: Any) -> tuple[Route, ...]:
    """Take a table of networks and their gateways."""
    if not isinstance(value, dict):
        raise ValueError('must be a table, as in { "10.0.2.0/24" = "10.0.1.1" }')
    found = tuple(Route(network(key), address(one)) for key, one in value.items())
    for route in found:
        if route.network.version != route.gateway.version:
            raise ValueError(f"{route.gateway} is no gateway to {route.network}: one is IPv4, the other IPv6")
    return found


def commands(value: Any) -> tuple[str, ...]:
    """Take a command, or a list of commands."""
    return tuple(fields.string(one) for one in value) if isinstance(value, list) else (fields.string(value),)


def sysctls(value: Any) -> dict[str, str]:
    """Take a table of a namespace's own settings, as in { "net.ipv4.ip_forward" = 1 }."""
    if not isinstance(value, dict):
        raise ValueError('must be a table, as in { "net.ipv4.ip_forward" = 1 }')
    for name, one in value.items():
        if not _SYSCTL.fullmatch(name) or ".." in name or not re.match(r"net[./]", name):
            raise ValueError(f"'{shown(name)}' is no setting of a network namespace: they begin with 'net.'")
        if not isinstance(one, str | int) or isinstance(one, bool):
            raise ValueError(f"{name} must be a number or a string, not {shown(repr(one))}")
    return {name: str(one) for name, one in value.items()}


def within(value: Any) -> float:
    """Take a time up to 10 minutes, as in "10s"; return seconds."""
    found = seconds(fields.string(value))
    if not 0 < found <= 600:
        raise ValueError(f"must be a time up to 10min, not {shown(repr(value))}")
    return found
