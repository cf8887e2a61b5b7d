# SPDX-License-Identifier: MIT
"""What a packet of a task costs by the declared model: cycles of the paper's box, cache lines."""

from __future__ import annotations

from workers.element import load
from workers.graph.shape import Shape
from workers.graph.traces import Traces

#: Cache lines that a packet touches on its way in, out and through a queue: descriptors, its header, and what
#: the NIC writes and reads (the paper, section 2.1.1).
_IN = {"rx": 4, "pull": 2, "source": 2, "domu": 4}
_OUT = 4


def main_way(shape: Shape, number: int) -> list[int]:
    """Return the elements that most packets of a task pass: at each, the output with the most behind it."""
    traces = Traces(shape)
    kind, driver = shape.tasks[number]
    at: int | None = next(iter(traces.entries(kind, driver)), None)
    passed: list[int] = []
    while at is not None and at not in passed:
        passed.append(at)
        follows = traces.next.get((at, traces.onward.get(at, -1)))
        at = follows[0] if follows and not traces.ends(at) else None
    return passed


def lines_touched(shape: Shape, number: int) -> int:
    """Return how many cache lines a packet of a task touches."""
    registry = load()
    total = _IN[shape.tasks[number][0]]
    for element in main_way(shape, number):
        cls = registry[shape.classes[element]]
        total += cls.lines + (_OUT if cls.sends() else 0)
    return total


def cycles_modelled(shape: Shape, number: int) -> int:
    """Return how many cycles a packet of a task takes on the paper's box, all on one core."""
    registry = load()
    return sum(registry[shape.classes[element]].cycles for element in main_way(shape, number))
