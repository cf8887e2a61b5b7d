# SPDX-License-Identifier: MIT
"""The cost and demand of a running platform's paths, measured once a period from their counters.

A path's cost is the time that its packets of the period took; its demand is that cost times the packets that arrived,
or more than a core if its ring overflows.
"""

from __future__ import annotations

from shm.intrinsics import load64
from shm.layout import RING, TASK
from vre.placement.allocate import Demands
from vre.placement.demand import Seen, changed, cost, demand
from vre.platform.runtime import Runtime


class PathCosts:
    """Measures the paths of one platform.

    Attributes
    ----------
    demands : dict
        (router, task number) to the fraction of a core that the task can use, as far as that is known.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._seen: dict[tuple[str, int], Seen] = {}
        self._costs: dict[tuple[str, int], float | None] = {}
        self.demands: Demands = {}

    def look(self, elapsed: float) -> list[tuple[str, int]]:
        """Evaluate the last `elapsed` seconds; return the tasks whose cost has changed."""
        before, self._seen = self._seen, self._count()
        ticks = elapsed * 1e9 / self._runtime.ns_per_tick
        pairs = {key: (before[key], seen) for key, seen in self._seen.items() if key in before}
        self.demands = {key: demand(*pair, ticks) for key, pair in pairs.items()}
        fresh = {key: cost(*pair) for key, pair in pairs.items()}
        news = [key for key, value in fresh.items() if changed(self._costs.get(key), value)]
        self._costs = {key: value if key in news else self._costs.get(key, value) for key, value in fresh.items()}
        return news

    def _count(self) -> dict[tuple[str, int], Seen]:
        found = {}
        for router in self._runtime.manifest.routers:
            for task in router.tasks:
                ring = load64(task.address + TASK["input"])
                missed = load64(ring + RING["full"]) if ring else 1
                ticks, packets = (load64(task.address + TASK[f]) for f in ("used_ticks", "packets"))
                found[router.name, task.number] = Seen(ticks, packets, missed)
        return found
