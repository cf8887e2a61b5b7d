# SPDX-License-Identifier: MIT
"""IP options in a gateway (RFC 791 section 3.1, RFC 1812 section 5.2.4 and 5.3.13)."""

from __future__ import annotations

from typing import Any

from shm.intrinsics import load8, unlikely
from workers.arguments import Argument, ArgumentError, ip
from workers.datapath.checksum import checksum
from workers.datapath.headers import IP_SIZE, IP_SUM, get32, put16, put32
from workers.datapath.packet import DROP, PUNT
from workers.element import Drop, Element
from workers.elements.ip import addresses

_END, _NOP, _RECORD_ROUTE, _TIMESTAMP = 0, 1, 7, 68
#: Addresses that OTHERADDRS may list.
_OTHERS = 15


class IPGWOptions(Element):
    """Fills in Record Route and Timestamp options; packets with malformed ones go to output 1.

    Syntax: `IPGWOptions(MYADDR [, OTHERADDRS])`

    MYADDR is recorded. OTHERADDRS are further addresses of this router, for prespecified timestamps.
    Output 1 gets the parameter-problem annotation (RFC 1812, section 5.3.13). Packets without options take
    the fast path.
    """

    cycles = 40
    ports = "1/1-2"
    processing = "a/ah"
    bad_port = 1
    arguments = (Argument("MYADDR", ip, live=True), Argument("OTHERADDRS", addresses, []))
    state = {"myaddr": "i8", "others": f"{_OTHERS}*i8", "other_count": "i8"}
    reasons = ("ip_options", "no_ip_header")

    @classmethod
    def check(cls, values: dict[str, Any]) -> list[Any]:
        count = len(values["otheraddrs"])
        return [ArgumentError(f"OTHERADDRS: {count} addresses; at most {_OTHERS}")] if count > _OTHERS else []

    @classmethod
    def set_up(cls, state: Any, values: dict[str, Any]) -> None:
        others = values["otheraddrs"]
        state["others"][: len(others)] = others
        state["other_count"] = len(others)

    @staticmethod
    def process(state, packet):
        net = packet["net"]
        if unlikely(net == 0):
            return DROP - 1
        if unlikely(load8(net) & 15 > 5):
            return PUNT
        return 0

    @staticmethod
    def slow(state, packet, port, context):
        if packet.ip_header() == 0:
            yield Drop("no_ip_header")
            return
        mine = {int(state["myaddr"]), *(int(a) for a in state["others"][: int(state["other_count"])])}
        milliseconds = context.midnight_ms()
        wrong = fill_options(packet.data, packet.net, int(state["myaddr"]), mine, milliseconds)
        if wrong is None:
            yield 0, packet
        else:
            packet.param_off = wrong
            yield Drop("ip_options", packet)


def fill_options(data: bytearray, net: int, address: int, mine: set[int], milliseconds: int) -> int | None:
    """Record this router in the options of the header at `net`, in place.

    Returns
    -------
    int or None
        Offset in the header of the octet that is wrong (RFC 792, parameter problem); None if all is well.
    """
    end = net + (data[net] & 15) * 4
    at, changed = net + IP_SIZE, False
    while at < end:
        kind = data[at]
        if kind == _END:
            break
        if kind == _NOP:
            at += 1
            continue
        size = data[at + 1] if at + 1 < end else 0
        if size < 2 or at + size > end:
            return at + 1 - net if at + 1 < end else at - net
        if kind == _RECORD_ROUTE:
            wrong = _record_route(data, at, size, address)
        elif kind == _TIMESTAMP:
            wrong = _timestamp(data, at, size, address, mine, milliseconds)
        else:
            wrong = None
        if wrong is not None:
            return at + wrong - net
        changed |= kind in (_RECORD_ROUTE, _TIMESTAMP)
        at += size
    if changed:
        put16(data, net + IP_SUM, 0)
        put16(data, net + IP_SUM, checksum(data[net:end]))
    return None


def _record_route(data: bytearray, at: int, size: int, address: int) -> int | None:
    if size < 3:
        return 1
    pointer = data[at + 2]
    if pointer < 4:
        return 2
    if pointer > size:
        return None  # full: passed on as it is
    if pointer + 3 > size:
        return 2
    put32(data, at + pointer - 1, address)
    data[at + 2] = pointer + 4
    return None


def _timestamp(data: bytearray, at: int, size: int, address: int, mine: set[int], now: int) -> int | None:
    """RFC 791: flag 0 stamps only, 1 addresses too, 3 only where the next address is ours."""
    if size < 4:
        return 1
    pointer, overflow, flag = data[at + 2], data[at + 3] >> 4, data[at + 3] & 15
    if pointer < 5:
        return 2
    if flag not in (0, 1, 3):
        return 3
    entry = 4 if flag == 0 else 8
    if pointer > size:
        if overflow == 15:
            return 3  # the counter of routers without room would wrap
        data[at + 3] = (overflow + 1) << 4 | flag
        return None
    if pointer + entry - 1 > size:
        return 2
    place = at + pointer - 1
    if flag == 3:
        if get32(data, place) not in mine:
            return None
    elif flag == 1:
        put32(data, place, address)
    put32(data, place + entry - 4, now)
    data[at + 2] = pointer + entry
    return None
