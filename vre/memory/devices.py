# SPDX-License-Identifier: MIT
"""The memory of links out of the platform: a DEVICE for each, its places, and addresses for the system's rings.

What is in it is filled in here as far as it is memory; :mod:`vre.links` opens the interface and fills in the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from shm.link_layout import CHUNK, DEVICE, MESSAGE, PLACE, PLACES, VECTOR
from shm.manifest import DeviceEntry, MappingEntry
from shm.segment import PAGE
from vre.config.model import Interface, Nic, Tap, Veth, World
from vre.memory.address_space import AddressSpace, view

#: Bytes from one frame of a packet socket's ring to the next, headers of the kernel included: the least for a frame of
#: an ordinary MTU, and what holds the longest that a buffer does.
SHORT_FRAME, LONG_FRAME = 2048, 4096
#: Addresses for an AF_XDP socket's TX and completion rings: their entries, and words in front.
XDP_ROOM = PLACES * 16 + PAGE
#: What a TAP is read into: the longest frame that there can be.
TAP_BUFFER = 1 << 16


@dataclass
class DevicePlan:
    """The memory of one link out of the platform.

    Attributes
    ----------
    address : int
        Of its DEVICE record.
    frames : int
        In the packet socket's ring.
    ring, tx_ring, completion_ring : int
        Addresses for mappings of `frames` times LONG_FRAME bytes, and XDP_ROOM each.
    mappings : list of MappingEntry
        What the wire maps, once it is open.
    """

    nic: Nic
    link: World
    address: int
    places: int
    messages: int
    vectors: int
    chunks: int
    frames: int
    ring: int
    tx_ring: int
    completion_ring: int
    mappings: list[MappingEntry] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """What the link is called in a platform file."""
        return {Veth: "veth", Interface: "interface", Tap: "tap"}[type(self.link)]

    @property
    def interface(self) -> str:
        """The interface that the user knows: of a pair, the far end."""
        if isinstance(self.link, Veth):
            return self.link.name or self.nic.name[:15]
        return self.link.interface if isinstance(self.link, Interface) else self.link.tap

    def fill(self, claims: int, counts: int, gate: int, dilated: bool) -> None:
        """Write the first values; the segment exists."""
        device = view(self.address, DEVICE.dtype)[0]
        device["claims"], device["counts"], device["gate"], device["timed"] = claims, counts, gate, not dilated
        device["ring"], device["frame_mask"] = self.ring, self.frames - 1
        device["places"], device["place_mask"] = self.places, PLACES - 1
        device["messages"], device["vectors"], device["chunks"] = self.messages, self.vectors, self.chunks
        messages, vectors = view(self.messages, MESSAGE.dtype, PLACES), view(self.vectors, VECTOR.dtype, PLACES)
        for i in range(PLACES):
            messages[i]["vector"], messages[i]["vector_count"] = self.vectors + i * VECTOR.size, 1
            vectors[i]["start"] = self.chunks + i * CHUNK

    def entry(self) -> DeviceEntry:
        """Return it for a manifest."""
        return DeviceEntry(self.nic.name, self.address, self.kind, self.interface, tuple(self.mappings))


def plan_device(space: AddressSpace, nic: Nic) -> DevicePlan | None:
    """Plan the memory of a port's link out of the platform, if it has one."""
    if nic.world is None:
        return None
    arena = space.part("link", nic.name)
    # A power of two, as the RX ring of a port.
    frames = 1 << (nic.slots - 1).bit_length()
    address = arena.take(DEVICE.size)
    places, messages, vectors = (arena.take(PLACES * kind.size) for kind in (PLACE, MESSAGE, VECTOR))
    chunks = arena.take(PLACES * CHUNK, PAGE)
    if isinstance(nic.world, Tap):
        ring, tx_ring, completion_ring = arena.take(TAP_BUFFER, PAGE), 0, 0
    else:
        ring, tx_ring, completion_ring = (space.hole(size) for size in (frames * LONG_FRAME, XDP_ROOM, XDP_ROOM))
    return DevicePlan(
        nic, nic.world, address, places, messages, vectors, chunks, frames, ring, tx_ring, completion_ring
    )
