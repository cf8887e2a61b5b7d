# SPDX-License-Identifier: MIT
"""Where the fields of packet headers are, in bytes from a header's start, and what reads and writes them."""

from __future__ import annotations

from shm.intrinsics import be16, be32, kernel, put_be16, put_be32

# Ethernet (IEEE 802.3); with a VLAN tag (IEEE 802.1Q) the type comes after it.
ETHER_DST = 0
ETHER_SRC = 6
ETHER_TYPE = 12
ETHER_SIZE = 14
VLAN_TCI = 14
VLAN_TAG_SIZE = 4
TYPE_IP = 0x0800
TYPE_ARP = 0x0806
TYPE_VLAN = 0x8100

# ARP for IPv4 over Ethernet (RFC 826).
ARP_HARDWARE = 0
ARP_PROTOCOL = 2
ARP_OPERATION = 6
ARP_REQUEST = 1
ARP_REPLY = 2
ARP_SENDER_MAC = 8
ARP_SENDER_IP = 14
ARP_TARGET_MAC = 18
ARP_TARGET_IP = 24
ARP_SIZE = 28

# IPv4 (RFC 791).
IP_TOS = 1
IP_LENGTH = 2
IP_ID = 4
IP_FRAGMENT = 6
IP_TTL = 8
IP_PROTOCOL = 9
IP_SUM = 10
IP_SRC = 12
IP_DST = 16
#: Bytes of the shortest header: where an annotation says that there is one, so many are there.
IP_SIZE = 20


@kernel
def load_mac(address):
    """Return the Ethernet address at `address`."""
    return be16(address) << 32 | be32(address + 2)


@kernel
def store_mac(address, mac):
    """Store an Ethernet address at `address`."""
    put_be16(address, mac >> 32)
    put_be32(address + 2, mac)


def get16(data: bytes | bytearray, at: int) -> int:
    """Return the 16-bit field at `at`, for the slow path."""
    return int.from_bytes(data[at : at + 2], "big")


def get32(data: bytes | bytearray, at: int) -> int:
    """Return the 32-bit field at `at`, for the slow path."""
    return int.from_bytes(data[at : at + 4], "big")


def put16(data: bytearray, at: int, value: int) -> None:
    """Write the 16-bit field at `at`, for the slow path."""
    data[at : at + 2] = value.to_bytes(2, "big")


def put32(data: bytearray, at: int, value: int) -> None:
    """Write the 32-bit field at `at`, for the slow path."""
    data[at : at + 4] = value.to_bytes(4, "big")
