# SPDX-License-Identifier: MIT
"""Address resolution (RFC 826; RFC 1812, section 3.3.2)."""

from __future__ import annotations

from shm.memory import be16, be32, copy, kernel, load64, put_be16, put_be32, store64
from workers.arguments import (
    Argument,
    ArgumentError,
    between,
    ether,
    ip,
    mask_of,
    prefix,
    seconds,
    show_ether,
    show_ip,
    words,
)
from workers.element import Drop, Element, Needs, SlowPacket
from workers.elements.ether import encapsulate, put_addresses
from workers.packet import DROP, PUNT, headroom

_REQUEST = 1
#: Entries of an ARP table: address, Ethernet address, when learnt, when last asked; 8 bytes each.
_ENTRY_SIZE, _PROBES = 32, 16
_SLOTS = 4096


def arp_frame(operation, source_mac, source_ip, target_mac, target_ip):
    """Return an ARP frame for IPv4 over Ethernet, without padding."""
    destination = 0xFFFFFFFFFFFF if operation == _REQUEST else target_mac
    return bytearray(
        destination.to_bytes(6, "big")
        + source_mac.to_bytes(6, "big")
        + bytes.fromhex("0806000108000604")
        + operation.to_bytes(2, "big")
        + source_mac.to_bytes(6, "big")
        + source_ip.to_bytes(4, "big")
        + target_mac.to_bytes(6, "big")
        + target_ip.to_bytes(4, "big")
    )


def answers(text):
    """Parse `IP[/MASK] ... ETH`."""
    parts = words(text)
    if len(parts) < 2:
        raise ValueError(f"'{text}' is not ADDR[/MASK] ... ETHERNET")
    try:
        mac = ether(parts[-1])
    except ValueError as error:
        raise ArgumentError(str(error), text.rindex(parts[-1])) from None
    return [(*prefix(p), mac) for p in parts[:-1]]


class ARPResponder(Element):
    """Answers ARP requests for given addresses.

    Syntax: `ARPResponder(ADDR[/MASK]... ETHERNET, ...)`

    Other packets go to output 1 where it is connected.

    Handlers: `table` (read).
    """

    ports = "1/1-2"
    processing = "a/ah"
    bad_port = 1
    arguments = (Argument("ENTRY", answers, rest=True),)
    state = {"table": "i8", "count": "i8"}
    reasons = ("arp_not_ours",)

    @classmethod
    def _entries(cls, values):
        entries = [entry for group in values["entry"] for entry in group]
        return sorted(entries, key=lambda entry: -entry[1])  # the longest prefix answers

    @classmethod
    def check(cls, values):
        return [] if values["entry"] else [ArgumentError("ENTRY is missing: ADDR[/MASK] ... ETHERNET")]

    @classmethod
    def needs(cls, values):
        return Needs(areas={"table": 24 * len(cls._entries(values))})

    @classmethod
    def set_up(cls, state, values):
        entries = cls._entries(values)
        for i, (address, length, mac) in enumerate(entries):
            at = int(state["table"]) + 24 * i
            mask = mask_of(length)
            for j, word in enumerate((address & mask, mask, mac)):
                store64(at + 8 * j, word)
        state["count"] = len(entries)

    @staticmethod
    def process(state, packet):
        data = packet["data"]
        if packet["length"] < 42 or be16(data + 12) != 0x0806 or be16(data + 20) != 1:
            return DROP
        if be32(data + 14) != 0x00010800 or be16(data + 18) != 0x0604:
            return DROP
        target = be32(data + 38)
        for i in range(state["count"]):
            entry = state["table"] + 24 * i
            if target & load64(entry + 8) == load64(entry):
                mac = load64(entry + 16)
                put_addresses(data, mac, be16(data + 6) << 32 | be32(data + 8))
                put_be16(data + 20, 2)
                copy(data + 32, data + 22, 10)
                put_be16(data + 22, mac >> 32)
                put_be32(data + 24, mac)
                put_be32(data + 28, target)
                return 0
        return DROP

    @staticmethod
    def _table(state):
        rows = []
        for i in range(int(state["count"])):
            at = int(state["table"]) + 24 * i
            length = load64(at + 8).bit_count()
            rows.append(f"{show_ip(load64(at))}/{length} {show_ether(load64(at + 16))}\n")
        return "".join(rows)

    read_handlers = {"table": _table}


@kernel
def arp_entry(table, address):
    """Return the entry for `address`, or the free one it would take, or 0 where the table is too full."""
    at = (address * 0x9E3779B1 >> 8) & (_SLOTS - 1)
    for _ in range(_PROBES):
        entry = table + at * _ENTRY_SIZE
        found = load64(entry)
        if found == address or found == 0:
            return entry
        at = (at + 1) & (_SLOTS - 1)
    return 0


