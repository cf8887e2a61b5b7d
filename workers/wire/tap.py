# SPDX-License-Identifier: MIT
"""TAP devices: one call for each frame, which is the fastest that they have.

A plain TAP (IFF_TAP | IFF_NO_PI) computes checksums and cuts segments before its frames are read here. It is read into
the buffer at DEVICE.buffer, which holds the longest frame that there can be.
"""

from __future__ import annotations

from shm.intrinsics import kernel, load32, load64, record, store64
from shm.link_layout import DEVICE, PLACE
from shm.syscalls import READ, WRITE, sys6
from workers.datapath.wire_transaction import undo_is_full
from workers.wire.device import (
    DEVICE_RECORD,
    LINK_FULL,
    LINK_REFUSED,
    RECEIVED_MOST,
    RETRY_NS,
    SENT,
    arrival_time,
    chunk_at,
    place_at,
    refuse,
    settle,
    stalls,
    take,
    taken,
)

#: What errno says: not up; try again; the device is gone; interrupted.
_EIO, _EAGAIN, _EBADFD, _EINTR = 5, 11, 77, 4


@kernel
def receive_tap(wire, device, wall):
    """Receive what waits at a TAP; return how many frames."""
    state = record(device, DEVICE_RECORD)
    time, count = arrival_time(device, wall), 0
    while count < RECEIVED_MOST and not undo_is_full(wire):
        length = sys6(READ, state["rx_fd"], state["buffer"], state["buffer_size"], 0, 0, 0)
        if length <= 0:
            break
        take(wire, device, state["buffer"], length, time)
        count += 1
    return count


@kernel
def send_tap(wire, device, wall):
    """Write what is in a device's places to its TAP."""
    settled, filled = load64(device + DEVICE["settled"]), load64(device + DEVICE["filled"])
    while settled < filled:
        length = load32(place_at(device, settled) + PLACE["length"])
        sent = sys6(WRITE, load64(device + DEVICE["tx_fd"]), chunk_at(device, settled), length, 0, 0, 0)
        if sent == length:
            settle(wire, device, settled + 1, SENT)
            taken(device)
        elif sent == -_EIO or sent == -_EBADFD:
            refuse(wire, device, -sent, wall + RETRY_NS)
        elif sent == -_EAGAIN or sent == -_EINTR:
            if stalls(device, wall) == 0:
                break
            settle(wire, device, filled, LINK_FULL)
        else:
            settle(wire, device, settled + 1, LINK_REFUSED)
        settled = load64(device + DEVICE["settled"])
    store64(device + DEVICE["offered"], settled)
