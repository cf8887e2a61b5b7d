# SPDX-License-Identifier: MIT
"""A platform's address space: its segments, and the buffers that its rings own.

Memory is planned first, which yields the size of each segment. :meth:`AddressSpace.create` then makes all segments of
the plan and gives every new ring its buffers, or does nothing; :meth:`AddressSpace.discard` drops the plan. A removed
router's buffers go to the next one: buffers move between rings, so no pool segment belongs to one router; a pool whose
buffers are all free is removed.

A plan takes the largest free range of addresses, so freed addresses are used again. A segment's name is never used
again: a process that still maps the old one would take it for the new one.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np

from shm.layout import LARGE_STRIDE, LINE, NOTE, RING, SLOT, SMALL_STRIDE
from shm.segment import PAGE, WINDOW, Arena, Segment, SegmentError
from workers.datapath.packet import HEADROOM


def view(address: int, dtype: Any, count: int = 1) -> Any:
    """Return an array over shared memory."""
    dtype = np.dtype(dtype)
    return np.frombuffer((ctypes.c_char * (dtype.itemsize * count)).from_address(address), dtype)


@dataclass
class RingPlan:
    """The addresses of a ring and its parts."""

    address: int
    slots: int
    capacity: int
    count: int
    notes: int = 0
    tags: int = 0
    killed: int = 0


@dataclass
class Part:
    """A planned segment, or, if `kind` is empty, a range of addresses for memory that comes and goes."""

    kind: str
    label: str
    arena: Arena


class AddressSpace:
    """Segments and buffers of one platform.

    Parameters
    ----------
    base : int
        Address of the first segment, which buffer references count from.
    prefix : str
        Prefix of the segments' names.
    """

    def __init__(self, base: int, prefix: str) -> None:
        self.base, self._prefix = base, prefix
        self._free = [np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)]
        self._serial = 0
        self._gone: list[Segment] = []
        #: Reserved addresses, and pairs of buffers in each pool, by name.
        self._holes: dict[str, list[tuple[int, int]]] = {}
        self._pools: dict[str, int] = {}
        #: By name: kind and label.
        self.segments: dict[str, Segment] = {}
        self.discard()

    # Planning: addresses only.

    def part(self, kind: str, label: str) -> Arena:
        """Begin a segment; the previous one is complete."""
        if self._open:
            start = self._open[-1].arena.base + _room(self._open[-1].arena.size)
        else:
            start, self._limit = self._largest_gap()
        self._open.append(Part(kind, label, Arena(start)))
        return self._open[-1].arena

    @property
    def _used(self) -> list[tuple[int, int]]:
        """Ranges of addresses that are not free, from the lowest."""
        used = [(s.base, s.base + _room(s.size)) for s in [*self.segments.values(), *self._gone]]
        return sorted(used + [(base, base + _room(size)) for holes in self._holes.values() for base, size in holes])

    @property
    def end(self) -> int:
        """The end of the highest range that is not free."""
        return max((end for _, end in self._used), default=self.base)

    def _largest_gap(self) -> tuple[int, int]:
        """Return the largest range of free addresses, its beginning and end."""
        starts = [self.base, *(end for _, end in self._used)]
        ends = [*(start for start, _ in self._used), self.base + WINDOW]
        return max(zip(starts, ends, strict=True), key=lambda gap: gap[1] - gap[0])

    def hole(self, size: int) -> int:
        """Reserve `size` bytes of addresses for the lifetime of the segment that was begun last; return their address.

        No planned segment continues after them.
        """
        owner = next(p for p in reversed(self._open) if p.kind)
        return self.part("", f"{owner.kind}-{owner.label}").take(size, PAGE)

    def discard(self) -> None:
        """Drop the plan."""
        self._open: list[Part] = []
        self._rings: list[RingPlan] = []
        self._spares: list[tuple[int, int]] = []
        self._limit = self.base + WINDOW

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
        """Bytes of shared memory that the next :meth:`create` takes."""
        pool = self._pairs_lacking * (SMALL_STRIDE + LARGE_STRIDE) + PAGE
        return sum(-(-p.arena.size // PAGE) * PAGE for p in self._open if p.kind) + pool

    # Making and removing.

    def create(self) -> list[Segment]:
        """Make all of the plan or nothing; the plan is empty then. Raises SegmentError."""
        made: list[Segment] = []
        free = self._free
        try:
            pools = self._plan_pool(self._pairs_lacking)
            holes = {label: list(ranges) for label, ranges in self._holes.items()}
            named: dict[str, Segment] = {}
            for p in self._open:
                if p.arena.base + _room(p.arena.size) > self._limit:
                    raise SegmentError("the platform's address space is used up; restart it")
                if p.kind:
                    made.append(self.make(self._name(p), p))
                    named[f"{p.kind}-{p.label}"] = made[-1]
                else:
                    holes.setdefault(p.label, []).append((p.arena.base, p.arena.size))
            self._fill()
            self.segments, self._holes, self._pools = self.segments | named, holes, pools
        except BaseException:
            self._free = free
            for segment in made:
                segment.detach()
                segment.unlink()
            raise
        finally:
            self._serial += 1
            self.discard()
        return made

    def _name(self, part: Part) -> str:
        again = f".{self._serial}" if self._serial else ""
        return f"{self._prefix}{part.kind}-{part.label}{again}"

    def make(self, name: str, part: Part) -> Segment:
        """Make one segment. Raises SegmentError."""
        return Segment.create(name, part.kind, part.arena.size, part.arena.base)

    def _plan_pool(self, pairs: int) -> dict[str, int]:
        """Plan a pool of that many pairs of free buffers; return all pools, including it."""
        if not pairs:
            return self._pools
        arena = self.part("pool", str(self._serial))
        index = np.arange(pairs, dtype=np.int64)
        small = (arena.take(pairs * SMALL_STRIDE, LINE) - self.base + index * SMALL_STRIDE) // LINE
        large = (arena.take(pairs * LARGE_STRIDE, LINE) - self.base + index * LARGE_STRIDE) // LINE
        self._free = [np.concatenate(pair) for pair in zip(self._free, (small, large), strict=True)]
        return self._pools | {f"pool-{self._serial}": pairs}

    def _fill(self) -> None:
        """Give the planned rings and words their buffers."""
        for ring in self._rings:
            self._fill_ring(ring)
        for address, count in self._spares:
            words = view(address, "u4", 2 * count).reshape(count, 2)
            words[:, 0], words[:, 1] = self._take(count)

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

    def holds(self, label: str) -> bool:
        """Return whether the segment `label` (kind and label) has been made and not been forgotten."""
        return label in self.segments

    def forget(self, label: str, rings: list[RingPlan]) -> None:
        """Forget the segment `label` and free its rings' buffers; :meth:`sweep` frees its memory.

        Do nothing if it has been forgotten, or never was.
        """
        if label not in self.segments:
            return
        free = list(self._free)
        for plan in rings:
            slots = view(plan.slots, SLOT.dtype, plan.count)
            for i, name in enumerate(("small", "large")):
                free[i] = np.concatenate([free[i], slots[name].astype(np.int64)])
        free, pools = self._without_idle_pools(free)
        going = {label, *(pool for pool in self._pools if pool not in pools)}
        gone = [*self._gone, *(self.segments[name] for name in going)]
        segments = {name: segment for name, segment in self.segments.items() if name not in going}
        holes = {name: ranges for name, ranges in self._holes.items() if name != label}
        # In one step: a failure before it has changed nothing.
        self._free, self._pools, self._gone, self.segments, self._holes = free, pools, gone, segments, holes

    def _without_idle_pools(self, free: list[Any]) -> tuple[list[Any], dict[str, int]]:
        """Return the free buffers, and the pools, without the pools whose buffers are all free."""
        pools = {}
        for name, pairs in self._pools.items():
            first = (self.segments[name].base - self.base) // LINE
            inside = [(part >= first) & (part < first + self.segments[name].size // LINE) for part in free]
            if all(int(mine.sum()) == pairs for mine in inside):
                free = [part[~mine] for part, mine in zip(free, inside, strict=True)]
            else:
                pools[name] = pairs
        return free, pools

    def sweep(self) -> None:
        """Remove the segments that have been forgotten; processes that map them still do no harm."""
        while self._gone:
            self._gone[0].unlink()
            self._gone[0].detach()
            # Its addresses are free only now.
            self._gone.pop(0)


def _room(size: int) -> int:
    """Return the size of a segment's range of addresses: whole pages, and a guard page."""
    return -(-size // PAGE) * PAGE + PAGE
