# SPDX-License-Identifier: MIT
"""A platform's address space: its segments, and the buffers that its rings own.

Memory is planned first, which tells how much each segment takes; :meth:`Space.create` then makes all
segments planned since it was last called, and gives every new ring its buffers. What a removed router's rings
owned goes to the next one: buffers wander between rings, so no pool segment ever belongs to one router.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np

from shm.layout import LINE, NOTE, RING, SLOT
from shm.segment import PAGE, WINDOW, Arena, Segment, SegmentError
from workers.packet import HEADROOM, LARGE_STRIDE, SMALL_STRIDE


def view(address: int, dtype: Any, count: int = 1) -> Any:
    """Return an array over shared memory."""
    dtype = np.dtype(dtype)
    return np.frombuffer((ctypes.c_char * (dtype.itemsize * count)).from_address(address), dtype)


@dataclass
class RingPlan:
    """A ring: where its parts are."""

    address: int
    slots: int
    capacity: int
    count: int
    notes: int = 0
    tags: int = 0
    killed: int = 0


@dataclass
class Part:
    """A segment to be, or where `kind` is empty, addresses for memory that comes and goes."""

    kind: str
    label: str
    arena: Arena


class Space:
    """Segments and buffers of one platform.

    Parameters
    ----------
    base : int
        Where the first segment goes, and what buffer references count from.
    prefix : str
        What the segments' names begin with.
    """

    def __init__(self, base: int, prefix: str) -> None:
        self.base, self._prefix = base, prefix
        self._top = base
        self._open: list[Part] = []
        self._rings: list[RingPlan] = []
        self._spares: list[tuple[int, int]] = []
        self._free = [np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)]
        self._pools = 0
        self._gone: list[Segment] = []
        self.segments: dict[str, Segment] = {}

    # Planning: addresses only.

    def part(self, kind: str, label: str) -> Arena:
        """Begin a segment; the one begun before is complete."""
        if self._open:
            self._top += -(-self._open[-1].arena.size // PAGE) * PAGE + PAGE
        self._open.append(Part(kind, label, Arena(self._top)))
        return self._open[-1].arena

    def hole(self, size: int) -> int:
        """Keep `size` bytes of address space free; return where. No segment that is being planned goes on behind."""
        return self.part("", "").take(size, PAGE)

    def ring(self, arena: Arena, capacity: int, notes: bool = False, tags: bool = False) -> RingPlan:
        """Plan a ring in a segment."""
        count = 1 << (capacity - 1).bit_length()
        address = arena.take(RING.size)
        plan = RingPlan(address, arena.take(count * SLOT.size), capacity, count)
        plan.notes = arena.take(count * NOTE.size) if notes else 0
        plan.tags = arena.take(count * 2) if tags else 0
        self._rings.append(plan)
        return plan

    def spares(self, arena: Arena, count: int) -> int:
        """Plan words that own `count` pairs of buffers; return their address."""
        self._spares.append((arena.take(8 * count), count))
        return self._spares[-1][0]

    @property
    def _pairs_lacking(self) -> int:
        wanted = sum(r.count for r in self._rings) + sum(count for _, count in self._spares)
        return max(0, wanted - min(len(free) for free in self._free))

    @property
    def bytes_needed(self) -> int:
        """Shared memory that the next :meth:`create` takes."""
        pool = self._pairs_lacking * (SMALL_STRIDE + LARGE_STRIDE) + PAGE
        return sum(-(-p.arena.size // PAGE) * PAGE for p in self._open if p.kind) + pool

    # Making and removing.

    def create(self) -> list[Segment]:
        """Make what has been planned; on failure nothing of it is left. Raises SegmentError."""
        lacking = self._pairs_lacking
        fresh = self._plan_pool(lacking) if lacking else None
        made: list[Segment] = []
        try:
            for p in self._open:
                if p.arena.base + p.arena.size > self.base + WINDOW:
                    raise SegmentError("the platform's address space is used up; start it anew")
                if p.kind:
                    made.append(self.make(f"{self._prefix}{p.kind}-{p.label}", p))
        except Exception:
            for segment in made:
                segment.detach()
                segment.unlink()
            raise
        finally:
            if self._open:
                self._top += -(-self._open[-1].arena.size // PAGE) * PAGE + PAGE
            self._open = []
        if fresh:
            self._free = [np.concatenate(pair) for pair in zip(self._free, fresh, strict=True)]
        self.segments |= {segment.name: segment for segment in made}
        for ring in self._rings:
            self._fill_ring(ring)
        for address, count in self._spares:
            words = view(address, "u4", 2 * count).reshape(count, 2)
            words[:, 0], words[:, 1] = self._take(count)
        self._rings, self._spares = [], []
        return made

    def make(self, name: str, part: Part) -> Segment:
        """Make one segment. Raises SegmentError."""
        return Segment.create(name, part.kind, part.arena.size, part.arena.base)

    def _plan_pool(self, pairs: int) -> tuple[Any, Any]:
        arena = self.part("pool", str(self._pools))
        self._pools += 1
        index = np.arange(pairs, dtype=np.int64)
        small = (arena.take(pairs * SMALL_STRIDE, LINE) - self.base + index * SMALL_STRIDE) // LINE
        large = (arena.take(pairs * LARGE_STRIDE, LINE) - self.base + index * LARGE_STRIDE) // LINE
        return small, large

    def _take(self, count: int) -> tuple[Any, Any]:
        small, large = (free[:count] for free in self._free)
        self._free = [free[count:] for free in self._free]
        return small, large

    def _fill_ring(self, plan: RingPlan) -> None:
        header = view(plan.address, RING.dtype)[0]
        header["slots"], header["notes"], header["tags"] = plan.slots, plan.notes, plan.tags
        header["mask"], header["capacity"], header["pool"] = plan.count - 1, plan.capacity, self.base
        header["killed"] = plan.killed
        slots = view(plan.slots, SLOT.dtype, plan.count)
        slots["small"], slots["large"] = self._take(plan.count)
        slots["offset"] = HEADROOM

    def forget(self, label: str, rings: list[RingPlan]) -> None:
        """Let the segment called `label` go, and its rings' buffers be free; :meth:`sweep` ends its memory."""
        for plan in rings:
            slots = view(plan.slots, SLOT.dtype, plan.count)
            for i, name in enumerate(("small", "large")):
                self._free[i] = np.concatenate([self._free[i], slots[name].astype(np.int64)])
        self._gone.append(self.segments.pop(f"{self._prefix}{label}"))

    def sweep(self) -> None:
        """Remove the segments that have been forgotten; processes that map them still do no harm."""
        for segment in self._gone:
            segment.unlink()
            segment.detach()
        self._gone.clear()
