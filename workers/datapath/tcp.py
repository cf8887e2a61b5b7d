# SPDX-License-Identifier: MIT
"""TCP and UDP headers, and checksums that cover a pseudo header (RFC 9293, section 3.1; RFC 8200, section 8.1)."""

from __future__ import annotations

import sys

from shm.intrinsics import kernel, store16, unlikely
from workers.datapath.checksum import add_up, fold
from workers.datapath.headers import IP_SRC, TYPE_IP

# TCP (RFC 9293, section 3.1).
TCP_SEQUENCE = 4
TCP_ACK = 8
TCP_OFFSET = 12
TCP_FLAGS = 13
TCP_SUM = 16
TCP_SIZE = 20
FIN, PSH, ACK, CWR = 1, 8, 16, 128
PROTOCOL_TCP = 6

# UDP (RFC 768).
UDP_LENGTH = 4
UDP_SUM = 6
UDP_SIZE = 8
PROTOCOL_UDP = 17

# IPv6 (RFC 8200, section 3).
TYPE_IPV6 = 0x86DD
IPV6_LENGTH = 4
IPV6_NEXT = 6
IPV6_SRC = 8
IPV6_SIZE = 40


#: Sums of words come in the host's order (RFC 1071, section 2 B).
_LITTLE = sys.byteorder == "little"


@kernel
def in_network_order(word):
    """Return a 16-bit sum of words that were read in the host's order as if they had been read in the network's."""
    return (word & 0xFF) << 8 | word >> 8 if _LITTLE else word


@kernel
def pseudo_sum(net, ether_type, protocol, size):
    """Return the sum, in network order, of the pseudo header of a segment of `size` bytes; `net` is its IP header."""
    addresses = add_up(net + IP_SRC, 8) if ether_type == TYPE_IP else add_up(net + IPV6_SRC, 32)
    return fold(in_network_order(addresses) + protocol + size)


@kernel
def complete_sum(segment, size, field):
    """Complete the checksum at `field`, which holds its pseudo header's sum, for the `size` bytes at `segment`.

    That is what a sender leaves to the device (virtio, section 5.1.6.2).
    """
    total = ~add_up(segment, size) & 0xFFFF
    # A UDP checksum of 0 would mean that there is none; to TCP both are the same number.
    store16(field, 0xFFFF if unlikely(total == 0) else total)


@kernel
def sum_holds(net, ether_type, protocol, segment, size):
    """Return whether the checksum of a TCP or UDP segment of `size` bytes is right."""
    return fold(pseudo_sum(net, ether_type, protocol, size) + in_network_order(add_up(segment, size))) == 0xFFFF
