# SPDX-License-Identifier: MIT
"""The fast path of an IPv4 router (RFC 1812), but for the lookup."""

from __future__ import annotations

from typing import Any

from shm.intrinsics import be16, be32, kernel, load8, load16, load32, put_be32, store8, store16, store32, unlikely
from workers.arguments import Argument, ArgumentError, between, boolean, ip, prefix, words
from workers.datapath.checksum import header_fault, replace16
from workers.datapath.headers import IP_DST, IP_LENGTH, IP_SIZE, IP_SRC, IP_SUM, IP_TTL
from workers.datapath.packet import DROP
from workers.element import Element, Needs

_OFFSET = between(0, 1500)
#: Sources that no packet to a router may have (RFC 1812, section 5.3.7): "this host" and limited broadcast.
_NEVER_SOURCES = (0x00000000, 0xFFFFFFFF)


@kernel
def hashed(address):
    """Return a number below 64 for an address: the golden ratio's bits spread neighbours (Knuth, volume 3, 6.4)."""
    return address * 0x5E3779B1 >> 26 & 63


@kernel
def listed(table, count, address):
    """Return whether an address is among `count` in a table."""
    at = table
    while at < table + 4 * count:
        if load32(at) == address:
            return True
        at += 4
    return False


def addresses(text: str) -> list[int]:
    """Parse a space-separated list of IP addresses."""
    return [ip(word) for word in words(text)]


def interfaces(text: str) -> list[tuple[int, int]]:
    """Parse a space-separated list of `ADDR/MASK`."""
    return [prefix(word) for word in words(text)]


class MarkIPHeader(Element):
    """Sets the IP header annotation without looking at the header.

    Syntax: `MarkIPHeader([OFFSET])`
    """

    arguments = (Argument("OFFSET", _OFFSET, 0),)
    state = {"offset": "i8"}
    reasons = ("too_short",)

    @staticmethod
    def process(state, packet):
        if packet["length"] < state["offset"] + IP_SIZE:
            return DROP
        packet["net"] = packet["data"] + state["offset"]
        return 0


class CheckIPHeader(Element):
    """Checks the IP header (RFC 1812, section 5.2.2) and sets the header and destination annotations.

    Syntax: `CheckIPHeader([OFFSET, INTERFACES i, BADSRC b, GOODDST g, CHECKSUM c, VERBOSE v, DETAILS d])`

    Checked in this order: the header fits, version, header length, total length, checksum, source address
    (RFC 1812, section 5.3.7), where bad ones are named. BADSRC lists them. INTERFACES lists the router's own
    `ADDR/MASK`: their broadcast addresses, 0.0.0.0 and 255.255.255.255 become bad sources, the addresses good
    destinations, for which the source is not checked, as for those in GOODDST. Link padding
    behind the total length is cut off. Bad packets go to output 1, or are dropped.

    Handlers: `drops` (read).
    """

    cycles = 250
    ports = "1/1-2"
    processing = "a/ah"
    bad_port = 1
    arguments = (
        Argument("OFFSET", _OFFSET, 0),
        Argument("INTERFACES", interfaces, [], keyword=True),
        Argument("BADSRC", addresses, [], keyword=True),
        Argument("GOODDST", addresses, [], keyword=True),
        Argument("CHECKSUM", boolean, True, keyword=True),
        Argument("VERBOSE", boolean, False, keyword=True),
        Argument("DETAILS", boolean, False, keyword=True),
    )
    state = {"offset": "i8", "checksum": "i8", "hashes": "i8", "bad": "i8", "good": "i8"}
    state |= {"bad_count": "i8", "good_count": "i8"}
    reasons = ("not_ip", "ip_version", "ip_header_length", "ip_length", "ip_checksum", "ip_source")
    read_handlers = {"drops": lambda state: str(int(state["drops"].sum()))}

    @classmethod
    def _lists(cls, values: dict[str, Any]) -> tuple[list[int], list[int]]:
        bad, good = list(values["badsrc"]), list(values["gooddst"])
        if values["interfaces"]:
            bad += _NEVER_SOURCES
        for address, length in values["interfaces"]:
            good.append(address)
            if length < 31:
                bad.append(address | 0xFFFFFFFF >> length)
        return bad, good

    @classmethod
    def check(cls, values: dict[str, Any]) -> list[Any]:
        bad, good = cls._lists(values)
        return [ArgumentError("at most 256 addresses each")] if max(len(bad), len(good)) > 256 else []

    @classmethod
    def needs(cls, values: dict[str, Any]) -> Needs:
        bad, good = cls._lists(values)
        return Needs(areas={"bad": 4 * len(bad) + 4, "good": 4 * len(good) + 4})

    @classmethod
    def set_up(cls, state: Any, values: dict[str, Any]) -> None:
        for name, listed in zip(("bad", "good"), cls._lists(values), strict=True):
            for i, address in enumerate(listed):
                store32(state[name] + 4 * i, address)
            state[name + "_count"] = len(listed)
        bits = sum(1 << n for n in {hashed(address) for address in cls._lists(values)[0]})
        state["hashes"] = bits - (1 << 64 if bits >> 63 else 0)

    @staticmethod
    def process(state, packet):
        net = packet["data"] + state["offset"]
        room = packet["length"] - state["offset"]
        fault = header_fault(net, room, state["checksum"])
        if unlikely(fault < 0):
            return fault
        total = be16(net + IP_LENGTH)
        source = be32(net + IP_SRC)
        dst = be32(net + IP_DST)
        # One bit says of nearly every source that it is not a bad one.
        if (
            unlikely(state["hashes"] >> hashed(source) & 1)
            and listed(state["bad"], state["bad_count"], source)
            and not listed(state["good"], state["good_count"], dst)
        ):
            return DROP - 5
        packet["length"] -= room - total
        packet["net"] = net
        packet["dst"] = dst
        return 0


