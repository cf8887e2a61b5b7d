# SPDX-License-Identifier: MIT
"""When step 1 is done again: a path's cost has changed, or what it asks for.

Looks at all paths once a period. A path's cost is what its packets of the period took; what it asks for is that
cost times what arrived, or more than a core where its ring overflows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shm.intrinsics import load64
from shm.layout import RING, TASK
from vre.placement.allocate import allocate
from vre.platform.bandwidth import MemoryShares

if TYPE_CHECKING:
    from vre.platform.platform import Platform

#: Between two looks.
PERIOD_S = 1.0
#: A cost or a demand that has changed by less is the same.
THRESHOLD = 0.25
#: Looks after a change of places before the next one: what has moved shows its new cost first.
DAMPING = 3
#: Fewer packets say nothing about a cost.
_ENOUGH = 1000


@dataclass(frozen=True)
class Seen:
    """A path's counters at a look."""

    ticks: int
    packets: int
    missed: int


def demand(before: Seen, now: Seen, ticks: float) -> float:
    """Return what part of a core a path can use; infinite where it is not known, or overflows."""
    packets = now.packets - before.packets
    if now.missed > before.missed or packets < _ENOUGH:
        return math.inf
    return (now.ticks - before.ticks) / ticks


def cost(before: Seen, now: Seen) -> float | None:
    """Return the ticks a packet took, None where too few came."""
    packets = now.packets - before.packets
    return (now.ticks - before.ticks) / packets if packets >= _ENOUGH else None


def changed(old: float | None, new: float | None) -> bool:
    """Return whether two costs differ enough to act on."""
    if old is None or new is None:
        return False
    return abs(new - old) > THRESHOLD * old


class Rebalancer:
    """Watches the paths of a platform, and has them placed anew where that helps."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._due = platform.now() + PERIOD_S
        self._seen: dict[tuple[str, int], Seen] = {}
        self._costs: dict[tuple[str, int], float | None] = {}
        self._rest = 0
        self._memory = MemoryShares(platform)
        self.demands: dict[tuple[str, int], float] = {}

    def look(self) -> None:
        """Look at all paths if it is time to."""
        platform = self._platform
        now = platform.now()
        if now < self._due:
            return
        elapsed, self._due = now - self._due + PERIOD_S, now + PERIOD_S
        before, self._seen = self._seen, self._count()
        self._memory.look(elapsed)
        ticks = elapsed * 1e9 / platform.ns_per_tick
        pairs = {key: (before[key], seen) for key, seen in self._seen.items() if key in before}
        self.demands = {key: demand(*pair, ticks) for key, pair in pairs.items()}
        fresh = {key: cost(*pair) for key, pair in pairs.items()}
        news = [key for key, value in fresh.items() if changed(self._costs.get(key), value)]
        self._costs = {key: value if key in news else self._costs.get(key, value) for key, value in fresh.items()}
        self._rest = max(0, self._rest - 1)
        if news and self._rest == 0 and platform.model.rebalance and platform.model.cores > 1:
            moved = platform.changes.place(allocate(platform.model, self.demands, platform.changes.now_placed()))
            self._rest = DAMPING
            if moved:
                names = ", ".join(sorted({f"{name}.{number}" for name, number in news}))
                platform.report(f"{moved} group(s) moved: the cost of {names} has changed")

    def _count(self) -> dict[tuple[str, int], Seen]:
        found = {}
        for router in self._platform.manifest["routers"]:
            for task in router["tasks"]:
                ring = load64(task["address"] + TASK["input"])
                missed = load64(ring + RING["full"]) if ring else 1
                ticks, packets = (load64(task["address"] + TASK[f]) for f in ("used_ticks", "packets"))
                found[router["name"], task["number"]] = Seen(ticks, packets, missed)
        return found
