# SPDX-License-Identifier: MIT
"""The Internet checksum (RFC 1071), and how it changes with one word (RFC 1624)."""

from __future__ import annotations

from shm.intrinsics import be16, kernel, load8, load16, load32, store16, unlikely
from workers.datapath.headers import IP_LENGTH, IP_SIZE

#: First byte of nearly every IP header: version 4, five words.
PLAIN = 0x45


@kernel
def fold(total):
    """Fold a sum of 16-bit or 32-bit words into 16 bits."""
    total = (total & 0xFFFF) + (total >> 16 & 0xFFFF) + (total >> 32)
    total = (total & 0xFFFF) + (total >> 16)
    return (total & 0xFFFF) + (total >> 16)


@kernel
def add_up(address, size):
    """Return the folded one's-complement sum of `size` bytes, in host order.

    One's-complement sums do not depend on byte order (RFC 1071, section 2 B), so whole host words do.
    """
    total = 0
    end = address + size
    while address + 4 <= end:
        total += load32(address)
        address += 4
    if address + 2 <= end:
        total += load16(address)
        address += 2
    if address < end:
        total += load8(address)
    return fold(total)


@kernel
def is_right(address, size):
    """Return whether the checksum of an IP header holds; unrolled for the usual 20 bytes."""
    total = load32(address) + load32(address + 4) + load32(address + 8) + load32(address + 12) + load32(address + 16)
    at = address + 20
    while unlikely(at < address + size):
        total += load32(at)
        at += 4
    # A sum that is right folds to 0xffff: it is what 0xffff divides, and not 0.
    total = (total & 0xFFFFFFFF) + (total >> 32)
    total = (total & 0xFFFF) + (total >> 16)
    return total == 0xFFFF or total == 0x1FFFE


@kernel
def header_fault(net, room, summed):
    """Return what is wrong with an IP header of which `room` bytes are there (RFC 1812, section 5.2.2), 0 for nothing.

    -1: it does not fit; -2: version; -3: header length; -4: total length; -5: checksum, where `summed`.
    """
    if unlikely(room < IP_SIZE):
        return -1
    first = load8(net)
    size = (first & 15) * 4
    if unlikely(first != PLAIN):
        if first >> 4 != 4:
            return -2
        if size < IP_SIZE or size > room:
            return -3
    total = be16(net + IP_LENGTH)
    if unlikely(total < size or total > room):
        return -4
    if summed and unlikely(not is_right(net, size)):
        return -5
    return 0


@kernel
def replace16(address, old, new):
    """Update the checksum word at `address` for a 16-bit word that changed (RFC 1624, equation 3).

    All three are in host order.
    """
    total = (~load16(address) & 0xFFFF) + (~old & 0xFFFF) + (new & 0xFFFF)
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    store16(address, ~total)


def checksum(data: bytes | bytearray) -> int:
    """Return the checksum of bytes, for the slow path; network order as an integer."""
    # Words of base 2**16 summed with end-around carry: the number they make, modulo 2**16 - 1.
    number = int.from_bytes(bytes(data) + b"\0" * (len(data) % 2), "big")
    total = number % 0xFFFF or (0xFFFF if number else 0)
    return ~total & 0xFFFF
