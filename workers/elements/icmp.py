# SPDX-License-Identifier: MIT
"""ICMP errors (RFC 792; RFC 1812, section 4.3)."""

from __future__ import annotations

from typing import Any

from workers.arguments import Argument, ArgumentError, between, boolean, integer, ip
from workers.datapath.checksum import checksum
from workers.datapath.headers import (
    IP_DST,
    IP_FRAGMENT,
    IP_ID,
    IP_LENGTH,
    IP_PROTOCOL,
    IP_SIZE,
    IP_SRC,
    IP_SUM,
    IP_TOS,
    IP_TTL,
    get16,
    get32,
    put16,
    put32,
)
from workers.datapath.packet import HOST
from workers.element import Drop, Element, SlowPacket
from workers.elements.ip import addresses

_TYPES = {"unreachable": 3, "sourcequench": 4, "redirect": 5, "timeexceeded": 11, "parameterproblem": 12}
_CODES = {
    3: {"net": 0, "host": 1, "protocol": 2, "port": 3, "needfrag": 4, "srcroutefailed": 5},
    5: {"net": 0, "host": 1, "tosnet": 2, "toshost": 3},
    11: {"transit": 0, "reassembly": 1},
    12: {"erroratptr": 0, "missingopt": 1, "length": 2},
}
#: ICMP messages about which no error is sent (RFC 1812, section 4.3.2.7).
_ERRORS = {3, 4, 5, 11, 12}
#: Addresses that BADADDRS may list.
_BAD = 32
_LOOSE, _STRICT = 131, 137
_ICMP_SUM = 2
_ECHO_REPLY, _ECHO = 0, 8
#: What a datagram of the router's own begins with (RFC 1122, section 3.2.1.7; the number that IANA recommends).
_OWN_TTL = 64


def icmp_type(text: str) -> int:
    """Parse an ICMP error type: a name or a number."""
    if text in _TYPES:
        return _TYPES[text]
    value = integer(text)
    if value not in _ERRORS:
        raise ValueError(f"{value} is not an ICMP error type: {', '.join(f'{n} ({v})' for n, v in _TYPES.items())}")
    return value


class ICMPError(Element):
    """Answers a packet with an ICMP error message, on the slow path.

    Syntax: `ICMPError(SRC, TYPE [, CODE, BADADDRS, MTU, PMTU p, SET_FIX_ANNO s])`

    TYPE is unreachable, redirect, timeexceeded, parameterproblem or a number; CODE a name or a number, 0
    by default. None is sent about ICMP errors, fragments but the first, link-level broadcasts, packets
    from or to an address that is not one host's, or in BADADDRS (RFC 1812, section 4.3.2.7). The message is
    at most MTU bytes (576). PMTU is reported with "fragmentation needed" (RFC 1191). The gateway of a redirect
    is the destination annotation. A source route is reversed. The output goes back to the lookup; SET_FIX_ANNO
    (true by default) asks FixIPSrc to set the source to that of the way out.
    """

    processing = "h/h"
    arguments = (
        Argument("SRC", ip, live=True),
        Argument("TYPE", icmp_type),
        Argument("CODE", str, "0"),
        Argument("BADADDRS", addresses, []),
        Argument("MTU", between(68, 1500), 576),
        Argument("PMTU", between(0, 65535), 0, keyword=True),
        Argument("SET_FIX_ANNO", boolean, True, keyword=True),
    )
    state = {
        "src": "i8",
        "type": "i8",
        "code": "i8",
        "mtu": "i8",
        "pmtu": "i8",
        "set_fix_anno": "i8",
        "bad": f"{_BAD}*i8",
        "bad_count": "i8",
        "identification": "i8",
    }
    reasons = ("icmp_not_due",)

    @classmethod
    def set_up(cls, state: Any, values: dict[str, Any]) -> None:
        state["code"] = cls._code(values)
        state["bad"][: len(values["badaddrs"])] = values["badaddrs"]
        state["bad_count"] = len(values["badaddrs"])

    @staticmethod
    def _code(values: dict[str, Any]) -> int:
        names = _CODES.get(values["type"], {})
        return names[values["code"]] if values["code"] in names else between(0, 255)(values["code"])

    @classmethod
    def check(cls, values: dict[str, Any]) -> list[Any]:
        try:
            cls._code(values)
        except ValueError as error:
            names = ", ".join(_CODES.get(values["type"], {}))
            return [ArgumentError(f"CODE: {error}, nor one of {names}" if names else f"CODE: {error}")]
        if len(values["badaddrs"]) > _BAD:
            return [ArgumentError(f"BADADDRS: {len(values['badaddrs'])} addresses; at most {_BAD}")]
        return []

    @staticmethod
    def slow(state, packet, port, context):
        bad = {int(a) for a in state["bad"][: int(state["bad_count"])]}
        if not due(packet, bad):
            yield Drop("icmp_not_due")
            return
        state["identification"] = (int(state["identification"]) + 1) & 0xFFFF
        yield 0, message(packet, state)


class ICMPPingResponder(Element):
    """Answers echo requests to the router's own addresses, on the slow path (RFC 1812, section 4.3.3.6).

    Syntax: `ICMPPingResponder`

    Takes IP packets without link header. The reply's destination annotation is where the request came from: the output
    goes back to the lookup. What is no whole echo request to one host goes to output 1 if it is connected.
    """

    ports = "1/1-2"
    processing = "a/ah"
    bad_port = 1
    reasons = ("no_echo_request",)

    @staticmethod
    def slow(state, packet, port, context):
        reply = echo_reply(packet)
        yield Drop("no_echo_request", packet) if reply is None else (0, reply)


