# SPDX-License-Identifier: MIT
"""Address resolution (RFC 826; RFC 1812, section 3.3.2)."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

from shm.intrinsics import be16, be32, copy, load8, load64, put_be16, put_be32, store64, unlikely
from shm.layout import Layout
from shm.ring import held
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
from workers.datapath.headers import (
    ARP_OPERATION,
    ARP_PROTOCOL,
    ARP_REPLY,
    ARP_REQUEST,
    ARP_SENDER_IP,
    ARP_SENDER_MAC,
    ARP_SIZE,
    ARP_TARGET_IP,
    ARP_TARGET_MAC,
    ETHER_SIZE,
    ETHER_TYPE,
    TYPE_ARP,
    TYPE_IP,
    get16,
    get32,
    load_mac,
    store_mac,
)
from workers.datapath.held import QUEUE, links_bytes
from workers.datapath.neighbour_table import (
    CLEAR,
    COMMANDS,
    DELETE,
    ENTRY,
    INSERT,
    NEVER_NS,
    NOTES,
    POLLS,
    SLOTS,
    due,
    neighbour,
    not_fresh,
    request,
)
from workers.datapath.neighbours import Neighbours
from workers.datapath.packet import DROP, PUNT, headroom
from workers.element import Drop, Element, Needs, cap
from workers.elements.ether import encapsulate, put_addresses

#: How a reply for IPv4 over Ethernet begins.
_REPLY = bytes.fromhex("0001 0800 06 04 0002")
#: An address that an ARPResponder answers for.
ADDRESS = Layout("address", {"prefix": "i8", "mask": "i8", "mac": "i8"})


def answers(text: str) -> list[tuple[int, int, int]]:
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

    Other packets go to output 1 if it is connected.

    Handlers: `table` (read).
    """

    ports = "1/1-2"
    processing = "a/ah"
    bad_port = 1
    arguments = (Argument("ENTRY", answers, rest=True),)
    state = {"table": "i8", "count": "i8"}
    reasons = ("arp_not_ours",)

    @classmethod
    def _entries(cls, values: dict[str, Any]) -> list[tuple[int, int, int]]:
        entries = [entry for group in values["entry"] for entry in group]
        return sorted(entries, key=lambda entry: -entry[1])  # the longest prefix answers

    @classmethod
    def check(cls, values: dict[str, Any]) -> list[Any]:
        return [] if values["entry"] else [ArgumentError("ENTRY is missing: ADDR[/MASK] ... ETHERNET")]

    @classmethod
    def needs(cls, values: dict[str, Any]) -> Needs:
        return Needs(areas={"table": ADDRESS.size * len(cls._entries(values))})

    @classmethod
    def set_up(cls, state: Any, values: dict[str, Any]) -> None:
        entries = cls._entries(values)
        for i, (address, length, mac) in enumerate(entries):
            at, mask = int(state["table"]) + ADDRESS.size * i, mask_of(length)
            for field, word in (("prefix", address & mask), ("mask", mask), ("mac", mac)):
                store64(at + ADDRESS[field], word)
        state["count"] = len(entries)

    @staticmethod
    def process(state, packet):
        data = packet["data"]
        arp = data + ETHER_SIZE
        if packet["length"] < ETHER_SIZE + ARP_SIZE or be16(data + ETHER_TYPE) != TYPE_ARP:
            return DROP
        # A host's request, not a group's, for IPv4 over Ethernet.
        if be16(arp + ARP_OPERATION) != ARP_REQUEST or be16(arp) != 1 or be32(arp + ARP_PROTOCOL) != 0x08000604:
            return DROP
        if load8(arp + ARP_SENDER_MAC) & 1:
            return DROP
        target = be32(arp + ARP_TARGET_IP)
        for i in range(state["count"]):
            entry = state["table"] + ADDRESS.size * i
            if target & load64(entry + ADDRESS["mask"]) == load64(entry + ADDRESS["prefix"]):
                mac = load64(entry + ADDRESS["mac"])
                # To ar$sha: a request may come through another interface (RFC 826).
                put_addresses(data, mac, load_mac(arp + ARP_SENDER_MAC))
                put_be16(arp + ARP_OPERATION, ARP_REPLY)
                copy(arp + ARP_TARGET_MAC, arp + ARP_SENDER_MAC, 10)
                store_mac(arp + ARP_SENDER_MAC, mac)
                put_be32(arp + ARP_SENDER_IP, target)
                return 0
        return DROP

    @staticmethod
    def _table(state: Any) -> str:
        rows = []
        for i in range(int(state["count"])):
            address, mask, mac = (load64(int(state["table"]) + ADDRESS.size * i + ADDRESS[f]) for f in ADDRESS.fields)
            rows.append(f"{show_ip(address)}/{mask.bit_count()} {show_ether(mac)}\n")
        return "".join(rows)

    read_handlers = {"table": _table}