class ARPQuerier(Element):
    """Encapsulates IP packets for Ethernet, asking for addresses that it does not know.

    Syntax: `ARPQuerier(IP, ETHERNET [, CAPACITY c, TIMEOUT t, POLL_TIMEOUT p])`

    Input 0 takes IP packets with a destination annotation, input 1 ARP replies. Output 0 sends Ethernet
    frames; queries go to output 1 where it is connected, else to output 0. Packets that wait for an answer
    are kept, at most CAPACITY (64). An answer is good for TIMEOUT (5 min); after POLL_TIMEOUT (1 min) it is
    asked for again while still in use. Broadcast and multicast addresses are mapped (RFC 1112); packets to
    0.0.0.0 are dropped. Known addresses take the fast path.

    Handlers: `table` (read), `insert`, `delete`, `clear` (write), `ip`, `eth` (read, write).
    """

    keeps = ("table",)
    ports = "2/1-2"
    processing = "h/h"
    arguments = (
        Argument("IP", ip, live=True),
        Argument("ETH", ether, live=True),
        Argument("CAPACITY", between(1, 4096), 64, keyword=True),
        Argument("TIMEOUT", seconds, 300.0, keyword=True),
        Argument("POLL_TIMEOUT", seconds, 60.0, keyword=True),
        Argument("BROADCAST", ip, 0xFFFFFFFF, keyword=True),
    )
    state = {
        "ip": "i8",
        "eth": "i8",
        "broadcast": "i8",
        "timeout_ns": "i8",
        "poll_ns": "i8",
        "table": "i8",
        "hold": "i8",
        "entries": "i8",
        "queries": "i8",
    }
    reasons = ("no_destination", "no_headroom", "arp_queue_full", "arp_table_full", "arp_consumed")

    @classmethod
    def needs(cls, values):
        return Needs(areas={"table": _SLOTS * _ENTRY_SIZE}, rings={"hold": values["capacity"]})

    @classmethod
    def set_up(cls, state, values):
        state["timeout_ns"] = round(values["timeout"] * 1e9) or 1 << 62
        state["poll_ns"] = round(values["poll_timeout"] * 1e9) or 1 << 62

    @staticmethod
    def process(state, packet, port, now):
        if port == 1:
            return PUNT
        target = packet["dst"]
        if target == 0:
            return DROP
        if headroom(packet) < 14:
            return DROP - 1
        if target == 0xFFFFFFFF or target == state["broadcast"]:
            encapsulate(packet, 0x0800, state["eth"], 0xFFFFFFFFFFFF)
            return 0
        if target >> 28 == 14:
            encapsulate(packet, 0x0800, state["eth"], 0x01005E000000 | (target & 0x7FFFFF))
            return 0
        entry = arp_entry(state["table"], target)
        if entry == 0 or load64(entry) != target or now - load64(entry + 16) > state["poll_ns"]:
            return PUNT
        encapsulate(packet, 0x0800, state["eth"], load64(entry + 8))
        return 0

    @staticmethod
    def slow(state, packet, port, context):
        now = context.now_ns
        if port == 1:
            yield from _learn(state, packet, context)
            return
        target = packet.dst
        entry = arp_entry(int(state["table"]), target)
        if entry == 0:
            yield Drop("arp_table_full")
            return
        known = load64(entry) == target and load64(entry + 8) != 0
        if known and now - load64(entry + 16) <= int(state["timeout_ns"]):
            yield 0, _framed(state, packet, load64(entry + 8))
        elif context.hold(int(state["hold"]), packet):
            if load64(entry) == 0:
                state["entries"] += 1
            store64(entry + 8, 0)
            store64(entry, target)
            store64(entry + 16, -(1 << 61))
            known = False
        else:
            yield Drop("arp_queue_full")
            return
        # One query a second for each address (RFC 1122, section 2.3.2.1).
        if load64(entry + 24) == 0 or now - load64(entry + 24) >= 1_000_000_000:
            store64(entry + 24, max(now, 1))
            state["queries"] += 1
            query = SlowPacket(arp_frame(_REQUEST, int(state["eth"]), int(state["ip"]), 0, target))
            yield 1 if context.connected(1) else 0, query

    @staticmethod
    def _table(state):
        rows = []
        for i in range(_SLOTS):
            at = int(state["table"]) + i * _ENTRY_SIZE
            if load64(at) and load64(at + 8):
                rows.append(f"{show_ip(load64(at))} {show_ether(load64(at + 8))}\n")
        return "".join(rows)

    read_handlers = {"table": _table, "queries": lambda state: str(int(state["queries"]))}


def _framed(state, packet, mac):
    packet.strip(-14)
    packet.data[:14] = mac.to_bytes(6, "big") + int(state["eth"]).to_bytes(6, "big") + b"\x08\x00"
    packet.mac = 0
    return packet


def _learn(state, packet, context):
    """Take an ARP reply: note the answer and send on what waited for it."""
    data = packet.data
    if len(data) < 42 or data[12:14] != b"\x08\x06" or data[20:22] != b"\x00\x02":
        yield Drop("arp_consumed")
        return
    address = int.from_bytes(data[28:32], "big")
    mac = int.from_bytes(data[22:28], "big")
    entry = arp_entry(int(state["table"]), address)
    # Only what was asked for is believed, and no reply makes a group address a host's (RFC 1812, 3.3.2).
    if entry == 0 or load64(entry) != address or mac >> 40 & 1:
        yield Drop("arp_consumed")
        return
    store64(entry + 8, mac)
    store64(entry + 16, context.now_ns)
    for waiting in context.release(int(state["hold"]), lambda held: held.dst == address):
        yield 0, _framed(state, waiting, mac)
    yield Drop("arp_consumed")
