# SPDX-License-Identifier: MIT
"""Merging: TCP segments of one flow, one after the other, leave as one super-frame, as the kernel's GRO merges them.

Only what a receiver could not tell from the segments is merged: the same headers but for length, identification,
sequence number and checksums; consecutive; checksums that hold, since the super-frame gets new ones.
"""

from __future__ import annotations

from shm.intrinsics import be16, be32, copy, kernel, load8, put_be16, record, store8, store16
from shm.offload_layout import MERGE, MOST, VNET, VNET_NEEDS_SUM, VNET_SIZE, VNET_TCPV4, VNET_TCPV6
from workers.datapath.checksum import add_up, is_right
from workers.datapath.headers import IP_FRAGMENT, IP_ID, IP_LENGTH, IP_PROTOCOL, IP_SIZE, IP_SUM, TYPE_IP
from workers.datapath.tcp import (
    ACK,
    IPV6_LENGTH,
    IPV6_NEXT,
    IPV6_SIZE,
    PROTOCOL_TCP,
    PSH,
    TCP_ACK,
    TCP_FLAGS,
    TCP_OFFSET,
    TCP_SEQUENCE,
    TCP_SIZE,
    TCP_SUM,
    TYPE_IPV6,
    pseudo_sum,
    sum_holds,
)
from workers.wire.segmentation import net_offset

MERGE_RECORD = MERGE.dtype
_PLAIN = 0x45
_DONT = 0x4000


@kernel
def payload_offset(frame, length):
    """Return where the payload of a TCP segment that may be merged begins, 0 for any other frame."""
    net = net_offset(frame, length)
    if length < net + IP_SIZE + TCP_SIZE:
        return 0
    version, at = be16(frame + net - 2), frame + net
    if version == TYPE_IP:
        segment = net + IP_SIZE
        # No options; no fragment, though it may be forbidden to make one; nothing after the packet.
        if load8(at) != _PLAIN or load8(at + IP_PROTOCOL) != PROTOCOL_TCP or be16(at + IP_FRAGMENT) & ~_DONT:
            return 0
        if be16(at + IP_LENGTH) != length - net or not is_right(at, IP_SIZE):
            return 0
    elif version == TYPE_IPV6:
        segment = net + IPV6_SIZE
        if length < segment + TCP_SIZE or load8(at + IPV6_NEXT) != PROTOCOL_TCP:
            return 0
        if be16(at + IPV6_LENGTH) != length - segment:
            return 0
    else:
        return 0
    size = (load8(frame + segment + TCP_OFFSET) >> 4) * 4
    if size < TCP_SIZE or segment + size >= length:
        return 0
    if load8(frame + segment + TCP_FLAGS) & ~PSH != ACK:
        return 0
    return segment + size


@kernel
def same_bytes(one, other, size):
    """Return whether two ranges hold the same."""
    for i in range(size):
        if load8(one + i) != load8(other + i):
            return 0
    return 1


@kernel
def same_flow(one, other, net, payload):
    """Return whether two segments with equal offsets have the same headers but for what may differ."""
    if same_bytes(one, other, net) == 0:
        return 0
    if be16(one + net - 2) == TYPE_IP:
        segment = net + IP_SIZE
        # All but length, identification and checksum.
        if same_bytes(one + net, other + net, IP_LENGTH) == 0:
            return 0
        if same_bytes(one + net + IP_FRAGMENT, other + net + IP_FRAGMENT, IP_SUM - IP_FRAGMENT) == 0:
            return 0
        if same_bytes(one + net + IP_SUM + 2, other + net + IP_SUM + 2, IP_SIZE - IP_SUM - 2) == 0:
            return 0
    else:
        segment = net + IPV6_SIZE
        if same_bytes(one + net, other + net, IPV6_LENGTH) == 0:
            return 0
        if same_bytes(one + net + IPV6_NEXT, other + net + IPV6_NEXT, IPV6_SIZE - IPV6_NEXT) == 0:
            return 0
    ports = same_bytes(one + segment, other + segment, TCP_SEQUENCE)
    acknowledged = same_bytes(one + segment + TCP_ACK, other + segment + TCP_ACK, TCP_FLAGS - TCP_ACK)
    window = same_bytes(one + segment + TCP_FLAGS + 1, other + segment + TCP_FLAGS + 1, 2)
    rest = segment + TCP_SUM + 2
    return ports and acknowledged and window and same_bytes(one + rest, other + rest, payload - rest)