def _insert(state: Any, text: str) -> None:
    parts = words(text)
    if len(parts) != 2:
        raise ValueError(f"'{text}' is not ADDR ETHERNET")
    address, mac = ip(parts[0]), ether(parts[1])
    if address == 0 or mac >> 40 & 1:
        raise ValueError(f"'{text}': no host has that address")
    request(int(state["commands"]), INSERT, address, mac)


def _known(state: Any) -> list[Any]:
    """Return the table's entries that are in use, and when they were learnt; the slow path may be writing them."""
    import numpy as np

    # ctypes' stubs do not say that its arrays are buffers.
    table: Any = (ctypes.c_char * (SLOTS * ENTRY.size)).from_address(int(state["table"]))
    learnt: Any = (ctypes.c_char * (SLOTS * NOTES.size)).from_address(int(state["notes"]))
    entries, notes = np.frombuffer(table, ENTRY.dtype), np.frombuffer(learnt, NOTES.dtype)
    used = (entries["address"] > 0) & (entries["valid_until"] > state["now_ns"])
    return list(zip(entries[used].tolist(), notes[used]["learnt"].tolist(), strict=True))


def _table(state: Any) -> str:
    rows = []
    for (address, mac, *_), learnt in _known(state):
        age = max(0, int(state["now_ns"]) - learnt) if mac else 0
        known = f"{show_ip(address)} {int(mac != 0)} {show_ether(mac)}"
        rows.append(f"{known} {age // 10**9}.{age % 10**9 // 1000:06d}\n")
    return "".join(rows)


def _waiting(state: Any) -> str:
    return str(held(state["hold"]))


