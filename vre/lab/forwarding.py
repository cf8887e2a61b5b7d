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


def forwarding(ports: Sequence[RouterEnd], routes: Sequence[Route], control: bool = False) -> str:
    """Return the configuration of a router with these ports and routes.

    It answers ARP and echo requests, forwards, and sends the ICMP errors of RFC 1812. As in Click's manual, output 0
    of the lookup is the router itself; output i is port i, from 1; the last one is for packets without a route. With a
    `control` plane its kernel answers instead, and fills the table.
    """
    table = _control_table(ports) if control else _table(ports, routes)
    own = _CONTROL_OWN if control else _own(ports)
    return "\n".join([_lookup(ports, table, own), *(_port(i, end, ports, control) for i, end in enumerate(ports, 1))])


def _control_table(ports: Sequence[RouterEnd]) -> list[str]:
    return [f"0.0.0.0/0 {len(ports) + 1}"]


def _table(ports: Sequence[RouterEnd], routes: Sequence[Route]) -> list[str]:
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
    return table


#: What is for the router itself goes to its control plane before it is looked up.
_CONTROL_OWN = f"rt[{_OWN}] -> Discard;"


def _own(ports: Sequence[RouterEnd]) -> str:
    first = ports[0].address.ip
    return f"""rt[{_OWN}] -> ping :: ICMPPingResponder -> rt;
ping[1] -> own :: Classifier(9/11, 9/06, -);  // UDP, TCP
own[0] -> ICMPError({first}, unreachable, port) -> rt;
own[1] -> ICMPError({first}, unreachable, port) -> rt;
own[2] -> Discard;"""


def _lookup(ports: Sequence[RouterEnd], table: Sequence[str], own: str) -> str:
    return f"""rt :: RadixIPLookup({", ".join(table)});
{own}
rt[{len(ports) + 1}] -> ICMPError({ports[0].address.ip}, unreachable, net) -> rt;"""


def _port(i: int, end: RouterEnd, ports: Sequence[RouterEnd], control: bool) -> str:
    address, mac = end.address.ip, end.mac
    interfaces = " ".join(str(one.address) for one in ports)
    requests = "Discard" if control else f"ARPResponder({address} {mac}) -> out{i}"
    return f"""
in{i} :: FromDevice({end.port}) -> Paint({i}) -> kind{i} :: Classifier(12/0806 20/0001, 12/0806 20/0002, 12/0800, -);
out{i} :: Queue({_QUEUE}) -> ToDevice({end.port});
kind{i}[0] -> {requests};
kind{i}[1] -> [1]arp{i} :: ARPQuerier({address}, {mac}) -> out{i};
kind{i}[2] -> Strip(14) -> CheckIPHeader(INTERFACES {interfaces}) -> rt;
kind{i}[3] -> Discard;
rt[{i}] -> DropBroadcasts -> redirect{i} :: PaintTee({i}) -> options{i} :: IPGWOptions({address}) -> FixIPSrc({address})
  -> ttl{i} :: DecIPTTL -> size{i} :: IPFragmenter({end.mtu}) -> [0]arp{i};
redirect{i}[1] -> ICMPError({address}, redirect, host) -> rt;
options{i}[1] -> ICMPError({address}, parameterproblem) -> rt;
ttl{i}[1] -> ICMPError({address}, timeexceeded) -> rt;
size{i}[1] -> ICMPError({address}, unreachable, needfrag, PMTU {end.mtu}) -> rt;"""
