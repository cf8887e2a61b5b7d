# SPDX-License-Identifier: MIT
"""The memory of links out of the platform: a DEVICE for each, its places, and addresses for the system's rings.

What is in it is filled in here as far as it is memory; :mod:`vre.links` opens the interface and fills in the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from shm.link_layout import (
    CHUNK,
    DEVICE,
    MESSAGE,
    MESSAGES,
    PLACE,
    PLACES,
    QUEUE,
    SUPER_FRAMES,
    VECTOR,
    XDP_FRAMES,
)
from shm.manifest import DeviceEntry, MappingEntry
from shm.offload_layout import MERGE, MOST, VNET
from shm.segment import PAGE
from vre.config.model import Interface, Nic, Router, Tap, Veth, Vxlan, World, Xdp
from vre.memory.address_space import AddressSpace, view
from vre.memory.router import receives

#: Bytes from one frame of a packet socket's ring to the next, headers of the kernel included: the least for a frame of
#: an ordinary MTU, and what holds the longest that a buffer does.
SHORT_FRAME, LONG_FRAME = 2048, 4096
#: The same for super-frames, and how many of them a ring holds.
SUPER_FRAME, SUPER_FRAMES_HELD = 1 << 17, 64
#: Addresses for an AF_XDP socket's TX and completion rings: their entries, and words in front.
XDP_ROOM = XDP_FRAMES * 16 + PAGE
#: Most routers of a device that have a queue of their own: each is a descriptor, and memory of the kernel.
QUEUES = 64
#: What a TAP is read into: the longest frame that there can be.
TAP_BUFFER = 1 << 16


@dataclass
class QueuePlan:
    """A packet socket's ring: for frames of `router`, by its claim; or for all others, if it is None.

    `ring` is an address for a mapping of the device's `frames` times its `longest_frame` bytes.
    """

    router: str | None
    claim: tuple[int, int]
    address: int
    ring: int


@dataclass
class DevicePlan:
    """The memory of one link out of the platform.

    Attributes
    ----------
    address : int
        Of its DEVICE record.
    frames : int
        In the packet socket's ring.
    queues : list of QueuePlan
        The first is for frames that no other has.
    buffer : int
        Address of what a TAP is read into, 0 for other kinds.
    tx_ring, completion_ring, rx_ring, fill_ring : int
        Addresses for mappings of XDP_ROOM bytes each; the last two are 0 if it does not receive by AF_XDP.
    scratch, merge : int
        Addresses of a VNET header with a frame, and of a MERGE with its super-frame, if it has offloads, else 0.
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
    queues: list[QueuePlan]
    buffer: int
    tx_ring: int
    completion_ring: int
    scratch: int = 0
    merge: int = 0
    rx_ring: int = 0
    fill_ring: int = 0
    mappings: list[MappingEntry] = field(default_factory=list)

    @property
    def offload(self) -> bool:
        """Whether super-frames come and leave."""
        return self.merge != 0

    @property
    def longest_frame(self) -> int:
        """Bytes from one frame of a ring to the next, at most."""
        return SUPER_FRAME if self.offload else LONG_FRAME

    @property
    def sends(self) -> int:
        """How frames leave by its packet socket, as DEVICE.tx."""
        return SUPER_FRAMES if self.offload else MESSAGES

    @property
    def kind(self) -> str:
        """What the link is called in a platform file."""
        return type(self.link).__name__.lower()

    @property
    def interface(self) -> str:
        """The interface that the user knows: of a pair, the far end."""
        match self.link:
            case Veth(_, name):
                return name or self.nic.name[:15]
            case Vxlan(remote, vni):
                return f"VNI {vni} to {remote}"
            case Interface(name) | Xdp(name) | Tap(name):
                return name

    def fill(self, claims: int, claim_of: Callable[[str], int], counts: int, gate: int, dilated: bool) -> None:
        """Write the first values; the segment exists. `claim_of` gives the address of a router's claim."""
        device = view(self.address, DEVICE.dtype)[0]
        device["claims"], device["counts"], device["gate"], device["timed"] = claims, counts, gate, not dilated
        device["buffer"], device["buffer_size"] = self.buffer, TAP_BUFFER
        device["queues"], device["queue_count"] = self.queues[0].address if self.queues else 0, len(self.queues)
        for plan in self.queues:
            queue = view(plan.address, QUEUE.dtype)[0]
            queue["ring"], queue["frame_mask"] = plan.ring, self.frames - 1
            queue["claim"] = claim_of(plan.router) if plan.router else 0
        device["places"], device["place_mask"] = self.places, PLACES - 1
        device["messages"], device["vectors"], device["chunks"] = self.messages, self.vectors, self.chunks
        device["scratch"], device["merge"] = self.scratch, self.merge
        if self.merge:
            view(self.merge, MERGE.dtype)[0]["buffer"] = self.merge + MERGE.size + VNET.size
        messages, vectors = view(self.messages, MESSAGE.dtype, PLACES), view(self.vectors, VECTOR.dtype, PLACES)
        for i in range(PLACES):
            messages[i]["vector"], messages[i]["vector_count"] = self.vectors + i * VECTOR.size, 1
            vectors[i]["start"] = self.chunks + i * CHUNK

    def entry(self) -> DeviceEntry:
        """Return it for a manifest."""
        return DeviceEntry(self.nic.name, self.address, self.kind, self.interface, tuple(self.mappings))


