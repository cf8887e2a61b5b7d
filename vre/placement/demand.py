# SPDX-License-Identifier: MIT
"""A path's demand and its packets' cost, from two samples of its counters. Pure functions."""

from __future__ import annotations

import math
from dataclasses import dataclass

#: Relative change of a cost or a demand below which it counts as the same.
THRESHOLD = 0.25
#: Least number of packets from which a cost is computed.
_ENOUGH = 1000


@dataclass(frozen=True)
class Seen:
    """One sample of a path's counters."""

    ticks: int
    packets: int
    missed: int


def demand(before: Seen, now: Seen, ticks: float) -> float:
    """Return the fraction of a core that a path can use; infinite if it is unknown, or the path's queue overflows."""
    packets = now.packets - before.packets
    if now.missed > before.missed or packets < _ENOUGH:
        return math.inf
    return (now.ticks - before.ticks) / ticks


def cost(before: Seen, now: Seen) -> float | None:
    """Return the ticks per packet, None if too few packets came."""
    packets = now.packets - before.packets
    return (now.ticks - before.ticks) / packets if packets >= _ENOUGH else None


def changed(old: float | None, new: float | None) -> bool:
    """Return whether two costs differ enough to act on."""
    if old is None or new is None:
        return False
    return abs(new - old) > THRESHOLD * old
