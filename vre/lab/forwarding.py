# SPDX-License-Identifier: MIT
"""The Click configuration of a router that is described by its addresses and routes alone: RFC 1812, IPv4."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface

from vre.lab.topology import Route

#: Packets that wait for a port.
_QUEUE = 512
#: Where packets for the router itself go, and those without a route.
_OWN = 0


@dataclass(frozen=True)
class RouterEnd:
    """A port of a router: its name, address, Ethernet address and MTU in bytes."""

    port: str
    address: IPv4Interface
    mac: str
    mtu: int = 1500


def forwarding(ports: Sequence[RouterEnd], routes: Sequence[Route]) -> str:
    """Return the configuration of a router with these ports and routes.

    It answers ARP and echo requests, forwards, and sends the ICMP errors of RFC 1812. As in Click's manual, output 0
    of the lookup is the router itself; output i is port i, from 1; the last one is for packets without a route.
    """
    return "\n".join([_lookup(ports, routes), *(_port(i, end, ports) for i, end in enumerate(ports, 1))])


def _lookup(ports: Sequence[RouterEnd], routes: Sequence[Route]) -> str:
    unreachable = len(ports) + 1
    table = [f"{end.address.ip}/32 {_OWN}" for end in ports]
    for i, end in enumerate(ports, 1):
        network = end.address.network
        table += [f"{network.broadcast_address}/32 {unreachable}"] if network.prefixlen < 31 else []
        table += [f"{network} {i}"] if network.prefixlen < 32 else []
    for route in routes:
        port = next((i for i, end in enumerate(ports, 1) if route.gateway in end.address.network), unreachable)
        table.append(f"{route.network} {route.gateway} {port}")
    if not any(route.network.prefixlen == 0 for route in routes):
        table.append(f"0.0.0.0/0 {unreachable}")
    first = ports[0].address.ip
    return f"""rt :: RadixIPLookup({", ".join(table)});
rt[{_OWN}] -> ping :: ICMPPingResponder -> rt;
ping[1] -> own :: Classifier(9/11, 9/06, -);  // UDP, TCP
own[0] -> ICMPError({first}, unreachable, port) -> rt;
own[1] -> ICMPError({first}, unreachable, port) -> rt;
own[2] -> Discard;
rt[{unreachable}] -> ICMPError({first}, unreachable, net) -> rt;"""


def _port(i: int, end: RouterEnd, ports: Sequence[RouterEnd]) -> str:
    address, mac = end.address.ip, end.mac
    interfaces = " ".join(str(one.address) for one in ports)
    return f"""
in{i} :: FromDevice({end.port}) -> Paint({i}) -> kind{i} :: Classifier(12/0806 20/0001, 12/0806 20/0002, 12/0800, -);
kind{i}[0] -> ARPResponder({address} {mac}) -> out{i} :: Queue({_QUEUE}) -> ToDevice({end.port});
kind{i}[1] -> [1]arp{i} :: ARPQuerier({address}, {mac}) -> out{i};
kind{i}[2] -> Strip(14) -> CheckIPHeader(INTERFACES {interfaces}) -> rt;
kind{i}[3] -> Discard;
rt[{i}] -> DropBroadcasts -> redirect{i} :: PaintTee({i}) -> options{i} :: IPGWOptions({address}) -> FixIPSrc({address})
  -> ttl{i} :: DecIPTTL -> size{i} :: IPFragmenter({end.mtu}) -> [0]arp{i};
redirect{i}[1] -> ICMPError({address}, redirect, host) -> rt;
options{i}[1] -> ICMPError({address}, parameterproblem) -> rt;
ttl{i}[1] -> ICMPError({address}, timeexceeded) -> rt;
size{i}[1] -> ICMPError({address}, unreachable, needfrag, PMTU {end.mtu}) -> rt;"""
