# SPDX-License-Identifier: MIT
"""A packet in hand: where its bytes are, and its annotations.

While a path handles a packet it is one :data:`PACKET` record on the kernel's stack, so its fields live in
registers. In a ring it is a descriptor, and a note where annotations must survive. The frame itself never
moves: it stays in a buffer, and `owner` is the address of the word that owns that buffer.

What else is in the buffer was another packet's, often another router's. Hence the invariant, wherever a packet is::

    buffer + GUARD <= floor <= data <= data + length <= buffer + room
    net is 0, or floor <= net and net + 20 <= data + length

The bytes from `floor` on are what this packet has carried. It moves down with :func:`prepend`, which writes, and never
up; :func:`uncover` gives back what was stripped, and not a byte more. The end of a packet only moves down. So what an
element may do with `net` depends on nothing that elements between have done, and a copy that keeps its place in a
buffer of the same size (:func:`clone`) keeps all of it. The slow path and the I/O channel, where packets are made of
bytes again, hold headers against the packet before they believe in them.
"""

from __future__ import annotations

from shm.intrinsics import (
    add64,
    copy,
    kernel,
    load8,
    load16,
    load32,
    load64,
    store8,
    store16,
    store32,
    store64,
)
from shm.layout import CORE, IN_LARGE, LARGE_STRIDE, LINE, MISSING, NOTE, SLOT, SMALL_STRIDE, Layout
from shm.ring import next_push, note_at

#: Bytes kept free before a received frame, for headers to be prepended.
HEADROOM = LINE
#: Of these the first, never used: a word that ends in a frame's first bytes lies in the buffer all the same.
GUARD = 8
#: Bytes of a frame that a small and a large buffer hold.
SMALL_ROOM, LARGE_ROOM = SMALL_STRIDE - HEADROOM, LARGE_STRIDE - HEADROOM

#: Packet type annotation (Linux: PACKET_HOST and so on).
HOST, BROADCAST, MULTICAST, OTHERHOST = 0, 1, 2, 3

PACKET = Layout(
    "packet",
    {
        "data": "i8",  # address of the first byte
        "length": "i8",
        "owner": "i8",  # address of the word that owns the buffer
        "buffer": "i8",  # address of the buffer's first byte
        "room": "i8",  # bytes in the buffer
        "floor": "i8",  # address of the first byte that the packet has carried: what was stripped is from here on
        "net": "i8",  # address of the IP header, 0 if unset
        "mac": "i8",  # address of the Ethernet header, 0 if unset
        "time": "i8",
        "dst": "i8",  # destination address annotation
        "paint": "i8",
        "type": "i8",
        "param_off": "i8",
        "fix_src": "i8",
        "vlan": "i8",
        "device": "i8",
    },
)

assert NOTE["stripped"] == NOTE["device"] + 2  # see put_note

# What a path's function returns instead of an output port.
#: Drop the packet for the element's first reason; DROP - i for its reason number i.
DROP = -1
#: Hand the packet to the element's slow path.
PUNT = -1000
#: Element took the packet (a Queue); nothing is left to do.
TAKEN = -2000
#: CLONE + port: send a copy to `port`, and the packet itself to output 0.
CLONE = 1000


@kernel
def frame_address(slot, pool):
    """Return the address of the frame that the descriptor `slot` holds."""
    offset = load16(slot + SLOT["offset"])
    large = offset >> 15
    return pool + load32(slot + 4 * large) * LINE + (offset & (IN_LARGE - 1))


@kernel
def receive(packet, slot, pool):
    """Open the descriptor `slot` as `packet`, its annotations unset."""
    described = load64(slot + SLOT["time"])
    offset = described >> 48 & 0xFFFF
    large = offset >> 15
    word = slot + 4 * large
    buffer = pool + load32(word) * LINE
    packet["owner"] = word
    packet["buffer"] = buffer
    packet["room"] = LARGE_STRIDE if large else SMALL_STRIDE
    packet["data"] = packet["floor"] = buffer + (offset & (IN_LARGE - 1))
    packet["length"] = described >> 32 & 0xFFFF
    unannotated(packet, described & 0xFFFFFFFF)


@kernel
def transfer(packet, other):
    """Make `other` the same packet.

    A path does so before it leaves its trace: what is called there gets the copy's address, so the
    packet itself never needs one and its fields are registers.
    """
    other["owner"] = packet["owner"]
    other["buffer"] = packet["buffer"]
    other["room"] = packet["room"]
    assume(other, packet, 0)


@kernel
def assume(other, packet, shift):
    """Give `other` the bytes and the annotations of `packet`, whose bytes it has `shift` bytes further."""
    other["data"] = packet["data"] + shift
    other["floor"] = packet["floor"] + shift
    other["length"] = packet["length"]
    other["net"] = packet["net"] + shift if packet["net"] else 0
    other["mac"] = packet["mac"] + shift if packet["mac"] else 0
    other["time"] = packet["time"]
    other["dst"] = packet["dst"]
    other["paint"] = packet["paint"]
    other["type"] = packet["type"]
    other["param_off"] = packet["param_off"]
    other["fix_src"] = packet["fix_src"]
    other["vlan"] = packet["vlan"]
    other["device"] = packet["device"]


