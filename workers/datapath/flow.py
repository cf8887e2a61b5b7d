# SPDX-License-Identifier: MIT
"""A hash of a packet's flow, by which routes with several next hops spread packets (RFC 2992)."""

from __future__ import annotations

from shm.intrinsics import be16, be32, kernel, load8, load32
from workers.datapath.headers import IP_DST, IP_FRAGMENT, IP_PROTOCOL, IP_SRC

_TCP, _UDP, _SCTP = 6, 17, 132
#: Offset and more-fragments: of a fragment only the first has ports, so a flow with fragments is one without ports.
_FRAGMENTED = 0x3FFF
_WORD = 0xFFFFFFFF


@kernel
def mix(value):
    """Spread the bits of a word of 32 bits over all of it; the product has 59 bits."""
    return (value ^ value >> 16) * 0x45D9F3B & _WORD


@kernel
def flow_hash(net, end, dst):
    """Return a hash of 16 bits, the same for all packets of a flow: addresses, protocol and ports; else of `dst`.

    `net` is the address of the IP header, 0 if there is none, and `end` that of the packet's end: a record that is
    passed would have to be in memory.
    """
    if net == 0:
        return mix(mix(dst)) >> 16
    protocol = load8(net + IP_PROTOCOL)
    found = mix(mix(be32(net + IP_SRC)) ^ be32(net + IP_DST))
    if protocol in (_TCP, _UDP, _SCTP):
        ports = net + (load8(net) & 15) * 4
        if be16(net + IP_FRAGMENT) & _FRAGMENTED == 0 and ports + 4 <= end:
            found ^= load32(ports)
    return mix(mix(found ^ protocol)) >> 16
