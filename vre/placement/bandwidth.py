# SPDX-License-Identifier: MIT
"""Memory accesses, the second resource (the paper, section 3.1), divided between cores. Pure functions."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vre.placement.allocate import fill_up

#: Fraction of the memory controller's rate from which on turns are charged their memory accesses.
MEMORY_BOUND = 0.9
#: Below this fraction they are charged their time again.
MEMORY_FREE = 0.7
#: A core wants more if it was idle for less than this fraction of the time.
_BUSY = 0.1
#: So does a core that used at least this fraction of its allowance.
_AT_ITS_SHARE = 0.9
#: Headroom of a core that wanted less: its allowance in units of what it used.
_ROOM = 1.25


@dataclass(frozen=True)
class Core:
    """One core since the last sample: accesses a second, idle fraction of the time, and its allowance."""

    weight: float
    rate: float
    idle: float
    allowed: float


def by_memory(now: bool, rate: float, limit: float) -> bool:
    """Return whether turns are to be charged memory accesses, at `rate` of `limit` a second; `now`: if they are."""
    return rate >= (MEMORY_FREE if now else MEMORY_BOUND) * limit


def paces(cores: list[Core], limit: float) -> list[float]:
    """Return how many accesses a second each core may make, infinite if it wants no more than its share.

    Max-min fair by weight (Bertsekas and Gallager, Data Networks, section 6.5.2).
    """
    wanted = {}
    for i, core in enumerate(cores):
        more = core.idle < _BUSY or core.rate >= _AT_ITS_SHARE * core.allowed
        wanted[str(i)] = core.weight, math.inf if more else core.rate * _ROOM
    shares = fill_up(limit, wanted)
    return [shares[i] if most == math.inf and weight else math.inf for i, (weight, most) in wanted.items()]
