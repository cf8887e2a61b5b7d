# SPDX-License-Identifier: MIT
"""Memory accesses as the second resource (the paper, section 3.1): who gets how many when they are what is short.

Within a core turns are then charged their accesses in place of their time. Between cores nobody schedules the memory
controller, which serves whoever asks most; so each core is *paced*: it rests when it has had its share of the
accesses, by the entitlements on it. What a core does not use goes to the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shm.intrinsics import load64, store64
from shm.layout import CLIENT, CORE, MODEL_BITS
from vre.config.machines import MACHINES
from vre.placement.allocate import fill_up, split

if TYPE_CHECKING:
    from vre.platform.platform import Platform

#: Parts of what the memory controller serves: from the first on, turns are charged their memory accesses; below the
#: second, their time again.
MEMORY_BOUND, MEMORY_FREE = 0.9, 0.7
#: A core that was idle for less of the time wanted more; so did one that made so much of its share.
_BUSY, _AT_ITS_SHARE = 0.1, 0.9
#: Longest time between two accesses, MODEL_BITS after the point: a minute; times those of a turn it is a word.
_SLOWEST = float(1 << 44)
#: What a core that wanted less gets beyond what it used.
_ROOM = 1.25


@dataclass(frozen=True)
class Core:
    """What a core did since the last look: accesses a second, idle part of the time, and what it was allowed."""

    weight: float
    rate: float
    idle: float
    allowed: float


def by_memory(now: bool, rate: float, limit: float) -> bool:
    """Return whether turns are to be charged memory accesses, at `rate` of `limit` a second; `now` they are or not."""
    return rate >= (MEMORY_FREE if now else MEMORY_BOUND) * limit


def paces(cores: list[Core], limit: float) -> list[float]:
    """Return how many accesses a second each core may make, infinite where it wants no more than its share.

    Max-min fair by weight (Bertsekas and Gallager, Data Networks, section 6.5.2).
    """
    wanted = {}
    for i, core in enumerate(cores):
        more = core.idle < _BUSY or core.rate >= _AT_ITS_SHARE * core.allowed
        wanted[str(i)] = core.weight, math.inf if more else core.rate * _ROOM
    shares = fill_up(limit, wanted)
    return [shares[i] if most == math.inf and weight else math.inf for i, (weight, most) in wanted.items()]


class MemoryShares:
    """Watches the memory accesses of a platform, and divides them where they are the bottleneck."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._seen = self._count()
        self._allowed: list[float] = []

    def look(self, elapsed: float) -> None:
        """Judge what has happened in `elapsed` seconds."""
        platform = self._platform
        limit = platform.model.memory or MACHINES[platform.model.machine].lines_per_second
        if not limit:
            return
        before, self._seen = self._seen, self._count()
        places = [core["address"] for core in platform.manifest["cores"]]
        allowed = self._allowed or [math.inf] * len(places)
        ticks = elapsed * 1e9 / platform.ns_per_tick
        weights = self._weights(len(places))
        cores = [
            Core(weights[i], (now[0] - then[0]) / elapsed, (now[1] - then[1]) / ticks, allowed[i])
            for i, (then, now) in enumerate(zip(before, self._seen, strict=True))
        ]
        was = bool(load64(places[0] + CORE["by_memory"]))
        bound = by_memory(was, sum(core.rate for core in cores), limit)
        divided = bound and platform.model.memory_shares
        self._allowed = paces(cores, limit) if divided else [math.inf] * len(places)
        for place, most in zip(places, self._allowed, strict=True):
            store64(place + CORE["by_memory"], int(bound))
            pace = (
                0 if most == math.inf else round(min(1e9 / platform.ns_per_tick / most * (1 << MODEL_BITS), _SLOWEST))
            )
            store64(place + CORE["line_pace"], pace)

    def _count(self) -> list[tuple[int, int]]:
        """Return the accesses and the idle ticks of each core so far."""
        manifest = self._platform.manifest
        tenants = self._platform.builder.tenants.values()
        found = []
        for number, core in enumerate(manifest["cores"]):
            clients = [tenant.client(number) for tenant in tenants if number in tenant.slots]
            lines = sum(load64(client + CLIENT["used_lines"]) for client in clients)
            found.append((lines, load64(core["address"] + CORE["idle_ticks"])))
        return found

    def _weights(self, count: int) -> list[float]:
        weights = [0.0] * count
        for (name, core), weight in split(self._platform.model, self._platform.placed).items():
            if name in self._platform.model.routers:
                weights[core] += weight
        return weights
