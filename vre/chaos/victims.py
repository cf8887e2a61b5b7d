# SPDX-License-Identifier: MIT
"""What the users' routers suffer while a fault is let loose beside them.

A router that loses next to nothing without a fault is judged by what it loses with one. One that is offered more than
it can take, or that competes for its core without a pause, loses packets in any case, the more the less the others
leave over: it is judged by whether it got the share of its core that it was due (the time in which it competed with
others is what counts, see :mod:`workers.core.contest`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from vre.platform.accounts import LEAST_STEPS, RouterStats
from vre.platform.platform import Platform

#: A fault is watched in so many windows of this length.
WINDOW_S, WINDOWS = 0.1, 10
#: What a router may lose in a window, beyond what it lost in the worst one without a fault.
LOSS = 0.03
#: What may be missing of the share that an overloaded router was due.
SHORTFALL = 0.1
#: Windows with fewer packets are too short to speak of a loss.
_ENOUGH = 100
#: Drops that others can cause; what a router's own elements drop is its own affair.
_LOSSES = (
    "rx_ring_full",
    "tx_ring_full",
    "queue_full",
    "killed",
    "slow_path_full",
    "domu_lost",
    "channel_full",
    "domu_down",
)


class Harm(NamedTuple):
    """What routers suffered at most: parts of their packets in a window, and of the share that they were due."""

    loss: float = 0.0
    shortfall: float = 0.0

    @property
    def too_much(self) -> bool:
        """Whether it is more than rings and the end of a turn explain."""
        return self.loss > LOSS or self.shortfall > SHORTFALL

    @property
    def why(self) -> str:
        """What is too much."""
        if self.loss > LOSS:
            return f"a victim lost {self.loss:.1%} more of its packets in a window than without the fault"
        return f"a victim got {self.shortfall:.1%} less of its core than it was due"

    def worst(self, other: Harm) -> Harm:
        """Return the worse of both in each respect."""
        return Harm(max(self.loss, other.loss), max(self.shortfall, other.shortfall))


class Victims:
    """The routers of a user's platform.

    Parameters
    ----------
    platform : Platform
        It runs, and nothing is let loose yet.
    names : list of str
    """

    def __init__(self, platform: Platform, names: list[str]) -> None:
        self._platform, self._names = platform, names
        before = {name: self._stats(name) for name in names}
        #: What each lost in its worst window without a fault.
        self._calm = dict(self._windows(lambda: None))
        self._overloaded = [name for name, calm in self._calm.items() if calm > LOSS or self._competed(before[name])]

    def watch(self, act: Callable[[], None]) -> Harm:
        """Let windows pass, `act` after the second; return what the routers suffered."""
        before = {name: self._stats(name) for name in self._names}
        lost = dict(self._windows(act))
        more = [lost[name] - calm for name, calm in self._calm.items() if name not in self._overloaded]
        missing = [_missing(before[name], self._stats(name)) for name in self._overloaded]
        return Harm(max(0.0, *more, 0.0), max(0.0, *missing, 0.0))

    def _competed(self, before: RouterStats) -> bool:
        """Return whether a router had work all the time, and others had, too, for most of it."""
        now = self._stats(before.name)
        contested = now.contested_s - before.contested_s
        return _due(before, now) > 0 and contested > (now.backlogged_s - before.backlogged_s) / 2

    def _windows(self, act: Callable[[], None]) -> Iterator[tuple[str, float]]:
        """Yield each router and the largest part of its packets that it lost in a window."""
        worst = dict.fromkeys(self._names, 0.0)
        last = {name: self._counts(name) for name in self._names}
        for window in range(WINDOWS):
            if window == 2:
                act()
            self._platform.tend(WINDOW_S)
            for name in self._names:
                injected, dropped = self._counts(name)
                came, lost = injected - last[name][0], dropped - last[name][1]
                last[name] = injected, dropped
                if came > _ENOUGH:
                    worst[name] = max(worst[name], lost / came)
        yield from worst.items()

    def _counts(self, name: str) -> tuple[int, int]:
        stats = self._stats(name)
        return stats.injected, sum(count for reason, count in stats.dropped.items() if reason in _LOSSES)

    def _stats(self, name: str) -> RouterStats:
        return self._platform.handle(name).stats()


def _missing(before: RouterStats, now: RouterStats) -> float:
    """Return the part of what a router was due in between that it did not get; 0 if it hardly competed."""
    due = _due(before, now)
    return max(0.0, 1 - (now.contested_used - before.contested_used) / due) if due else 0.0


def _due(before: RouterStats, now: RouterStats) -> int:
    """Return what a router was due in between, in ticks; 0 if that is too little to be judged."""
    due = now.contested_due - before.contested_due
    return due if due > LEAST_STEPS * now.contested_step else 0
