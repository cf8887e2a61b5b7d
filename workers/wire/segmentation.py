# SPDX-License-Identifier: MIT
"""Segmentation: a super-frame that a host's stack has left to the device becomes frames of its links' size.

The stack marks it by a VNET header: TCP and UDP segmentation offload (virtio, section 5.1.6.2). Each frame has the
headers of the whole, with its own length, identification, sequence number, flags and checksums.
"""

from __future__ import annotations

from shm.intrinsics import be16, be32, copy, kernel, load8, load16, put_be16, put_be32, store8, store16
from shm.offload_layout import VNET, VNET_ECN, VNET_TCPV4, VNET_TCPV6, VNET_UDP
from workers.datapath.checksum import add_up
from workers.datapath.headers import (
    ETHER_SIZE,
    ETHER_TYPE,
    IP_ID,
    IP_LENGTH,
    IP_SIZE,
    IP_SUM,
    TYPE_IP,
    TYPE_VLAN,
    VLAN_TAG_SIZE,
)
from workers.datapath.tcp import (
    CWR,
    FIN,
    IPV6_LENGTH,
    IPV6_SIZE,
    PROTOCOL_TCP,
    PROTOCOL_UDP,
    PSH,
    TCP_FLAGS,
    TCP_OFFSET,
    TCP_SEQUENCE,
    TCP_SIZE,
    TCP_SUM,
    TYPE_IPV6,
    UDP_LENGTH,
    UDP_SIZE,
    UDP_SUM,
    complete_sum,
    pseudo_sum,
)

#: Ethernet types of VLAN tags that the IP header may come after (IEEE 802.1Q).
_TYPE_SERVICE_TAG = 0x88A8


@kernel
def net_offset(frame, length):
    """Return where a frame's network header begins, after its VLAN tags, at most two."""
    at = ETHER_TYPE
    for _ in range(2):
        kind = be16(frame + at) if at + 2 <= length else 0
        if kind in (TYPE_VLAN, _TYPE_SERVICE_TAG):
            at += VLAN_TAG_SIZE
    return at + 2


@kernel
def headers_size(frame, length, vnet):
    """Return the size of the headers that each segment of a super-frame repeats, 0 if it is none that can be cut."""
    kind, segment = load8(vnet + VNET["gso_type"]) & ~VNET_ECN, load16(vnet + VNET["sum_start"])
    net = net_offset(frame, length)
    version = be16(frame + net - 2) if length > ETHER_SIZE + IP_SIZE else 0
    least = IP_SIZE if version == TYPE_IP else IPV6_SIZE
    if segment < net + least or load16(vnet + VNET["gso_size"]) == 0:
        return 0
    if (version == TYPE_IP and kind == VNET_TCPV4) or (version == TYPE_IPV6 and kind == VNET_TCPV6):
        size = (load8(frame + segment + TCP_OFFSET) >> 4) * 4 if segment + TCP_SIZE <= length else 0
        return segment + size if size >= TCP_SIZE and segment + size < length else 0
    if version in (TYPE_IP, TYPE_IPV6) and kind == VNET_UDP:
        return segment + UDP_SIZE if segment + UDP_SIZE < length else 0
    return 0


@kernel
def segment_count(length, headers, size):
    """Return how many segments of `size` bytes of payload a super-frame of `length` bytes becomes."""
    return (length - headers + size - 1) // size


@kernel
def cut(frame, length, vnet, headers, number, target):
    """Write segment `number` of a super-frame, whose `headers` :func:`headers_size` has given; return its length.

    `target` has room for the headers and the VNET header's `gso_size` bytes.
    """
    size, start = load16(vnet + VNET["gso_size"]), load16(vnet + VNET["sum_start"])
    first = headers + number * size
    payload = length - first if length - first < size else size
    last = first + payload == length
    copy(target, frame, headers)
    copy(target + headers, frame + first, payload)
    net = target + net_offset(frame, length)
    version = be16(net - 2)
    segment, rest = target + start, headers - start + payload
    if version == TYPE_IP:
        put_be16(net + IP_LENGTH, segment + rest - net)
        put_be16(net + IP_ID, be16(net + IP_ID) + number)
        store16(net + IP_SUM, 0)
        store16(net + IP_SUM, ~add_up(net, (load8(net) & 15) * 4))
    else:
        put_be16(net + IPV6_LENGTH, segment + rest - net - IPV6_SIZE)
    if load8(vnet + VNET["gso_type"]) & ~VNET_ECN == VNET_UDP:
        put_be16(segment + UDP_LENGTH, rest)
        put_be16(segment + UDP_SUM, pseudo_sum(net, version, PROTOCOL_UDP, rest))
        complete_sum(segment, rest, segment + UDP_SUM)
    else:
        put_be32(segment + TCP_SEQUENCE, be32(segment + TCP_SEQUENCE) + number * size)
        # What ends a stream, or is to be passed on at once, is in its last bytes; a reduced window shows in the first.
        hidden = (0 if last else FIN | PSH) | (CWR if number else 0)
        store8(segment + TCP_FLAGS, load8(segment + TCP_FLAGS) & ~hidden)
        put_be16(segment + TCP_SUM, pseudo_sum(net, version, PROTOCOL_TCP, rest))
        complete_sum(segment, rest, segment + TCP_SUM)
    return headers + payload