class GetIPAddress(Element):
    """Sets the destination annotation from the packet's bytes at OFFSET.

    Syntax: `GetIPAddress(OFFSET)`, 16 for the destination of an IP header at the front.
    """

    arguments = (Argument("OFFSET", _OFFSET),)
    state = {"offset": "i8"}
    reasons = ("too_short",)

    @staticmethod
    def process(state, packet):
        if packet["length"] < state["offset"] + 4:
            return DROP
        packet["dst"] = be32(packet["data"] + state["offset"])
        return 0


class DecIPTTL(Element):
    """Takes one from the time to live; packets at their end go to output 1 (RFC 1812, section 5.3.1).

    Syntax: `DecIPTTL([ACTIVE a, MULTICAST m])`

    The checksum is updated incrementally (RFC 1624). ACTIVE false passes packets on; MULTICAST false
    leaves multicast packets alone.

    Handlers: `drops`, `active` (read; active also write).
    """

    cycles = 80
    ports = "1/1-2"
    processing = "a/ah"
    bad_port = 1
    arguments = (
        Argument("ACTIVE", boolean, True, keyword=True, live=True),
        Argument("MULTICAST", boolean, True, keyword=True),
    )
    state = {"active": "i8", "multicast": "i8"}
    reasons = ("ttl_expired", "no_ip_header")
    read_handlers = {"drops": lambda state: str(int(state["drops"].sum()))}

    @staticmethod
    def process(state, packet):
        net = packet["net"]
        if unlikely(net == 0):
            return DROP - 1
        if unlikely(state["active"] == 0):
            return 0
        if unlikely(state["multicast"] == 0) and load8(net + IP_DST) >> 4 == 14:
            return 0
        ttl = load8(net + IP_TTL)
        if unlikely(ttl <= 1):
            return DROP
        # TTL is the low byte of its word in host order: the word loses one, so the checksum gains one, with the
        # carry brought round, and 0xffff written as 0 (RFC 1624, section 3).
        store8(net + IP_TTL, ttl - 1)
        total = load16(net + IP_SUM) + 1
        store16(net + IP_SUM, total + (total >= 0xFFFF))
        return 0


class FixIPSrc(Element):
    """Sets the source of packets that ask for it: ICMP errors, once their way out is known.

    Syntax: `FixIPSrc(ADDR)`
    """

    cycles = 20
    arguments = (Argument("ADDR", ip, live=True),)
    state = {"addr": "i8"}
    reasons = ("no_ip_header",)

    @staticmethod
    def process(state, packet):
        if unlikely(packet["fix_src"]):
            net = packet["net"]
            if net == 0:
                return DROP
            packet["fix_src"] = 0
            high, low = load16(net + IP_SRC), load16(net + IP_SRC + 2)
            put_be32(net + IP_SRC, state["addr"])
            replace16(net + IP_SUM, high, load16(net + IP_SRC))
            replace16(net + IP_SUM, low, load16(net + IP_SRC + 2))
        return 0


class SetIPAddress(Element):
    """Sets the destination annotation to ADDR.

    Syntax: `SetIPAddress(ADDR)`
    """

    arguments = (Argument("ADDR", ip, live=True),)
    state = {"addr": "i8"}

    @staticmethod
    def process(state, packet):
        packet["dst"] = state["addr"]
        return 0
