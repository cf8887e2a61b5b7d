# SPDX-License-Identifier: MIT
"""Fragmentation (RFC 791 section 3.2, RFC 1812 section 5.2.6)."""

from __future__ import annotations

from collections.abc import Iterator

from shm.intrinsics import be16, unlikely
from workers.arguments import Argument, between, boolean
from workers.datapath.checksum import checksum
from workers.datapath.headers import IP_FRAGMENT, IP_ID, IP_LENGTH, IP_SIZE, IP_SUM, get16, put16
from workers.datapath.packet import DROP, PUNT
from workers.element import Drop, Element, SlowPacket

_DONT, _MORE, _PLACE = 0x4000, 0x2000, 0x1FFF


class IPFragmenter(Element):
    """Fragments packets longer than MTU; those that must not be go to output 1.

    Syntax: `IPFragmenter(MTU [, HONOR_DF h, VERBOSE v, HEADROOM r])`

    MTU is the length of the largest IP packet. HONOR_DF false fragments in spite of "don't fragment", which
    the fragments do not carry any more; they get an identification of their own (RFC 6864).
    Fragments leave in order. Packets that fit take the fast path.
    """

    cycles = 40
    ports = "1/1-2"
    processing = "h/h"
    bad_port = 1
    arguments = (
        Argument("MTU", between(68, 65535), live=True),
        Argument("HONOR_DF", boolean, True),
        Argument("VERBOSE", boolean, False),
        Argument("HEADROOM", between(0, 1024), 28, keyword=True),
    )
    state = {"mtu": "i8", "honor_df": "i8", "identification": "i8"}
    reasons = ("too_long", "no_ip_header", "ip_length")

    @staticmethod
    def process(state, packet):
        if not unlikely(packet["length"] > state["mtu"]):
            return 0
        net = packet["net"]
        if net == 0:
            return DROP - 1
        if be16(net + IP_LENGTH) <= state["mtu"]:
            return 0
        if state["honor_df"] and be16(net + IP_FRAGMENT) & _DONT:
            return DROP
        return PUNT

    @staticmethod
    def slow(state, packet, port, context):
        net, size, mtu = packet.net, packet.ip_header(), int(state["mtu"])
        if net is None or size == 0:
            yield Drop("no_ip_header")
            return
        total, flags = get16(packet.data, net + IP_LENGTH), get16(packet.data, net + IP_FRAGMENT)
        if not size <= total <= len(packet.data) - net or (flags & _PLACE) * 8 + total - size > 0xFFFF:
            yield Drop("ip_length")
            return
        if total <= mtu:
            yield 0, packet  # the MTU is another by now
            return
        if flags & _DONT and not flags & (_MORE | _PLACE):
            # What was never to be fragmented need not have an identification of its own (RFC 6864, section 4.1).
            state["identification"] = (int(state["identification"]) + 1) & 0xFFFF
            put16(packet.data, net + IP_ID, int(state["identification"]))
        for piece in fragments(packet, net, size, mtu):
            yield 0, piece


def fragments(packet: SlowPacket, net: int, size: int, mtu: int) -> Iterator[SlowPacket]:
    """Yield the fragments, in order, of a packet whose IP header of `size` bytes is at `net`."""
    head = packet.data[:net]
    header = packet.data[net : net + size]
    total = get16(header, IP_LENGTH)
    payload = packet.data[net + size : net + total]
    flags = get16(header, IP_FRAGMENT)
    later = header[:IP_SIZE] + _copied_options(header[IP_SIZE:])
    later[0] = 0x40 | len(later) // 4
    done = 0
    while done < len(payload):
        first = header if done == 0 else later
        room = (mtu - len(first)) // 8 * 8
        part = payload[done : done + room]
        more = _MORE if done + len(part) < len(payload) else flags & _MORE
        out = bytearray(first)
        put16(out, IP_LENGTH, len(first) + len(part))
        put16(out, IP_FRAGMENT, flags & ~(_DONT | _MORE | _PLACE) & 0xFFFF | more | (flags & _PLACE) + done // 8)
        put16(out, IP_SUM, 0)
        put16(out, IP_SUM, checksum(out))
        piece = packet.copy()
        piece.data = head + out + part
        yield piece
        done += len(part)


def _copied_options(options: bytearray) -> bytearray:
    """Return the options that every fragment carries: those with the copied flag (RFC 791)."""
    kept = bytearray()
    at = 0
    while at < len(options) and options[at] != 0:
        size = 1 if options[at] == 1 else options[at + 1] if at + 1 < len(options) else 0
        if size < 1 or at + size > len(options):
            break
        if options[at] & 0x80:
            kept += options[at : at + size]
        at += size
    return kept + bytes(-len(kept) % 4)
