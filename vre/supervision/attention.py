# SPDX-License-Identifier: MIT
"""Time as who watches others sees it: it stands still while he himself could not look.

A container may be frozen, a group of processes stopped, a quota of processor time used up. Who then judged the others
by the clock on the wall would find them all late. So deadlines are measured in time in which looks came regularly.
"""

from __future__ import annotations

#: Longest time between two looks that counts, in seconds: some times what is intended.
GAP_S = 0.02


class Attention:
    """A clock that is told of each look; `now` is in seconds, from 0 on.

    A gap that is longer than :data:`GAP_S` does not count: who is watched must first have had a chance to run again. Of
    gaps that follow each other each but the first counts that much: nobody gets away with keeping the looks apart.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._at: float | None = None
        self._late = False

    def look(self, wall: float) -> float:
        """Take note of a look at `wall`, in seconds of any steady clock; return `now`."""
        gap = 0.0 if self._at is None else max(0.0, wall - self._at)
        late = gap > GAP_S
        if not late:
            self.now += gap
        elif self._late:
            self.now += GAP_S
        self._at, self._late = wall, late
        return self.now
