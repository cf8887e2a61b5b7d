# SPDX-License-Identifier: MIT
"""Super-frames at a packet socket: those that come are cut, and frames that leave are merged.

A host's stack that has segmentation offload sends up to 64 KiB in one piece, and takes as much. A link with `offload`
exchanges such pieces with it; the platform's graphs see frames of the link's MTU only.
"""

from __future__ import annotations

from shm.intrinsics import copy, kernel, load8, load16, load32, load64, record, store16, store64
from shm.link_layout import DEVICE, PLACE
from shm.offload_layout import MERGE, VNET, VNET_SIZE
from shm.syscalls import SENDTO, sys6
from workers.datapath.headers import VLAN_TAG_SIZE
from workers.datapath.wire_transaction import commit, undo_is_full
from workers.wire.device import DEVICE_RECORD, chunk_at, place_at, take
from workers.wire.merging import begin_merge, finish_merge, merge_into
from workers.wire.messages import account_call
from workers.wire.segmentation import cut, headers_size, segment_count

_DONTWAIT = 0x40


@kernel
def set_aside(device, vnet, tagged):
    """Copy a super-frame's VNET header to where a tag that is put back into the frame does not overwrite it."""
    kept = load64(device + DEVICE["scratch"])
    copy(kept, vnet, VNET_SIZE)
    if tagged:
        store16(kept + VNET["sum_start"], load16(kept + VNET["sum_start"]) + VLAN_TAG_SIZE)


@kernel
def is_super(device, vnet):
    """Return whether the frame with this VNET header is to be cut."""
    return load64(device + DEVICE["scratch"]) and load8(vnet + VNET["gso_type"])


@kernel
def take_cut(wire, device, frame, length, time):
    """Receive a super-frame, whose VNET header has been set aside; return 0 if it cannot be cut."""
    state = record(device, DEVICE_RECORD)
    vnet = state["scratch"]
    headers = headers_size(frame, length, vnet)
    # No segment is longer than the link carries, so none is longer than the room behind the VNET header.
    if headers == 0 or headers + load16(vnet + VNET["gso_size"]) > state["longest"]:
        return 0
    segment = vnet + VNET.size
    for number in range(segment_count(length, headers, load16(vnet + VNET["gso_size"]))):
        if undo_is_full(wire):
            commit(wire)  # a group frame for many routers without room
        take(wire, device, segment, cut(frame, length, vnet, headers, number, segment), time)
    state["cut"] += 1
    return 1


@kernel
def send_merged(wire, device, wall):
    """Hand what is in a device's places to its packet socket, which takes VNET headers: merged as far as it can be."""
    merge, filled = load64(device + DEVICE["merge"]), load64(device + DEVICE["filled"])
    while load64(device + DEVICE["settled"]) < filled:
        first = load64(device + DEVICE["settled"])
        begin_merge(merge, chunk_at(device, first), load32(place_at(device, first) + PLACE["length"]))
        end = first + 1
        while end < filled:
            if merge_into(merge, chunk_at(device, end), load32(place_at(device, end) + PLACE["length"])) == 0:
                break
            end += 1
        frame = finish_merge(merge)
        size = VNET_SIZE + load64(merge + MERGE["length"])
        sent = sys6(SENDTO, load64(device + DEVICE["tx_fd"]), frame, size, _DONTWAIT, 0, 0)
        if account_call(wire, device, sent, end, end, wall) == 0:
            break
    store64(device + DEVICE["offered"], load64(device + DEVICE["settled"]))
