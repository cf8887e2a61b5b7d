# SPDX-License-Identifier: MIT
"""Where packets enter a router and leave it: its ports."""

from __future__ import annotations

from shm.intrinsics import copy, load64, put_be32, unlikely
from shm.ring import push, room, set_tag
from workers.arguments import Argument, string
from workers.datapath.headers import ETHER_SIZE, ETHER_TYPE, TYPE_VLAN, VLAN_TAG_SIZE
from workers.datapath.packet import BROADCAST, DROP, HOST, MULTICAST, OTHERHOST, TAKEN, headroom, prepend
from workers.element import Element, cap

_DEVICE = (Argument("DEVNAME", string),)


class FromDevice(Element):
    """Receives packets from one of the router's ports.

    Syntax: `FromDevice(PORT)`

    Sets the annotations for the packet type (host, broadcast, multicast, other host), the MAC header, the
    device, and the VLAN whose tag the port has taken off (0: none).

    Handlers: `count` (read).
    """

    keeps = ("count",)
    cycles = 450
    ports = "0/1"
    processing = "/h"
    arguments = _DEVICE
    driver = "rx"
    is_port = True
    state = {"ring": "i8", "mac": "i8", "device": "i8", "vlan": "i8", "count": "i8"}
    read_handlers = {"count": cap("count")}

    @staticmethod
    def process(state, packet):
        data = packet["data"]
        # As it lies in memory: the first byte, with the group bit (IEEE 802), is the lowest.
        mac = load64(data) & 0xFFFFFFFFFFFF
        if unlikely(mac != state["mac"]):
            if mac == 0xFFFFFFFFFFFF:
                packet["type"] = BROADCAST
            elif mac & 1:
                packet["type"] = MULTICAST
            else:
                packet["type"] = OTHERHOST
        else:
            packet["type"] = HOST
        packet["mac"] = data
        packet["device"] = state["device"]
        packet["vlan"] = state["vlan"]
        state["count"] += 1
        return 0


class PollDevice(FromDevice):
    """Receives packets from one of the router's ports by polling, as every port here does.

    Syntax: `PollDevice(PORT)`; the same as FromDevice.
    """


class ToDevice(Element):
    """Sends packets to one of the router's ports.

    Syntax: `ToDevice(PORT)`

    Pulls where its input is a pull path, and then only as fast as the port sends; where packets are
    pushed to it, those the port cannot take are dropped. On a port with a VLAN the tag is inserted
    (IEEE 802.1Q).

    Handlers: `count` (read).
    """

    keeps = ("count",)
    cycles = 500
    ports = "1/0"
    arguments = _DEVICE
    driver = "pull"
    is_port = takes = True
    state = {"ring": "i8", "vlan": "i8", "router": "i8", "count": "i8"}
    reasons = ("tx_ring_full", "no_headroom", "too_short")
    read_handlers = {"count": cap("count")}

    @staticmethod
    def process(state, packet, core, granted):
        ring = state["ring"]
        if not granted and unlikely(room(ring, 1) == 0):
            return DROP
        if unlikely(state["vlan"] >= 0):
            if headroom(packet) < VLAN_TAG_SIZE:
                return DROP - 1
            if packet["length"] < ETHER_SIZE:
                return DROP - 2
            data = prepend(packet, VLAN_TAG_SIZE)
            copy(data, data + VLAN_TAG_SIZE, ETHER_TYPE)
            put_be32(data + ETHER_TYPE, TYPE_VLAN << 16 | state["vlan"])
        # The wire keeps accounts by router, and several routers send through one ring.
        set_tag(ring, push(ring, packet, core), state["router"])
        state["count"] += 1
        return TAKEN
