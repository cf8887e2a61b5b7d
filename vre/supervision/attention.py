# SPDX-License-Identifier: MIT
"""The supervisor's time: it stands still while the supervisor itself could not run.

A container may be frozen, a group of processes stopped, a quota of processor time used up. By the wall clock all
processes would then be late. So deadlines are measured in time in which the supervisor looked regularly.
"""

from __future__ import annotations

#: Longest time between two looks that counts, in seconds: several times the intended one.
GAP_S = 0.02


class Attention:
    """A clock that is told of each look; `now` is in seconds, from 0 on.

    A gap longer than :data:`GAP_S` does not count: the watched process must first have had a chance to run again. Of
    long gaps in a row each after the first counts that much: looking rarely does not stop the clock.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._at: float | None = None
        self._late = False

    def look(self, wall: float) -> float:
        """Record a look at `wall`, in seconds of any steady clock; return `now`."""
        gap = 0.0 if self._at is None else max(0.0, wall - self._at)
        late = gap > GAP_S
        if not late:
            self.now += gap
        elif self._late:
            self.now += GAP_S
        self._at, self._late = wall, late
        return self.now
