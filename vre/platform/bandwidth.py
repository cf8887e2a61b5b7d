# SPDX-License-Identifier: MIT
"""Memory accesses as the second resource (the paper, section 3.1), divided when they are the bottleneck.

Within a core turns are then charged their accesses in place of their time. Between cores there is no scheduler for the
memory controller, which serves the core with the most requests; so each core is *paced*: it idles when it has had its
share of the accesses, by the entitlements on it. What a core does not use goes to the others.
"""

from __future__ import annotations

import math

from shm.intrinsics import load64, store64
from shm.layout import CLIENT, CORE, MODEL_BITS
from vre.config.machines import MACHINES
from vre.placement.bandwidth import Core, by_memory, paces
from vre.platform.runtime import Runtime

#: Longest time between two accesses, MODEL_BITS after the point: a minute; times those of a turn it is a word.
_SLOWEST = float(1 << 44)


class MemoryShares:
    """Watches the memory accesses of a platform, and divides them if they are the bottleneck."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._seen = self._count()
        self._allowed: list[float] = []

    def look(self, elapsed: float) -> None:
        """Evaluate the last `elapsed` seconds."""
        runtime = self._runtime
        limit = runtime.model.memory or MACHINES[runtime.model.machine].lines_per_second
        if not limit:
            return
        before, self._seen = self._seen, self._count()
        places = [core.address for core in runtime.manifest.cores]
        allowed = self._allowed or [math.inf] * len(places)
        ticks = elapsed * 1e9 / runtime.ns_per_tick
        weights = self._weights(len(places))
        cores = [
            Core(weights[i], (now[0] - then[0]) / elapsed, (now[1] - then[1]) / ticks, allowed[i])
            for i, (then, now) in enumerate(zip(before, self._seen, strict=True))
        ]
        was = bool(load64(places[0] + CORE["by_memory"]))
        bound = by_memory(was, sum(core.rate for core in cores), limit)
        divided = bound and runtime.model.memory_shares
        self._allowed = paces(cores, limit) if divided else [math.inf] * len(places)
        for place, most in zip(places, self._allowed, strict=True):
            store64(place + CORE["by_memory"], int(bound))
            pace = 0 if most == math.inf else round(min(1e9 / runtime.ns_per_tick / most * (1 << MODEL_BITS), _SLOWEST))
            store64(place + CORE["line_pace"], pace)

    def _count(self) -> list[tuple[int, int]]:
        """Return the accesses and the idle ticks of each core so far."""
        routers = self._runtime.builder.routers.values()
        found = []
        for number, core in enumerate(self._runtime.manifest.cores):
            clients = [memory.client(number) for memory in routers if number in memory.slots]
            lines = sum(load64(client + CLIENT["used_lines"]) for client in clients)
            found.append((lines, load64(core.address + CORE["idle_ticks"])))
        return found

    def _weights(self, count: int) -> list[float]:
        weights = [0.0] * count
        for (name, core), weight in self._runtime.placement.weights().items():
            if name in self._runtime.model.routers:
                weights[core] += weight
        return weights