def plan_device(space: AddressSpace, nic: Nic, routers: Iterable[Router]) -> DevicePlan | None:
    """Plan the memory of a port's link out of the platform, if it has one.

    Of `routers`, those that receive there from a MAC of their own have a queue each, if the port has several. Others,
    and those that come later, share the first.
    """
    if nic.world is None:
        return None
    arena = space.part("link", nic.name)
    # A power of two, as the RX ring of a port.
    frames = 1 << (nic.slots - 1).bit_length()
    offload = isinstance(nic.world, Veth | Interface) and nic.world.offload
    frames = SUPER_FRAMES_HELD if offload else frames
    address = arena.take(DEVICE.size)
    places, messages, vectors = (arena.take(PLACES * kind.size) for kind in (PLACE, MESSAGE, VECTOR))
    receives_by_xdp = isinstance(nic.world, Xdp)
    chunks = arena.take((PLACES + (XDP_FRAMES if receives_by_xdp else 0)) * CHUNK, PAGE)
    if isinstance(nic.world, Tap):
        buffer = arena.take(TAP_BUFFER, PAGE)
        return DevicePlan(nic, nic.world, address, places, messages, vectors, chunks, frames, [], buffer, 0, 0)
    if receives_by_xdp:
        tx, done, rx, fill = (space.hole(XDP_ROOM) for _ in range(4))
        plan = DevicePlan(nic, nic.world, address, places, messages, vectors, chunks, frames, [], 0, tx, done)
        plan.rx_ring, plan.fill_ring = rx, fill
        return plan
    whose: list[tuple[str | None, tuple[int, int]]] = [(None, (0, 0))]
    if nic.queues == "multi":
        whose += _claims(nic, routers)[:QUEUES]
    # All that is in the segment, before the addresses for mappings behind it.
    scratch = arena.take(VNET.size + LONG_FRAME) if offload else 0
    merge = arena.take(MERGE.size + VNET.size + MOST) if offload else 0
    first = arena.take(len(whose) * QUEUE.size)
    queues = [
        QueuePlan(name, claim, first + i * QUEUE.size, space.hole(frames * (SUPER_FRAME if offload else LONG_FRAME)))
        for i, (name, claim) in enumerate(whose)
    ]
    tx_ring, completion_ring = space.hole(XDP_ROOM), space.hole(XDP_ROOM)
    return DevicePlan(
        nic,
        nic.world,
        address,
        places,
        messages,
        vectors,
        chunks,
        frames,
        queues,
        0,
        tx_ring,
        completion_ring,
        scratch,
        merge,
    )


def _claims(nic: Nic, routers: Iterable[Router]) -> list[tuple[str | None, tuple[int, int]]]:
    """Return the routers that receive frames for a MAC of their own at a port, with MAC and VLAN."""
    ports = [(router.name, router.ports[nic.name]) for router in routers if receives(router, nic.name)]
    return [(name, (port.mac, port.vlan)) for name, port in ports if port.mac is not None]
