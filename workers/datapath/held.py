# SPDX-License-Identifier: MIT
"""Packets that an element holds for later, in one ring, in any number of queues.

A ring's slots own the buffers, and what is between its tail and its head is in flight; here they are used as a pool.
A queue is a :data:`QUEUE` record; which slots are in it, and in what order, is in one :data:`LINK` for each slot.
A packet that is taken out leaves a hole, into which the packet at the ring's tail moves. Every call takes constant
time.

A worker can be killed between any two stores. So links are used only if they were completed, and fit the ring;
otherwise they are rebuilt from the packets' destinations (:meth:`Held.links_fit`, :meth:`Held.link_again`).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from shm.intrinsics import add64, load32, load64, store32, store64
from shm.layout import RING, Layout
from shm.ring import held, next_pop, next_push, note_at, pop_to, push_to
from workers.datapath.slow_packet import read_packet, write_packet
from workers.element import SlowPacket

#: Slots in order, one up; 0: none.
QUEUE = Layout("queue", {"first": "i8", "last": "i8", "count": "i8"})
#: A slot's neighbours in its queue, one up, and the queue's address.
LINK = Layout("link", {"next": "i8", "before": "i8", "queue": "i8"}, size=32)
#: In front of the links: whether they are whole, and the ring's head and tail that they were made for.
_WHOLE, _HEAD, _TAIL, _LINKS = 0, 8, 16, 32


def links_bytes(capacity: int) -> int:
    """Return what the links of a ring take."""
    return _LINKS + (1 << (capacity - 1).bit_length()) * LINK.size


class Held:
    """The packets that wait in a ring, by queue. `links` is the address of :func:`links_bytes` bytes, zero at first."""

    def __init__(self, ring: int, links: int) -> None:
        self.ring, self._links = ring, links
        self._mask = load64(ring + RING["mask"])

    def __len__(self) -> int:
        return held(self.ring)

    def full(self) -> bool:
        """Return whether there is no room for one more."""
        return len(self) >= load64(self.ring + RING["capacity"])

    # What is known of a slot.

    def _link(self, slot: int) -> int:
        return self._links + _LINKS + slot * LINK.size

    def queue_at(self, distance: int) -> int:
        """Return the queue of the packet that is `distance` slots behind the ring's tail."""
        return load64(self._link((next_pop(self.ring) + distance) & self._mask) + LINK["queue"])

    # Changes.

    def append(self, queue: int, packet: SlowPacket) -> bool:
        """Append a packet to a queue; False if there is no room."""
        if self.full():
            return False
        head = next_push(self.ring)
        # Both ends of the ring are this process's: what it has taken out in this turn is free already.
        write_packet(self.ring, head, packet, 0)
        push_to(self.ring, head + 1)
        self._enqueue(queue, head & self._mask)
        return True

    def take(self, queue: int) -> SlowPacket:
        """Take the oldest packet out of a queue, which is not empty."""
        slot = load64(queue + QUEUE["first"]) - 1
        packet, _ = read_packet(self.ring, slot)
        self._unlink(slot)
        tail = next_pop(self.ring)
        if tail & self._mask != slot:
            self._move(tail & self._mask, slot)
        pop_to(self.ring, tail + 1)
        return packet

    def replace(self, victim: int, queue: int, packet: SlowPacket) -> None:
        """Append a packet to `queue`, in the slot of the oldest packet of the queue `victim`."""
        slot = load64(victim + QUEUE["first"]) - 1
        self._unlink(slot)
        self._write(slot, packet)
        self._enqueue(queue, slot)

    def _write(self, slot: int, packet: SlowPacket) -> None:
        # In no queue until it is complete: a destination that no packet here has.
        store32(note_at(self.ring, slot), 0)
        write_packet(self.ring, slot, packet, 0)

    def _enqueue(self, queue: int, slot: int) -> None:
        last, link = load64(queue + QUEUE["last"]), self._link(slot)
        store64(link + LINK["queue"], queue)
        store64(link + LINK["before"], last)
        store64(link + LINK["next"], 0)
        store64(self._link(last - 1) + LINK["next"] if last else queue + QUEUE["first"], slot + 1)
        store64(queue + QUEUE["last"], slot + 1)
        add64(queue + QUEUE["count"], 1)

    def _point(self, link: int, after: int, before: int) -> None:
        """Make a link's neighbours point to `after` and `before`."""
        queue, previous, following = (
            load64(link + LINK["queue"]),
            load64(link + LINK["before"]),
            load64(link + LINK["next"]),
        )
        store64(self._link(previous - 1) + LINK["next"] if previous else queue + QUEUE["first"], after)
        store64(self._link(following - 1) + LINK["before"] if following else queue + QUEUE["last"], before)

    def _unlink(self, slot: int) -> None:
        link = self._link(slot)
        self._point(link, load64(link + LINK["next"]), load64(link + LINK["before"]))
        queue = load64(link + LINK["queue"])
        add64(queue + QUEUE["count"], -1)

    def _move(self, source: int, target: int) -> None:
        packet, _ = read_packet(self.ring, source)
        self._write(target, packet)
        ctypes.memmove(self._link(target), self._link(source), LINK.size)
        self._point(self._link(target), target + 1, target + 1)

    # A worker's death.

    def begin(self) -> None:
        """Mark the links as being changed."""
        store64(self._links + _WHOLE, 0)

    def end(self) -> None:
        """Mark the links as complete, for the ring's present head and tail."""
        store64(self._links + _HEAD, next_push(self.ring))
        store64(self._links + _TAIL, next_pop(self.ring))
        store64(self._links + _WHOLE, 1)

    def links_fit(self) -> bool:
        """Return whether the links are complete, and match the packets in the ring."""
        links, ring = self._links, self.ring
        return (load64(links + _WHOLE), load64(links + _HEAD), load64(links + _TAIL)) == (
            1,
            next_push(ring),
            next_pop(ring),
        )

    def link_again(self, queue_of: Callable[[int], int]) -> None:
        """Rebuild all links; `queue_of` returns the queue, empty so far, of a destination, 0 for none."""
        for index in range(next_pop(self.ring), next_push(self.ring)):
            self._enqueue(queue_of(load32(note_at(self.ring, index))), index & self._mask)
