# SPDX-License-Identifier: MIT
"""Captures: frames become pcapng blocks in a ring of bytes, which :mod:`workers.wire.capture_writer` empties."""

from __future__ import annotations

from shm.intrinsics import acquire64, copy, kernel, load64, record, store32
from shm.layout import Layout
from shm.wire_layout import CAPTURE, CAPTURE_FRAMES

CAPTURE_RECORD = CAPTURE.dtype
#: An Enhanced Packet Block (pcapng, section 4.3) up to the frame; its size counts the trailer too.
EPB = Layout(
    "epb",
    {
        "type": "u4",
        "size": "u4",
        "interface": "u4",
        "time_high": "u4",
        "time_low": "u4",
        "captured": "u4",
        "length": "u4",
        "data": "u4",
    },
)
EPB_TYPE = 6
_POSITION = 0xFFFF_FFFF


@kernel
def put_bytes(capture, place, source, size):
    """Copy `size` bytes into a capture's ring at byte `place`."""
    buffer, room = load64(capture + CAPTURE["buffer"]), load64(capture + CAPTURE["size"])
    start = place & (room - 1)
    first = room - start if start + size > room else size
    copy(buffer + start, source, first)
    if first < size:
        copy(buffer, source + first, size - first)


@kernel
def put_word(capture, place, value):
    """Store 32 bits in a capture's ring at byte `place`, a multiple of four: none is ever cut in two."""
    store32(load64(capture + CAPTURE["buffer"]) + (place & (load64(capture + CAPTURE["size"]) - 1)), value)


@kernel
def capture_frame(capture, frame, length, wall):
    """Append an Enhanced Packet Block (pcapng), published when the wire commits; count a frame without room as lost."""
    state = record(capture, CAPTURE_RECORD)
    filled = state["next_filled"]
    at = filled & _POSITION
    padded = (length + 3) & ~3
    size = EPB.size + padded
    # Pairs with the writer's release: it has taken out what was there before.
    if ((at - acquire64(capture + CAPTURE["emptied"])) & _POSITION) + size > state["size"]:
        state["lost"] += 1
        return
    time = state["epoch_ns"] + wall
    put_word(capture, at + EPB["type"], EPB_TYPE)
    put_word(capture, at + EPB["size"], size)
    put_word(capture, at + EPB["interface"], state["interface"])
    put_word(capture, at + EPB["time_high"], time >> 32)
    put_word(capture, at + EPB["time_low"], time)
    put_word(capture, at + EPB["captured"], length)
    put_word(capture, at + EPB["length"], length)
    put_word(capture, at + EPB["data"] + padded - 4, 0)
    put_bytes(capture, at + EPB["data"], frame, length)
    put_word(capture, at + EPB["data"] + padded, size)
    state["frames"] += 1
    state["next_filled"] = (((filled >> 32) + 1) & CAPTURE_FRAMES) << 32 | ((at + size) & _POSITION)
