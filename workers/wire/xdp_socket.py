# SPDX-License-Identifier: MIT
"""AF_XDP sockets whose frames the kernel copies. Sending takes no program, and no privilege beyond the socket's.

A place has the descriptor of the same index in the TX ring, whose address is that of its chunk: `offered` is the ring's
producer, and what the kernel has consumed is accounted for. Its completion says that the chunk may be written again.
"""

from __future__ import annotations

from shm.intrinsics import acquire32, kernel, load32, load64, record, release32, store32, store64
from shm.link_layout import CHUNK_BITS, DEVICE, PLACE
from shm.syscalls import SENDTO, sys6
from workers.datapath.wire_transaction import change, undo_is_full
from workers.wire.device import (
    DEVICE_RECORD,
    LINK_DOWN,
    LINK_FULL,
    RECEIVED_MOST,
    RETRY_NS,
    SENT,
    arrival_time,
    place_at,
    refuse,
    settle,
    stalls,
    take,
    taken,
)

_DONTWAIT, _WORD = 0x40, 0xFFFFFFFF
#: What errno says: try again; the frame was consumed, and dropped, as by an interface without a carrier.
_EAGAIN, _EBUSY = 11, 16
# struct xdp_desc.
_ADDRESS, _LENGTH, _DESCRIPTOR = 0, 8, 16


@kernel
def give_chunks_back(device):
    """Give the frames that have been taken, and committed, back to the kernel, which fills their chunks again."""
    state = record(device, DEVICE_RECORD)
    for index in range(state["rx_given"], state["rx_next"]):
        at = index & state["rx_mask"]
        # The fill ring has as many entries, and had all of them at first.
        store64(state["fill_entries"] + 8 * at, load64(state["rx_descriptors"] + at * _DESCRIPTOR))
    release32(state["fill_producer"], state["rx_next"] + state["rx_mask"] + 1)
    release32(state["rx_consumer"], state["rx_next"])
    state["rx_given"] = state["rx_next"]


@kernel
def receive_xdp(wire, device, wall):
    """Receive what waits in an AF_XDP socket's RX ring; return how many frames."""
    state = record(device, DEVICE_RECORD)
    if state["rx_given"] != state["rx_next"]:
        give_chunks_back(device)
    time, count, first = arrival_time(device, wall), 0, state["rx_next"]
    waiting = (acquire32(state["rx_producer"]) - first) & _WORD
    while count < waiting and count < RECEIVED_MOST and not undo_is_full(wire):
        descriptor = state["rx_descriptors"] + ((first + count) & state["rx_mask"]) * _DESCRIPTOR
        frame = state["chunks"] + load64(descriptor + _ADDRESS)
        take(wire, device, frame, load32(descriptor + _LENGTH), time)
        count += 1
    if count:
        change(wire, device + DEVICE["rx_next"], first + count)
    return count


@kernel
def reap(device):
    """Take back the chunks that the kernel is done with."""
    state = record(device, DEVICE_RECORD)
    producer, consumer = acquire32(state["completion_producer"]), load32(state["completion_consumer"])
    while consumer != producer:
        address = load64(state["completions"] + 8 * (consumer & state["place_mask"]))
        store64(place_at(device, address >> CHUNK_BITS) + PLACE["busy"], 0)
        consumer = (consumer + 1) & _WORD
    release32(state["completion_consumer"], consumer)


@kernel
def descriptor_at(device, index):
    """Return the address of a place's descriptor in the TX ring."""
    mask = load64(device + DEVICE["place_mask"])
    return load64(device + DEVICE["descriptors"]) + (index & mask) * _DESCRIPTOR


@kernel
def offer(device):
    """Publish what has been put into places since the last time."""
    state = record(device, DEVICE_RECORD)
    for index in range(state["offered"], state["filled"]):
        place, descriptor = place_at(device, index), descriptor_at(device, index)
        store64(descriptor + _ADDRESS, (index & state["place_mask"]) << CHUNK_BITS)
        store64(descriptor + _LENGTH, load32(place + PLACE["length"]))
        store64(place + PLACE["busy"], 1)
    release32(state["producer"], state["filled"])
    state["offered"] = state["filled"]


@kernel
def withdraw(device):
    """Take back what is offered and not consumed: a descriptor without a length is passed over."""
    for index in range(load64(device + DEVICE["settled"]), load64(device + DEVICE["offered"])):
        store32(descriptor_at(device, index) + _LENGTH, 0)
        store64(place_at(device, index) + PLACE["busy"], 0)


@kernel
def send_xdp(wire, device, wall):
    """Hand what is in a device's places to its AF_XDP socket: some 32 frames a call, as many calls as it takes."""
    offer(device)
    offered, settled = load64(device + DEVICE["offered"]), load64(device + DEVICE["settled"])
    while settled < offered:
        result = sys6(SENDTO, load64(device + DEVICE["tx_fd"]), 0, 0, _DONTWAIT, 0, 0)
        left = (offered - acquire32(load64(device + DEVICE["consumer"]))) & _WORD
        done = offered - left if left <= offered - settled else settled
        if result == -_EBUSY and done > settled:
            settle(wire, device, done - 1, SENT)
            settle(wire, device, done, LINK_DOWN)
        elif done > settled:
            settle(wire, device, done, SENT)
            taken(device)
        if result == 0 or result == -_EAGAIN:
            if done == settled:
                if stalls(device, wall) == 0:
                    break
                withdraw(device)
                settle(wire, device, offered, LINK_FULL)
        else:
            withdraw(device)
            refuse(wire, device, -result, wall + RETRY_NS)
        settled = load64(device + DEVICE["settled"])