class ARPQuerier(Element):
    """Encapsulates IP packets for Ethernet, asking for addresses that it does not know.

    Syntax: `ARPQuerier(IP, ETHERNET [, CAPACITY c, ENTRY_PACKET_CAPACITY e, TIMEOUT t, POLL_TIMEOUT p, BROADCAST b])`

    Input 0 takes IP packets with a destination annotation, input 1 ARP replies. Output 0 sends Ethernet
    frames; queries go to output 1 if it is connected, else to output 0, at most one a second for each address.
    Packets that wait for an answer are kept, at most CAPACITY (64) in all, and ENTRY_PACKET_CAPACITY (0: no limit of
    its own) for one address; if there is no room, the oldest for the same address is dropped, or one for an address
    that has several. An answer is good for TIMEOUT (5 min; 0: for ever); after POLL_TIMEOUT (1 min; 0: never)
    it is asked for again while in use, and packets are sent by it meanwhile. Packets for an address that has not
    answered are given up TIMEOUT after the last one for it. Of more than 4096 addresses, the least useful are
    forgotten. Broadcast and multicast addresses are mapped (RFC 1112); packets to 0.0.0.0 are dropped. Known addresses
    take the fast path.

    Handlers: `table` (an address, 1 if it is known, its Ethernet address and the age of the answer in a line),
    `count` (addresses), `length` (packets that wait), `queries`, `responses`, `drops` (read); `insert` (ADDR ETHERNET),
    `delete` (ADDR), `clear` (write); `ip`, `eth` (read, write).
    """

    keeps = ("table", "notes")
    holds = True
    ports = "2/1-2"
    processing = "h/h"
    arguments = (
        Argument("IP", ip, live=True),
        Argument("ETH", ether, live=True),
        Argument("CAPACITY", between(1, 4096), 64, keyword=True),
        Argument("ENTRY_PACKET_CAPACITY", between(0, 4096), 0, keyword=True),
        Argument("TIMEOUT", seconds, 300.0, keyword=True),
        Argument("POLL_TIMEOUT", seconds, 60.0, keyword=True),
        Argument("BROADCAST", ip, 0xFFFFFFFF, keyword=True),
    )
    state = {
        "ip": "i8",
        "eth": "i8",
        "broadcast": "i8",
        "table": "i8",
        "notes": "i8",
        "polls": "i8",
        "timeout_ns": "i8",
        "poll_ns": "i8",
        "entry_packet_capacity": "i8",
        "hold": "i8",
        "links": "i8",
        "lost": "i8",
        "commands": "i8",
        "owed_first": "i8",
        "owed_last": "i8",
        "now_ns": "i8",
        "next_ns": "i8",
        "cursor": "i8",
        "queries": "i8",
        "responses": "i8",
    }
    reasons = (
        "no_destination",
        "no_headroom",
        "arp_queue_full",
        "arp_table_full",
        "arp_consumed",
        "arp_given_up",
    )

    @classmethod
    def needs(cls, values: dict[str, Any]) -> Needs:
        areas = {"table": SLOTS * ENTRY.size, "notes": SLOTS * NOTES.size, "polls": POLLS.size}
        areas |= {"commands": COMMANDS.size, "lost": QUEUE.size, "links": links_bytes(values["capacity"])}
        return Needs(areas=areas, rings={"hold": values["capacity"]})

    @classmethod
    def set_up(cls, state: Any, values: dict[str, Any]) -> None:
        for name, said in (("timeout_ns", "timeout"), ("poll_ns", "poll_timeout")):
            state[name] = min(round(min(values[said], 1e10) * 1e9) or NEVER_NS, NEVER_NS)

    @staticmethod
    def process(state, packet, port, core, now):
        if port == 1:
            return PUNT
        target = packet["dst"]
        if target == 0:
            return DROP
        if headroom(packet) < ETHER_SIZE:
            return DROP - 1
        if target == 0xFFFFFFFF or target == state["broadcast"]:
            encapsulate(packet, TYPE_IP, state["eth"], 0xFFFFFFFFFFFF)
            return 0
        if target >> 28 == 14:
            encapsulate(packet, TYPE_IP, state["eth"], 0x01005E000000 | (target & 0x7FFFFF))
            return 0
        entry = neighbour(state["table"], target)
        if entry == 0:
            return PUNT
        if unlikely(now >= load64(entry + ENTRY["fresh_until"])):
            notes = state["notes"] + (entry - state["table"]) * (NOTES.size // ENTRY.size)
            verdict = not_fresh(entry, notes, state["polls"], core, now)
            if verdict < 0:
                return verdict
        encapsulate(packet, TYPE_IP, state["eth"], load64(entry + ENTRY["mac"]))
        return 0

    @staticmethod
    def slow(state, packet, port, context):
        neighbours = Neighbours(state, context)
        if port == 0:
            yield from neighbours.send(packet)
        else:
            answer = _answer(packet.data)
            if answer:
                state["responses"] += 1
                yield from neighbours.learn(*answer)
            yield Drop("arp_consumed")
        neighbours.held.end()

    due = staticmethod(due)

    @staticmethod
    def visit(state: Any, context: Any) -> Iterator[Any]:
        neighbours = Neighbours(state, context)
        yield from neighbours.visit()
        neighbours.held.end()

    read_handlers = {
        "table": _table,
        "count": lambda state: str(len(_known(state))),
        "length": _waiting,
        "queries": cap("queries"),
        "responses": cap("responses"),
        "drops": lambda state: str(sum(int(state["drops"][i]) for i in (2, 3, 5))),
    }
    write_handlers = {
        "insert": _insert,
        "delete": lambda state, text: request(int(state["commands"]), DELETE, ip(text.strip())),
        "clear": lambda state, text: request(int(state["commands"]), CLEAR),
    }


def _answer(data: bytes) -> tuple[int, int] | None:
    """Return the sender of an answer and its Ethernet address; None for what is no answer of a host.

    Only what was asked for is believed, and no reply makes a group address a host's (RFC 1812, section 3.3.2).
    """
    arp = data[ETHER_SIZE:]
    if len(arp) < ARP_SIZE or get16(data, ETHER_TYPE) != TYPE_ARP or arp[ARP_SENDER_MAC] & 1:
        return None
    if arp[:ARP_SENDER_MAC] != _REPLY:
        return None
    address, mac = get32(arp, ARP_SENDER_IP), int.from_bytes(arp[ARP_SENDER_MAC:ARP_SENDER_IP], "big")
    return (address, mac) if address else None