@kernel
def begin_merge(merge, frame, length):
    """Let a super-frame begin with a frame, whatever it is; the one before has left."""
    state = record(merge, MERGE_RECORD)
    copy(state["buffer"], frame, length)
    payload, net = payload_offset(frame, length), net_offset(frame, length)
    state["length"], state["net"], state["payload"], state["count"] = length, net, payload, 1
    state["open"] = 0
    if payload:
        segment = frame + net + (IP_SIZE if be16(frame + net - 2) == TYPE_IP else IPV6_SIZE)
        state["segment"] = length - payload
        state["next"] = (be32(segment + TCP_SEQUENCE) + length - payload) & 0xFFFFFFFF
        whole = sum_holds(frame + net, be16(frame + net - 2), PROTOCOL_TCP, segment, frame + length - segment)
        state["open"] = 1 if whole and load8(segment + TCP_FLAGS) == ACK else 0


@kernel
def merge_into(merge, frame, length):
    """Append a frame to the super-frame if it continues it; return whether it did."""
    state = record(merge, MERGE_RECORD)
    if state["open"] == 0 or payload_offset(frame, length) != state["payload"]:
        return 0
    net, payload, size = state["net"], state["payload"], length - state["payload"]
    if net_offset(frame, length) != net or size > state["segment"] or state["length"] + size > MOST - 4:
        return 0
    buffer, version = state["buffer"], be16(frame + net - 2)
    segment = frame + net + (IP_SIZE if version == TYPE_IP else IPV6_SIZE)
    if be32(segment + TCP_SEQUENCE) != state["next"] or same_flow(buffer, frame, net, payload) == 0:
        return 0
    # The receiver counts identifications up from the first; that of a packet that is not to be fragmented means
    # nothing (RFC 6864, section 4.1).
    expected = (be16(buffer + net + IP_ID) + state["count"]) & 0xFFFF
    atomic = version != TYPE_IP or be16(frame + net + IP_FRAGMENT) & _DONT
    if not atomic and be16(frame + net + IP_ID) != expected:
        return 0
    if not sum_holds(frame + net, version, PROTOCOL_TCP, segment, frame + length - segment):
        return 0
    copy(buffer + state["length"], frame + payload, size)
    state["length"] += size
    state["count"] += 1
    state["next"] = (state["next"] + size) & 0xFFFFFFFF
    flags = load8(segment + TCP_FLAGS)
    if flags & PSH or size < state["segment"]:
        # The last: a short one, or one that is to be passed on at once.
        held = buffer + (segment - frame) + TCP_FLAGS
        store8(held, load8(held) | flags)
        state["open"] = 0
    return 1


@kernel
def finish_merge(merge):
    """Write the VNET header, which ends where the super-frame begins; return the address of both.

    A super-frame gets its IP length and checksum, and the sum of its pseudo header.
    """
    state = record(merge, MERGE_RECORD)
    buffer, length, net = state["buffer"], state["length"], state["net"]
    vnet = buffer - VNET_SIZE
    for i in range(VNET_SIZE):
        store8(vnet + i, 0)
    state["open"] = 0
    if state["count"] == 1:
        return vnet
    version = be16(buffer + net - 2)
    segment = net + (IP_SIZE if version == TYPE_IP else IPV6_SIZE)
    if version == TYPE_IP:
        put_be16(buffer + net + IP_LENGTH, length - net)
        store16(buffer + net + IP_SUM, 0)
        store16(buffer + net + IP_SUM, ~add_up(buffer + net, IP_SIZE))
    else:
        put_be16(buffer + net + IPV6_LENGTH, length - segment)
    put_be16(buffer + segment + TCP_SUM, pseudo_sum(buffer + net, version, PROTOCOL_TCP, length - segment))
    store8(vnet + VNET["flags"], VNET_NEEDS_SUM)
    store8(vnet + VNET["gso_type"], VNET_TCPV4 if version == TYPE_IP else VNET_TCPV6)
    store16(vnet + VNET["header_size"], state["payload"])
    store16(vnet + VNET["gso_size"], state["segment"])
    store16(vnet + VNET["sum_start"], segment)
    store16(vnet + VNET["sum_offset"], TCP_SUM)
    return vnet