def echo_reply(packet: SlowPacket) -> SlowPacket | None:
    """Return the answer to an echo request (RFC 792), None if `packet` is none that is answered."""
    net, size = packet.net, packet.ip_header()
    if net is None or size == 0 or packet.type != HOST:
        return None
    data = bytearray(packet.data[net : net + get16(packet.data, net + IP_LENGTH)])
    # Its total length may say less than its header has.
    if len(data) < size + 8 or data[IP_PROTOCOL] != 1 or data[size] != _ECHO or get16(data, IP_FRAGMENT) & 0x3FFF:
        return None
    source, target = get32(data, IP_SRC), get32(data, IP_DST)
    if _no_host(source) or _group(target) or checksum(data[size:]) != 0:
        return None
    back, options = reverse_route(data[IP_SIZE:size], source)
    body = data[size:]
    body[0] = _ECHO_REPLY
    put16(body, _ICMP_SUM, 0)
    put16(body, _ICMP_SUM, checksum(body))
    header = data[:IP_SIZE]
    header[0] = 0x40 | (IP_SIZE + len(options)) // 4
    header[IP_TTL] = _OWN_TTL
    put16(header, IP_LENGTH, IP_SIZE + len(options) + len(body))
    put32(header, IP_SRC, target)
    put32(header, IP_DST, back)
    put16(header, IP_SUM, 0)
    header += options
    put16(header, IP_SUM, checksum(header))
    return SlowPacket(header + body, net=0, dst=back, time=packet.time, device=packet.device)


def due(packet: SlowPacket, bad: set[int]) -> bool:
    """Return whether an error may be sent about `packet` (RFC 1812, section 4.3.2.7)."""
    net, data, size = packet.net, packet.data, packet.ip_header()
    if net is None or size == 0 or packet.type not in (HOST, 3):
        return False
    source = get32(data, net + IP_SRC)
    target = get32(data, net + IP_DST)
    if get16(data, net + IP_FRAGMENT) & 0x1FFF:
        return False
    if data[net + IP_PROTOCOL] == 1 and len(data) > net + size and data[net + size] in _ERRORS:
        return False
    return not (_no_host(source) or source in bad or target in bad or _group(target))


def _group(address: int) -> bool:
    """Multicast, reserved or limited broadcast (RFC 1112, RFC 919)."""
    return address >> 28 >= 14


def _no_host(address: int) -> bool:
    return _group(address) or address >> 24 in (0, 127)


def message(packet: SlowPacket, state: Any) -> SlowPacket:
    """Return the ICMP error about `packet`, an IP packet without link header."""
    net = packet.net
    assert net is not None
    kind, code = int(state["type"]), int(state["code"])
    original = packet.data[net:]
    size = (original[0] & 15) * 4
    source = get32(original, IP_SRC)
    target, options = reverse_route(original[IP_SIZE:size], source)
    rest = bytes(4)
    if kind == 12 and code == 0:
        rest = bytes([packet.param_off, 0, 0, 0])
    elif kind == 5:
        rest = packet.dst.to_bytes(4, "big")
    elif kind == 3 and code == 4:
        rest = int(state["pmtu"]).to_bytes(4, "big")
    header_size = IP_SIZE + len(options)
    quoted = original[: int(state["mtu"]) - header_size - 8]
    body = bytearray(bytes([kind, code, 0, 0]) + rest + quoted)
    put16(body, _ICMP_SUM, checksum(body))
    header = bytearray(IP_SIZE)
    header[0] = 0x40 | header_size // 4
    header[IP_TOS] = 0xC0  # precedence internetwork control (RFC 1812, section 4.3.2.5)
    put16(header, IP_LENGTH, header_size + len(body))
    put16(header, IP_ID, int(state["identification"]))
    header[IP_TTL], header[IP_PROTOCOL] = 255, 1
    put32(header, IP_SRC, int(state["src"]))
    put32(header, IP_DST, target)
    header += options
    put16(header, IP_SUM, checksum(header))
    return SlowPacket(
        header + body,
        net=0,
        dst=target,
        fix_src=int(state["set_fix_anno"]),
        time=packet.time,
        device=packet.device,
    )


def reverse_route(options: bytes | bytearray, source: int) -> tuple[int, bytes]:
    """Return (destination, options) of an answer along the reversed source route (RFC 1812, 4.3.2.6)."""
    at = 0
    while at + 2 < len(options) and options[at] != 0:
        if options[at] == 1:
            at += 1
            continue
        size = options[at + 1]
        if size < 2:
            break
        if options[at] in (_LOOSE, _STRICT):
            passed = bytes(options[at + 3 : at + min(options[at + 2] - 1, size)])
            hops = [passed[i : i + 4] for i in range(0, len(passed) // 4 * 4, 4)]
            if hops:
                route = [*reversed(hops[:-1]), source.to_bytes(4, "big")]
                option = bytes([options[at], 3 + 4 * len(route), 4]) + b"".join(route)
                return int.from_bytes(hops[-1], "big"), option + bytes(-len(option) % 4)
        at += size
    return source, b""
