# SPDX-License-Identifier: MIT
"""Receiving by an AF_PACKET socket: a ring of version 2 that the kernel fills (packet_mmap, TPACKET_V2).

A frame may come as no wire carries it. Its checksum may not be computed yet (the sender's stack leaves that to its
interface, and says so in a virtio header): it is completed here. Its outer VLAN tag is in the frame's header in the
ring: it is put back. It may be longer than any buffer, and be cut: it is counted where it arrives, and not received.

A device has a ring for each router that claims a MAC, filled by a filter. If its router has no room, it is not read:
what overflows is dropped in the kernel, costs no time here, and is counted as the router's.
"""

from __future__ import annotations

from shm.intrinsics import (
    acquire32,
    acquire64,
    copy,
    kernel,
    load8,
    load16,
    load32,
    load64,
    prefetch,
    put_be16,
    record,
    release32,
    store64,
)
from shm.layout import RING
from shm.link_layout import DEVICE, QUEUE
from shm.ring import room
from shm.syscalls import GETSOCKOPT, sys6
from shm.wire_layout import CLAIM
from workers.datapath.headers import ETHER_SIZE, ETHER_TYPE, TYPE_VLAN, VLAN_TAG_SIZE, VLAN_TCI
from workers.datapath.nic import is_for, take_in
from workers.datapath.packet import LARGE_ROOM
from workers.datapath.tcp import complete_sum
from workers.datapath.wire_transaction import change, increase, keep_old, undo_is_full
from workers.wire.device import DEVICE_RECORD, RECEIVED_MOST, arrival_time, take
from workers.wire.super_frames import is_super, set_aside, take_cut

# struct tpacket2_hdr, and the bits of its status.
_STATUS, _LENGTH, _CAPTURED, _MAC, _VLAN_TCI, _VLAN_TPID = 0, 4, 8, 12, 24, 26
_KERNEL, _USER, _SUM_NOT_READY, _VLAN_VALID, _TPID_VALID = 0, 1, 8, 0x10, 0x40
# struct virtio_net_hdr: in front of the frame, whatever its size was set to.
_VIRTIO_SIZE, _VIRTIO_START, _VIRTIO_OFFSET, _NEEDS_SUM = 10, 6, 8, 1
_SOL_PACKET, _PACKET_STATISTICS = 263, 6
#: How often the kernel is asked what had no room.
_LOOK_NS = 10_000_000


@kernel
def complete_checksum(wire, frame, length):
    """Complete a frame's checksum where the header in front asks for it; return whether it did.

    The pseudo header's sum is in the checksum's place already.
    """
    header = frame - _VIRTIO_SIZE
    start, offset = load16(header + _VIRTIO_START), load16(header + _VIRTIO_OFFSET)
    if load8(header) & _NEEDS_SUM == 0 or start < ETHER_SIZE or start + offset + 2 > length:
        return 0
    keep_old(wire, frame + start + offset, 8)
    complete_sum(frame + start, length - start, frame + start + offset)
    return 1


@kernel
def put_tag_back(wire, frame, tag_type, tag):
    """Insert a VLAN tag, for which there is room in front of the frame; return where the frame begins then."""
    # A transaction that is taken back is done again, with the frame as it came.
    keep_old(wire, frame - VLAN_TAG_SIZE, 16)
    copy(frame - VLAN_TAG_SIZE, frame, ETHER_TYPE)
    frame -= VLAN_TAG_SIZE
    put_be16(frame + ETHER_TYPE, tag_type)
    put_be16(frame + VLAN_TCI, tag)
    return frame


