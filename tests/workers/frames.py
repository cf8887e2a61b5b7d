# SPDX-License-Identifier: MIT
"""Frames made by Scapy: an implementation of the protocols that is not ours."""

from __future__ import annotations

import logging

logging.getLogger("scapy").setLevel(logging.ERROR)

from scapy.layers.inet import IP, UDP  # noqa: E402
from scapy.layers.l2 import ARP, Ether  # noqa: E402
from scapy.packet import Raw  # noqa: E402

MAC = "02:00:00:00:00:01"
HOST = "02:00:00:00:00:99"
#: How most routers here begin and end.
IN = "FromDevice(eth0) -> Strip(14) -> CheckIPHeader -> "
OUT = " -> EtherEncap(0x0800, 2:0:0:0:0:1, 2:0:0:0:0:2) -> ToDevice(eth1);"


def udp(src="198.18.0.1", dst="198.19.0.1", ttl=64, size=60, mac=MAC, options=(), **fields):
    """Return a UDP packet in an Ethernet frame, `size` bytes long."""
    head = (
        Ether(dst=mac, src=HOST)
        / IP(src=src, dst=dst, ttl=ttl, options=list(options), **fields)
        / UDP(sport=1, dport=9)
    )
    pad = size - len(head)
    return bytes(head / Raw(bytes(max(0, pad)))) if pad > 0 else bytes(head)


def arp(op, psrc, pdst, hwsrc=HOST, hwdst="00:00:00:00:00:00", mac="ff:ff:ff:ff:ff:ff"):
    """Return an ARP frame."""
    return bytes(Ether(dst=mac, src=hwsrc) / ARP(op=op, psrc=psrc, pdst=pdst, hwsrc=hwsrc, hwdst=hwdst))


def ip_of(frame):
    """Return the IP layer of a frame."""
    return Ether(frame)[IP]