@kernel
def unannotated(packet, time):
    """Unset every annotation but the time."""
    packet["net"] = 0
    packet["mac"] = 0
    packet["time"] = time
    packet["dst"] = 0
    packet["paint"] = 0
    packet["type"] = HOST
    packet["param_off"] = 0
    packet["fix_src"] = 0
    packet["vlan"] = 0
    packet["device"] = 0


@kernel
def relative(packet, address):
    """Return a header's offset from the frame's start, MISSING if unset."""
    if address == 0:
        return MISSING
    return address - packet["data"]


@kernel
def absolute(packet, offset):
    """Return a header's address from a note's signed 32-bit offset, 0 if unset."""
    if offset >= 1 << 31:
        offset -= 1 << 32
    if offset == MISSING:
        return 0
    return packet["data"] + offset


@kernel
def write_note(ring, packet, entry):
    """Keep the annotations of the packet about to be pushed into `ring`."""
    put_note(note_at(ring, next_push(ring)), packet, entry)


@kernel
def put_note(note, packet, entry):
    """Keep the annotations of a packet in the note at `note`."""
    store32(note, packet["dst"])
    store32(note + NOTE["net"], relative(packet, packet["net"]))
    store32(note + NOTE["mac"], relative(packet, packet["mac"]))
    store32(note + NOTE["entry"], entry)
    store16(note + NOTE["vlan"], packet["vlan"])
    store8(note + NOTE["paint"], packet["paint"])
    store8(note + NOTE["type"], packet["type"])
    store8(note + NOTE["param_off"], packet["param_off"])
    store8(note + NOTE["fix_src"], packet["fix_src"])
    store32(note + NOTE["device"], packet["device"] | packet["data"] - packet["floor"] << 16)


@kernel
def read_note(ring, index, packet):
    """Restore the annotations of the packet from slot `index`; return the entry it was noted for."""
    return get_note(note_at(ring, index), packet)


@kernel
def get_note(note, packet):
    """Restore the annotations of a packet from the note at `note`; return the entry it was noted for."""
    last = load32(note + NOTE["device"])
    packet["floor"] = packet["data"] - (last >> 16)
    packet["dst"] = load32(note)
    packet["net"] = absolute(packet, load32(note + NOTE["net"]))
    packet["mac"] = absolute(packet, load32(note + NOTE["mac"]))
    packet["vlan"] = load16(note + NOTE["vlan"])
    packet["paint"] = load8(note + NOTE["paint"])
    packet["type"] = load8(note + NOTE["type"])
    packet["param_off"] = load8(note + NOTE["param_off"])
    packet["fix_src"] = load8(note + NOTE["fix_src"])
    packet["device"] = last & 0xFFFF
    return load32(note + NOTE["entry"])


@kernel
def spare_packet(packet, core, size):
    """Open a fresh packet of `size` bytes in a spare buffer of the core; annotations unset.

    The caller gives the spare back with :func:`spare_done` once the packet has been pushed or dropped.
    """
    used = load64(core + CORE["spare_used"])
    pair = load64(core + CORE["spare"]) + 8 * used
    store64(core + CORE["spare_used"], used + 1)
    large = size > SMALL_ROOM
    word = pair + 4 * large
    buffer = load64(core + CORE["pool"]) + load32(word) * LINE
    packet["owner"] = word
    packet["buffer"] = buffer
    packet["room"] = LARGE_STRIDE if large else SMALL_STRIDE
    packet["data"] = packet["floor"] = buffer + HEADROOM
    packet["length"] = size
    unannotated(packet, 0)


@kernel
def spare_done(core):
    """Give back the spare opened last."""
    add64(core + CORE["spare_used"], -1)


@kernel
def clone(packet, core, twin):
    """Open `twin` as a copy of `packet`, annotations and what was stripped included, in a spare buffer of the core.

    It lies there as the packet does in its own buffer, which is as large: so all that is in the one is in the other.
    """
    spare_packet(twin, core, packet["room"] - HEADROOM)
    shift = twin["buffer"] - packet["buffer"]
    floor = packet["floor"]
    copy(floor + shift, floor, packet["data"] + packet["length"] - floor)
    assume(twin, packet, shift)


@kernel
def headroom(packet):
    """Return how many bytes can be prepended."""
    return packet["data"] - packet["buffer"] - GUARD


@kernel
def prepend(packet, size):
    """Let a packet begin `size` bytes earlier, which the caller writes, after it has checked the :func:`headroom`."""
    data = packet["data"] - size
    packet["data"] = data
    packet["length"] += size
    if data < packet["floor"]:
        packet["floor"] = data
    return data


@kernel
def stripped(packet):
    """Return how many bytes can be uncovered: those that the packet has carried."""
    return packet["data"] - packet["floor"]


@kernel
def uncover(packet, size):
    """Let a packet begin `size` bytes earlier, with what stands there, of what was :func:`stripped`."""
    packet["data"] -= size
    packet["length"] += size
