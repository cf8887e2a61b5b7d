# SPDX-License-Identifier: MIT
"""What is for the router itself: it goes to the control plane, at a limited rate."""

from __future__ import annotations

from ipaddress import IPv4Interface
from typing import Any

from shm.intrinsics import be16, be32, load32, store32, unlikely
from workers.arguments import Argument, ArgumentError, between, ip
from workers.datapath.headers import (
    ARP_OPERATION,
    ARP_REQUEST,
    ARP_SIZE,
    ARP_TARGET_IP,
    ETHER_SIZE,
    ETHER_TYPE,
    IP_DST,
    IP_SIZE,
    TYPE_ARP,
    TYPE_IP,
)
from workers.datapath.packet import DROP, HOST, OTHERHOST
from workers.element import Element, Needs

_TYPE_IPV6, _IPV6_DST, _IPV6_SIZE = 0x86DD, 24, 40
#: 224.0.0.0/24: what no router forwards (RFC 5771, section 4).
_LOCAL_MULTICAST = 0xE00000
#: ff02::/16: what stays on the link; fe80::/10: addresses that do (RFC 4291).
_LINK_LOCAL_GROUP, _LINK_LOCAL = 0xFF02, 0x3FA
#: 01:80:c2:00:00:xx: protocols of bridges, LLDP and IS-IS among them (IEEE 802.1Q, table 8-1).
_BRIDGE = 0x0180C200
#: Tokens of a packet, and of a second's packets' worth of time.
_SECOND = 1_000_000_000


class Punt(Element):
    """Separates what is for the router itself from what it forwards.

    Syntax: `Punt([ADDRESS1, ADDRESS2, ... , RATE r])`

    Takes Ethernet frames as they come from a port. To output 1 go frames for the port's MAC whose destination is
    one of the router's own ADDRESSes, and all IPv6; multicast to 224.0.0.0/24, ff02::/16 and the groups of bridges;
    ARP requests for an ADDRESS. Other ARP packets, which are for both, go to output 2. All else goes to output 0.
    At most RATE packets a second (10,000 by default), and a tenth of that at once, go to outputs 1 and 2. What is
    more is dropped for the reason `punt_limit` if it is for the router itself, else it goes to output 0.

    A router with a control plane has one behind each FromDevice. Its output 1 leads to the port's TAP, its output 2
    to a Tee.

    Handlers: `punted` (read), `rate` (read and write).
    """

    cycles = 60
    ports = "1/3"
    processing = "a/ah"
    arguments = (
        Argument("ADDRESS", ip, rest=True),
        Argument("RATE", between(1, 10_000_000), 10_000, keyword=True, live=True),
    )
    state = {"addresses": "i8", "address_count": "i8", "rate": "i8", "tokens": "i8", "filled_ns": "i8", "punted": "i8"}
    reasons = ("punt_limit",)
    read_handlers = {"punted": lambda state: str(int(state["punted"]))}

    @classmethod
    def check(cls, values: dict[str, Any]) -> list[Any]:
        return [ArgumentError("at most 256 addresses")] if len(values["address"]) > 256 else []

    @classmethod
    def needs(cls, values: dict[str, Any]) -> Needs:
        return Needs(areas={"addresses": 4 * len(values["address"]) + 4})

    @classmethod
    def set_up(cls, state: Any, values: dict[str, Any]) -> None:
        for i, address in enumerate(values["address"]):
            store32(state["addresses"] + 4 * i, address)
        state["address_count"] = len(values["address"])

    @staticmethod
    def process(state, packet, now):
        data, length, kind = packet["data"], packet["length"], packet["type"]
        if unlikely(length < ETHER_SIZE) or kind == OTHERHOST:
            return 0
        protocol = be16(data + ETHER_TYPE)
        net, room = data + ETHER_SIZE, length - ETHER_SIZE
        copied = own = 0
        address = -1
        if protocol == TYPE_IP:
            if room >= IP_SIZE:
                if kind == HOST:
                    address = be32(net + IP_DST)
                else:
                    own = be32(net + IP_DST) >> 8 == _LOCAL_MULTICAST
        elif protocol == TYPE_ARP:
            if room >= ARP_SIZE:
                copied = 1
                if be16(net + ARP_OPERATION) == ARP_REQUEST:
                    address = be32(net + ARP_TARGET_IP)
        elif protocol == _TYPE_IPV6:
            if room >= _IPV6_SIZE:
                first = be16(net + _IPV6_DST)
                # What is not on the link is not forwarded here: there is no IPv6 forwarding table.
                own = kind == HOST or first == _LINK_LOCAL_GROUP or first >> 6 == _LINK_LOCAL
        elif kind != HOST:
            own = be32(data) == _BRIDGE
        if address >= 0:
            for i in range(state["address_count"]):
                if load32(state["addresses"] + 4 * i) == address:
                    own = 1
        if own == 0 and copied == 0:
            return 0
        # A token a packet; a tenth of a second's at most.
        tokens = state["tokens"] + (min(_SECOND, now - state["filled_ns"])) * state["rate"]
        most = (state["rate"] // 10 + 1) * _SECOND
        tokens = min(tokens, most)
        state["filled_ns"] = now
        enough = tokens >= _SECOND
        state["tokens"] = tokens - _SECOND if enough else tokens
        if not enough:
            return DROP if own else 0
        state["punted"] += 1
        return 1 if own else 2


def own_addresses(addresses: tuple[str, ...]) -> list[str]:
    """Return the IPv4 addresses, without their lengths, of those of a port."""
    return [str(IPv4Interface(one).ip) for one in addresses if ":" not in one]
