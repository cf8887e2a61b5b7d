# SPDX-License-Identifier: MIT
"""What a path asks for, and what its packets cost, from two looks at its counters. Pure functions."""

from __future__ import annotations

import math
from dataclasses import dataclass

#: A cost or a demand that has changed by less is the same.
THRESHOLD = 0.25
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