@kernel
def receive_from_ring(wire, device, claim, header, status, time):
    """Receive the frame whose header in a ring this is; `claim` says whose ring it is, 0: all other frames'."""
    state = record(device, DEVICE_RECORD)
    frame, length, whole = header + load16(header + _MAC), load32(header + _CAPTURED), load32(header + _LENGTH)
    super_frame = is_super(device, frame - _VIRTIO_SIZE)
    if super_frame:
        set_aside(device, frame - _VIRTIO_SIZE, status & _VLAN_VALID)
    elif status & _SUM_NOT_READY and length == whole:
        state["completed"] += complete_checksum(wire, frame, length)
    if status & _VLAN_VALID and length >= ETHER_SIZE:
        tag_type = load16(header + _VLAN_TPID) if status & _TPID_VALID else TYPE_VLAN
        frame = put_tag_back(wire, frame, tag_type, load16(header + _VLAN_TCI))
        whole += VLAN_TAG_SIZE
    if super_frame and length == load32(header + _LENGTH) and take_cut(wire, device, frame, whole, time):
        return
    if length < load32(header + _LENGTH) and whole <= LARGE_ROOM:
        whole = LARGE_ROOM + 1  # it is cut: no buffer shall hold it
    if claim and state["batch"] == 0 and is_for(claim, frame, whole):
        state["received"] += 1
        state["received_bytes"] += whole
        take_in(wire, claim, frame, whole, time)
    else:
        take(wire, device, frame, whole, time)


@kernel
def count_overrun(wire, queue, claim, wall):
    """Count as a router's what its ring in the kernel had no room for; asked now and then."""
    if wall - load64(queue + QUEUE["looked_ns"]) < _LOOK_NS:
        return
    store64(queue + QUEUE["looked_ns"], wall)
    store64(queue + QUEUE["statistics_size"], 8)
    statistics, size = queue + QUEUE["statistics"], queue + QUEUE["statistics_size"]
    if sys6(GETSOCKOPT, load64(queue + QUEUE["fd"]), _SOL_PACKET, _PACKET_STATISTICS, statistics, size, 0) == 0:
        increase(wire, load64(claim + CLAIM["ring"]) + RING["full"], load32(statistics + 4))


@kernel
def give_back(queue):
    """Give the frames that have been taken, and committed, back to the operating system."""
    ring, size = load64(queue + QUEUE["ring"]), load64(queue + QUEUE["frame_size"])
    mask = load64(queue + QUEUE["frame_mask"])
    for at in range(load64(queue + QUEUE["given"]), load64(queue + QUEUE["next"])):
        release32(ring + (at & mask) * size + _STATUS, _KERNEL)
    store64(queue + QUEUE["given"], load64(queue + QUEUE["next"]))


@kernel
def receive_queue(wire, device, queue, wall):
    """Receive what waits in a queue; return how many frames."""
    ring, size = load64(queue + QUEUE["ring"]), load64(queue + QUEUE["frame_size"])
    mask, claim = load64(queue + QUEUE["frame_mask"]), load64(queue + QUEUE["claim"])
    # A link that is impaired takes frames whether its router has room or not.
    target = acquire64(claim + CLAIM["ring"]) if claim and load64(device + DEVICE["batch"]) == 0 else 0
    time, at, count = arrival_time(device, wall), load64(queue + QUEUE["next"]), 0
    if load64(queue + QUEUE["given"]) != at:
        give_back(queue)
    most = room(target, RECEIVED_MOST) if target else RECEIVED_MOST
    while count < most and not undo_is_full(wire):
        header = ring + (at & mask) * size
        status = acquire32(header + _STATUS)
        if status & _USER == 0:
            break
        prefetch(ring + ((at + 1) & mask) * size)
        receive_from_ring(wire, device, claim, header, status, time)
        at += 1
        count += 1
    if count:
        change(wire, queue + QUEUE["next"], at)
    if target:
        count_overrun(wire, queue, claim, wall)
    return count


@kernel
def receive_packets(wire, device, wall):
    """Receive what waits in a device's queues; return how many frames."""
    count, queues = 0, load64(device + DEVICE["queues"])
    for i in range(load64(device + DEVICE["queue_count"])):
        count += receive_queue(wire, device, queues + i * QUEUE.size, wall)
    return count
