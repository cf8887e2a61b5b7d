# SPDX-License-Identifier: MIT
"""Records of offloads: super-frames, which a host's stack exchanges with a device in place of many frames."""

from __future__ import annotations

from shm.layout import LINE, Layout

#: What precedes each frame on a socket or TAP with PACKET_VNET_HDR or IFF_VNET_HDR (virtio, section 5.1.6).
VNET = Layout(
    "vnet",
    {
        "flags": "u1",
        "gso_type": "u1",
        "header_size": "u2",
        "gso_size": "u2",
        "sum_start": "u2",
        "sum_offset": "u2",
    },
)
#: Bytes of it on a socket.
VNET_SIZE = 10
#: The checksum is the receiver's to complete.
VNET_NEEDS_SUM = 1
VNET_TCPV4, VNET_TCPV6, VNET_UDP, VNET_ECN = 1, 4, 5, 0x80

#: The largest super-frame: an IP packet of 65,535 bytes, its Ethernet header and a VLAN tag.
MOST = 65535 + 14 + 4

#: Segments of one flow that leave as one super-frame.
MERGE = Layout(
    "merge",
    {
        "buffer": "i8",  # set once: address of the super-frame; its VNET header ends there
        "length": "i8",  # bytes of it so far, 0: there is none
        "net": "i8",  # offset of its IP header
        "payload": "i8",  # offset of what comes after its TCP header
        "segment": "i8",  # payload of each segment but the last
        "count": "i8",  # segments
        "next": "i8",  # the sequence number that comes next
        "open": "i8",  # 1 while another segment may follow
    },
    size=LINE,
)
