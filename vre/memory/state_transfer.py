# SPDX-License-Identifier: MIT
"""State transfer: what a router's new configuration takes over, by element name and class (Click: hotconfig).

It is computed first, as bytes and their addresses: writing them cannot fail, and may be repeated.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from shm.channel import CHANNEL
from shm.intrinsics import load64
from shm.layout import NOTE, RING, SLOT, TASK
from shm.ring import length
from vre.memory.address_space import RingPlan, view
from vre.memory.router import ConfigMemory, RouterMemory
from workers.datapath.turn import DROPS, MADE
from workers.graph.shape import reasons


class Stores:
    """Pending stores to shared memory: all are known before the first is done."""

    def __init__(self) -> None:
        self._all: list[tuple[int, bytes | int, int]] = []

    def add(self, address: int, what: bytes) -> None:
        """Add bytes to be written to an address."""
        self._all.append((address, what, len(what)))

    def word(self, address: int, value: int) -> None:
        """Add a 64-bit word to be written."""
        self.add(address, np.int64(value).tobytes())

    def copy(self, address: int, source: int, size: int) -> None:
        """Add `size` bytes to be copied, which must not change until then."""
        self._all.append((address, source, size))

    def write(self) -> None:
        """Do the stores, in order."""
        for address, what, size in self._all:
            ctypes.memmove(address, what, size)


@dataclass
class Handover:
    """The state transferred from a stopped configuration to one that has not begun.

    What the new one has no room for stays in the router's account: counters as `carried`, packets as dropped for the
    reason `replaced`.
    """

    memory: RouterMemory
    carried: dict[str, int]
    made: int
    packets: int
    stores: Stores = field(default_factory=Stores)

    def carry_out(self) -> None:
        """Apply it."""
        self.stores.write()
        memory = self.memory
        memory.carried, memory.carried_made, memory.carried_packets = self.carried, self.made, self.packets

    def count(self, reason: str, count: int) -> None:
        """Add to the router's account."""
        if count:
            self.carried[reason] = self.carried.get(reason, 0) + count


def take_over(memory: RouterMemory, old: ConfigMemory, new: ConfigMemory) -> Handover:
    """Return the transfer from a stopped configuration to another; nothing has been written yet."""
    found = Handover(memory, dict(memory.carried), memory.carried_made, memory.carried_packets)
    names = {node.name: i for i, node in enumerate(new.graph.nodes)}
    moved = 0
    for i, node in enumerate(old.graph.nodes):
        before = old.elements[i]
        j = names.get(node.name)
        if j is not None and new.graph.nodes[j].cls is node.cls:
            _keep(found.stores, node.cls, before, new.elements[j])
            if node.cls.is_queue:
                moved += move_packets(found.stores, before["rings"]["ring"], new.elements[j]["rings"]["ring"])
        else:
            _carry(found, node.cls, before["state"])
    waiting = sum(length(ring.address) for ring in old.rings)
    found.count("replaced", waiting - moved)
    for channel in old.channels.values():
        found.count("domu_lost", load64(channel + CHANNEL["lost"]))
    for number, task in enumerate(old.tasks):
        found.count("killed", load64(task + TASK["killed"]))
        if old.graph.tasks[number][0] in ("rx", "source"):
            found.packets += load64(task + TASK["packets"])
    return found


def _keep(stores: Stores, cls: Any, before: dict[str, Any], after: dict[str, Any]) -> None:
    """Copy an element's counters, and the state that its class carries over."""
    fields = cls.layout().dtype.fields
    for name in ("made", "drops", *(name for name in cls.keeps if name not in before["areas"])):
        kind, offset = fields[name][:2]
        stores.copy(after["state"] + offset, before["state"] + offset, kind.itemsize)
    for name in cls.keeps:
        if name in before["areas"] and before["sizes"][name] == after["sizes"][name]:
            stores.copy(after["areas"][name], before["areas"][name], before["sizes"][name])


def _carry(found: Handover, cls: Any, state: int) -> None:
    """Add a removed element's counters to the router's account."""
    found.made += load64(state + MADE)
    for i, reason in enumerate(reasons(cls)):
        found.count(reason, load64(state + DROPS + 8 * i))


def move_packets(stores: Stores, old: RingPlan, new: RingPlan) -> int:
    """Move waiting packets from one ring to the end of another, as far as that has room; return how many.

    Neither ring is in use meanwhile. Each slot exchanges its buffers with those of the slot that it fills.
    """
    tail, head = load64(old.address + RING["tail"]), load64(old.address + RING["head"])
    first = load64(new.address + RING["head"])
    count = min(head - tail, new.capacity - (first - load64(new.address + RING["tail"])))
    here, there = (tail + np.arange(count)) % old.count, (first + np.arange(count)) % new.count
    source, target = view(old.slots, SLOT.dtype, old.count).copy(), view(new.slots, SLOT.dtype, new.count).copy()
    taken, given = source[here].copy(), target[there].copy()
    target[there] = taken
    for name in ("small", "large"):
        source[name][here] = given[name]
    notes = view(new.notes, NOTE.dtype, new.count).copy()
    notes[there] = view(old.notes, NOTE.dtype, old.count)[here]
    for address, what in ((old.slots, source), (new.slots, target), (new.notes, notes)):
        stores.add(address, what.tobytes())
    for ring, cursors, value in (
        (new, (RING["next_head"], RING["head"]), first + count),
        (old, (RING["next_tail"], RING["tail"]), tail + count),
    ):
        for cursor in cursors:
            stores.word(ring.address + cursor, value)
    return count
