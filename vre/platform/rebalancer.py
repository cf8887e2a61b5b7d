# SPDX-License-Identifier: MIT
"""Repeats step 1 when a path's cost or demand has changed."""

from __future__ import annotations

from vre.placement.allocate import allocate
from vre.platform.bandwidth import MemoryShares
from vre.platform.changes import Changes
from vre.platform.path_costs import PathCosts
from vre.platform.runtime import Runtime

#: Period, in seconds.
PERIOD_S = 1.0
#: Periods between two changes of the placement: moved groups must show their new cost first.
DAMPING = 3


class Rebalancer:
    """Samples the paths of a platform once a period, and changes the placement if that helps."""

    def __init__(self, runtime: Runtime, costs: PathCosts, changes: Changes) -> None:
        self._runtime, self._costs, self._changes = runtime, costs, changes
        self._memory = MemoryShares(runtime)
        self._due = runtime.now() + PERIOD_S
        self._rest = 0

    def look(self) -> None:
        """Sample all paths if a period has passed."""
        now, model = self._runtime.now(), self._runtime.model
        if now < self._due:
            return
        elapsed, self._due = now - self._due + PERIOD_S, now + PERIOD_S
        self._memory.look(elapsed)
        news = self._costs.look(elapsed)
        self._rest = max(0, self._rest - 1)
        if news and self._rest == 0 and model.rebalance and model.cores > 1:
            moved = self._changes.place(allocate(model, self._costs.demands, self._changes.now_placed()))
            self._rest = DAMPING
            if moved:
                names = ", ".join(sorted({f"{name}.{number}" for name, number in news}))
                self._runtime.report(f"{moved} group(s) moved: the cost of {names} has changed")
