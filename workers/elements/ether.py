# SPDX-License-Identifier: MIT
"""Ethernet headers (IEEE 802.3)."""

from __future__ import annotations

from typing import Any

from shm.intrinsics import kernel, load16, load32, put_be16, store16, store32, store64, unlikely
from workers.arguments import Argument, between, ether
from workers.datapath.headers import ETHER_DST, ETHER_SIZE, ETHER_SRC, ETHER_TYPE, store_mac
from workers.datapath.packet import BROADCAST, DROP, MULTICAST, headroom, prepend
from workers.element import Element


@kernel
def put_addresses(data, source, target):
    """Write both addresses of the Ethernet header at `data`."""
    store_mac(data + ETHER_DST, target)
    store_mac(data + ETHER_SRC, source)


@kernel
def encapsulate(packet, ethertype, source, target):
    """Prepend an Ethernet header; the caller has seen to the headroom."""
    data = prepend(packet, ETHER_SIZE)
    packet["mac"] = data
    put_addresses(data, source, target)
    put_be16(data + ETHER_TYPE, ethertype)


class EtherEncap(Element):
    """Prepends an Ethernet header.

    Syntax: `EtherEncap(ETHERTYPE, SRC, DST)`, as in `EtherEncap(0x0800, 02:00:00:00:00:01, 02:00:00:00:00:02)`
    """

    cycles = 80
    arguments = (Argument("ETHERTYPE", between(0, 0xFFFF)), Argument("SRC", ether), Argument("DST", ether))
    state = {"first": "i8", "last": "i8"}
    reasons = ("no_headroom",)

    @classmethod
    def set_up(cls, state: Any, values: dict[str, Any]) -> None:
        header = (
            values["dst"].to_bytes(6, "big") + values["src"].to_bytes(6, "big") + values["ethertype"].to_bytes(2, "big")
        )
        state["first"] = int.from_bytes(header[:8], "little", signed=True)
        state["last"] = int.from_bytes(header[-8:], "little", signed=True)

    @staticmethod
    def process(state, packet):
        if unlikely(headroom(packet) < ETHER_SIZE):
            return DROP
        data = prepend(packet, ETHER_SIZE)
        packet["mac"] = data
        # The header as it lies in memory, laid out once: two stores, which overlap.
        store64(data, state["first"])
        store64(data + ETHER_SIZE - 8, state["last"])
        return 0


class EtherMirror(Element):
    """Exchanges the source and destination addresses.

    Syntax: `EtherMirror`
    """

    reasons = ("too_short",)

    @staticmethod
    def process(state, packet):
        data = packet["data"]
        if packet["length"] < ETHER_SIZE:
            return DROP
        low, high = load32(data + ETHER_DST), load16(data + ETHER_DST + 4)
        store32(data + ETHER_DST, load32(data + ETHER_SRC))
        store16(data + ETHER_DST + 4, load16(data + ETHER_SRC + 4))
        store32(data + ETHER_SRC, low)
        store16(data + ETHER_SRC + 4, high)
        return 0


class EtherRewrite(Element):
    """Sets the source and destination addresses.

    Syntax: `EtherRewrite(SRC, DST)`
    """

    arguments = (Argument("SRC", ether, live=True), Argument("DST", ether, live=True))
    state = {"src": "i8", "dst": "i8"}
    reasons = ("too_short",)

    @staticmethod
    def process(state, packet):
        if packet["length"] < ETHER_SIZE:
            return DROP
        put_addresses(packet["data"], state["src"], state["dst"])
        return 0


class DropBroadcasts(Element):
    """Drops packets that came in as link-level broadcast or multicast (RFC 1812, section 4.2.3.1).

    Syntax: `DropBroadcasts`
    """

    cycles = 20
    reasons = ("link_broadcast",)

    @staticmethod
    def process(state, packet):
        if unlikely(packet["type"] == BROADCAST or packet["type"] == MULTICAST):
            return DROP
        return 0
