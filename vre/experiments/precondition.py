# SPDX-License-Identifier: MIT
"""What must hold before shares can be judged: every path had packets waiting throughout.

On a fast host a cheap path is done with what the wire brought before the wire comes round again; it cannot use its
share then, which is the host's fault. So paths have an element that spends time, and are made more expensive while they
run until all are backlogged; if even that does not help, the outcome says that this host cannot judge.
"""

from __future__ import annotations

from collections.abc import Iterable

from vre.experiments.outcome import Outcome
from vre.experiments.setup import Window, progress, window
from vre.platform.platform import Platform

#: Put into a path's configuration.
WORK = "work :: Spend"
#: How expensive paths are made: steps of Spend, some 5 cycles each.
_ROUNDS = (0, 25, 50, 100, 200, 400, 800, 1600)
#: The part of the time for which a path that is being overloaded has packets waiting, at least.
LEAST = 0.97


def with_work(config: str) -> str:
    """Return a path's configuration with an element that spends time behind its Strip."""
    before, strip, behind = config.partition("Strip(14) -> ")
    if not strip:
        raise ValueError("the path has no 'Strip(14) -> ' that work could go behind")
    return f"{before}{strip}{WORK} -> {behind}"


def backlogged(found: dict[str, Window]) -> float:
    """Return for what part of a window the path that waited least for packets had some."""
    return min(w.backlogged for w in found.values())


def overload(box: Platform, names: Iterable[str], seconds: float, outcome: Outcome) -> None:
    """Make paths more expensive, all alike, until each has packets waiting even when they are half as expensive."""
    part, enough = 0.0, False
    for rounds in _ROUNDS:
        for name in names:
            box.write(f"{name}/work.rounds", str(rounds))
        box.tend(seconds / 2)
        part = backlogged(window(box, seconds))
        progress.get()(f"{rounds} rounds of work: packets wait {part:.1%} of the time")
        if part >= LEAST and enough:
            break
        enough = part >= LEAST
    outcome.notes.append(f"{rounds} rounds of work a packet: all paths have packets waiting {part:.1%} of the time")


def contested(box: Platform, seconds: float, count: int, outcome: Outcome) -> list[dict[str, Window]]:
    """Return `count` windows in which every path had packets waiting; none if most of the windows are no such ones.

    Then the outcome says that this host cannot judge: it is too fast for its wire, or another process had the wire's
    processor.
    """
    found: list[dict[str, Window]] = []
    tried, part = 0, 0.0
    while len(found) < count and tried < 3 * count:
        one = window(box, seconds)
        tried += 1
        part = max(part, backlogged(one))
        if backlogged(one) >= LEAST:
            found.append(one)
    if len(found) < count:
        outcome.unjudged = (
            f"only {len(found)} of {tried} windows had packets waiting for every path {LEAST:.0%} of the time "
            f"(the best one: {part:.1%})"
        )
        return []
    return found
