# SPDX-License-Identifier: MIT
"""Packets between rings and Python: a slot's frame and note become a SlowPacket, and go back."""

from __future__ import annotations

import ctypes
import struct
from typing import NamedTuple

from shm.intrinsics import load64
from shm.layout import IN_LARGE, LARGE_STRIDE, LINE, MISSING, NOTE, RING, SMALL_STRIDE
from shm.ring import next_push, note_at, push_to, room, slot_at
from workers.datapath.headers import IP_SIZE
from workers.datapath.packet import GUARD, HEADROOM
from workers.element import SlowPacket

_SLOT = struct.Struct("<IIIHH")
_NOTE = struct.Struct("<IiiIHBBBBHH")
assert NOTE["device"] == 22 and NOTE["paint"] == 18 and NOTE["stripped"] == 24


def read_packet(ring: int, index: int) -> tuple[SlowPacket, int]:
    """Return the packet in the slot for `index`, and the entry it was noted for."""
    small, large, stamp, size, offset = _SLOT.unpack(ctypes.string_at(slot_at(ring, index), _SLOT.size))
    reference = large if offset & IN_LARGE else small
    address = load64(ring + RING["pool"]) + reference * LINE + (offset & (IN_LARGE - 1))
    dst, net, mac, entry, vlan, paint, kind, param, fix, device, stripped = _NOTE.unpack(
        ctypes.string_at(note_at(ring, index), _NOTE.size)
    )
    carried = ctypes.string_at(address - stripped, stripped + size)
    packet = SlowPacket(bytearray(carried[stripped:]), time=stamp, stripped=carried[:stripped])
    # What an annotation points to in front of the frame is no header of the packet's now.
    packet.net = net if 0 <= net <= size - IP_SIZE else None
    packet.mac = mac if 0 <= mac <= size else None
    packet.dst, packet.vlan, packet.paint, packet.type = dst, vlan, paint, kind
    packet.param_off, packet.fix_src, packet.device = param, fix, device
    return packet, entry


class Frame(NamedTuple):
    """A packet as it goes into a ring."""

    data: bytes
    stripped: bytes
    time: int
    note: bytes


def framed(packet: SlowPacket, entry: int) -> Frame:
    """Return a packet as it goes into a ring, its note for `entry`.

    Raises
    ------
    ValueError, TypeError, struct.error
        It fits into no buffer, it is no bytes, or an annotation does not fit its field.
    """
    for part in (packet.data, packet.stripped):
        if not isinstance(part, bytes | bytearray):
            raise TypeError(f"a packet's data are bytes, not {type(part).__name__}")
    if len(packet.data) > LARGE_STRIDE - GUARD:
        raise ValueError(f"a packet of {len(packet.data)} bytes fits into no buffer")
    data = bytes(packet.data)
    stripped = bytes(packet.stripped[max(0, len(packet.stripped) + GUARD + len(data) - LARGE_STRIDE) :])
    # What points to bytes that the packet does not have, or no longer, points to no header.
    net = packet.net if packet.net is not None and 0 <= packet.net <= len(data) - IP_SIZE else MISSING
    mac = packet.mac if packet.mac is not None and 0 <= packet.mac <= len(data) else MISSING
    note = _NOTE.pack(
        packet.dst,
        net,
        mac,
        entry,
        packet.vlan,
        packet.paint,
        packet.type,
        packet.param_off,
        packet.fix_src,
        packet.device,
        len(stripped),
    )
    struct.pack("<I", packet.time)
    return Frame(data, stripped, packet.time, note)


def put_packet(ring: int, packet: SlowPacket, entry: int) -> bool:
    """Write a packet into a ring's next slot, in that slot's own buffer; False if it has no room."""
    return put_frame(ring, framed(packet, entry))


def put_frame(ring: int, frame: Frame) -> bool:
    """Write a frame into a ring's next slot; False if it has no room."""
    if room(ring, 1) == 0:
        return False
    head = next_push(ring)
    write_frame(ring, head, frame)
    push_to(ring, head + 1)
    return True


def write_packet(ring: int, index: int, packet: SlowPacket, entry: int) -> None:
    """Write a packet and its note into the slot for `index`."""
    write_frame(ring, index, framed(packet, entry))


def write_frame(ring: int, index: int, frame: Frame) -> None:
    """Write a frame and its note into the slot for `index`, in that slot's own buffer."""
    size, stripped, slot = len(frame.data), len(frame.stripped), slot_at(ring, index)
    # What has got longer in front takes the room that is kept there.
    start = min(max(HEADROOM, GUARD + stripped), LARGE_STRIDE - size)
    large = start + size > SMALL_STRIDE
    reference = _SLOT.unpack(ctypes.string_at(slot, _SLOT.size))[large]
    buffer = load64(ring + RING["pool"]) + reference * LINE
    ctypes.memmove(buffer + start - stripped, frame.stripped + frame.data, stripped + size)
    small_large = ctypes.string_at(slot, 8)
    described = small_large + struct.pack("<IHH", frame.time, size, start | (IN_LARGE if large else 0))
    ctypes.memmove(slot, described, _SLOT.size)
    ctypes.memmove(note_at(ring, index), frame.note, _NOTE.size)
