# SPDX-License-Identifier: MIT
"""Sending by a packet socket, many frames a call (sendmmsg): where there is no AF_XDP, or no memory for its frames."""

from __future__ import annotations

from shm.intrinsics import kernel, load32, load64, store64
from shm.link_layout import DEVICE, MESSAGE, PLACE, UP, VECTOR
from shm.syscalls import SENDMMSG, sys6
from workers.wire.device import (
    LINK_DOWN,
    LINK_FULL,
    LINK_REFUSED,
    RETRY_NS,
    SENT,
    place_at,
    refuse,
    settle,
    stalls,
    taken,
)

_DONTWAIT = 0x40
#: What errno says: gone, try again, no room, down; interrupted, gone.
_ENXIO, _EAGAIN, _ENOBUFS, _ENETDOWN, _EINTR, _ENODEV = 6, 11, 105, 100, 4, 19


@kernel
def account_call(wire, device, result, sent, refused, wall):
    """Account for what a call to a packet socket has returned; return whether to go on.

    Places up to `sent` have left if it succeeded. If their frame was refused, those up to `refused` are dropped.
    """
    if result > 0:
        settle(wire, device, sent, SENT)
        taken(device)
    elif result == -_ENETDOWN or result == -_ENXIO or result == -_ENODEV:
        refuse(wire, device, -result, wall + RETRY_NS)
    elif result == -_EAGAIN or result == -_EINTR:
        if stalls(device, wall) == 0:
            return 0
        settle(wire, device, load64(device + DEVICE["filled"]), LINK_FULL)
    elif result == -_ENOBUFS:
        # Its queue is full; or it has no carrier, which has no number of its own.
        settle(wire, device, refused, LINK_FULL if load64(device + DEVICE["state"]) == UP else LINK_DOWN)
    else:
        settle(wire, device, refused, LINK_REFUSED)
    return 1


@kernel
def send_messages(wire, device, wall):
    """Hand what is in a device's places to its packet socket."""
    mask, messages = load64(device + DEVICE["place_mask"]), load64(device + DEVICE["messages"])
    vectors, filled = load64(device + DEVICE["vectors"]), load64(device + DEVICE["filled"])
    settled = load64(device + DEVICE["settled"])
    while settled < filled:
        at, count = settled & mask, filled - settled
        count = count if count <= mask + 1 - at else mask + 1 - at
        for i in range(count):
            store64(
                vectors + (at + i) * VECTOR.size + VECTOR["length"],
                load32(place_at(device, settled + i) + PLACE["length"]),
            )
        sent = sys6(SENDMMSG, load64(device + DEVICE["tx_fd"]), messages + at * MESSAGE.size, count, _DONTWAIT, 0, 0)
        if account_call(wire, device, sent, settled + sent, settled + 1, wall) == 0:
            break
        settled = load64(device + DEVICE["settled"])
    store64(device + DEVICE["offered"], settled)
