# SPDX-License-Identifier: MIT
"""Memory accesses, the second resource (the paper, section 3.1), divided between cores. Pure functions."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vre.placement.allocate import fill_up

#: CpuShares of what the memory controller serves: from the first on, turns are charged their memory accesses; below the
#: second, their time again.
MEMORY_BOUND, MEMORY_FREE = 0.9, 0.7
#: A core that was idle for less of the time wanted more; so did one that made so much of its share.
_BUSY, _AT_ITS_SHARE = 0.1, 0.9
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
