# SPDX-License-Identifier: MIT
"""Receiving by an AF_PACKET socket: a ring of version 2 that the kernel fills (packet_mmap, TPACKET_V2).

A frame may come as no wire carries it. Its checksum may not be computed yet (the sender's stack leaves that to its
interface, and says so in a virtio header): it is completed here. Its outer VLAN tag is in the frame's header in the
ring: it is put back. It may be longer than any buffer, and be cut: it is counted where it arrives, and not received.
"""

from __future__ import annotations

from shm.intrinsics import (
    acquire32,
    copy,
    kernel,
    load8,
    load16,
    load32,
    prefetch,
    put_be16,
    record,
    release32,
    store16,
)
from workers.datapath.checksum import add_up
from workers.datapath.headers import ETHER_SIZE, ETHER_TYPE, TYPE_VLAN, VLAN_TAG_SIZE, VLAN_TCI
from workers.datapath.packet import LARGE_ROOM
from workers.wire.device import DEVICE_RECORD, RECEIVED_MOST, arrival_time, take

# struct tpacket2_hdr, and the bits of its status.
_STATUS, _LENGTH, _CAPTURED, _MAC, _VLAN_TCI, _VLAN_TPID = 0, 4, 8, 12, 24, 26
_KERNEL, _USER, _SUM_NOT_READY, _VLAN_VALID, _TPID_VALID = 0, 1, 8, 0x10, 0x40
# struct virtio_net_hdr: in front of the frame, whatever its size was set to.
_VIRTIO_SIZE, _VIRTIO_START, _VIRTIO_OFFSET, _NEEDS_SUM = 10, 6, 8, 1


@kernel
def complete_checksum(frame, length):
    """Complete a frame's checksum where the header in front asks for it; return whether it did.

    The pseudo header's sum is in the checksum's place already.
    """
    header = frame - _VIRTIO_SIZE
    start, offset = load16(header + _VIRTIO_START), load16(header + _VIRTIO_OFFSET)
    if load8(header) & _NEEDS_SUM == 0 or start < ETHER_SIZE or start + offset + 2 > length:
        return 0
    total = ~add_up(frame + start, length - start) & 0xFFFF
    # Of the two zeros the one that does not stand for no checksum (RFC 768).
    store16(frame + start + offset, total if total else 0xFFFF)
    return 1


@kernel
def put_tag_back(frame, tag_type, tag):
    """Insert a VLAN tag, for which there is room in front of the frame; return where the frame begins then."""
    copy(frame - VLAN_TAG_SIZE, frame, ETHER_TYPE)
    frame -= VLAN_TAG_SIZE
    put_be16(frame + ETHER_TYPE, tag_type)
    put_be16(frame + VLAN_TCI, tag)
    return frame


@kernel
def receive_from_ring(device, header, status, time):
    """Receive the frame whose header in the ring this is."""
    state = record(device, DEVICE_RECORD)
    frame, length, whole = header + load16(header + _MAC), load32(header + _CAPTURED), load32(header + _LENGTH)
    if status & _SUM_NOT_READY and length == whole:
        state["completed"] += complete_checksum(frame, length)
    if status & _VLAN_VALID and length >= ETHER_SIZE:
        tag_type = load16(header + _VLAN_TPID) if status & _TPID_VALID else TYPE_VLAN
        frame = put_tag_back(frame, tag_type, load16(header + _VLAN_TCI))
        whole += VLAN_TAG_SIZE
    if length < load32(header + _LENGTH) and whole <= LARGE_ROOM:
        whole = LARGE_ROOM + 1  # it is cut: no buffer shall hold it
    take(device, frame, whole, time)


@kernel
def receive_packets(device, wall):
    """Receive what waits in a packet socket's ring; return how many frames."""
    state = record(device, DEVICE_RECORD)
    time, at, count = arrival_time(device, wall), state["next"], 0
    while count < RECEIVED_MOST:
        header = state["ring"] + (at & state["frame_mask"]) * state["frame_size"]
        status = acquire32(header + _STATUS)
        if status & _USER == 0:
            break
        prefetch(state["ring"] + ((at + 1) & state["frame_mask"]) * state["frame_size"])
        receive_from_ring(device, header, status, time)
        release32(header + _STATUS, _KERNEL)
        at += 1
        count += 1
        state["next"] = at
    return count
