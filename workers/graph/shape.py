# SPDX-License-Identifier: MIT
"""A router's shape: the classes and the wiring of its graph, and what follows from them alone."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from shm.layout import APART
from shm.manifest import Wiring
from workers.element import Element, digest, is_ours, load

#: Name of a drop that any element with a slow path may count: its ring was full.
SLOW_FULL = "slow_path_full"


@dataclass(frozen=True)
class Shape:
    """What a composed module depends on; its fields are those of :class:`shm.manifest.Wiring`."""

    classes: tuple[str, ...]
    edges: tuple[tuple[int, int, int, int], ...]
    tasks: tuple[tuple[str, int], ...]

    @cached_property
    def before(self) -> dict[tuple[int, int], tuple[int, int]]:
        """Which (element, output) leads to an (element, input)."""
        return {(e[2], e[3]): (e[0], e[1]) for e in self.edges}

    @cached_property
    def following(self) -> dict[int, list[int]]:
        """Which elements an element leads to."""
        found: dict[int, list[int]] = {}
        for source, _, target, _ in self.edges:
            found.setdefault(source, []).append(target)
        return found

    @cached_property
    def bypasses(self) -> dict[int, int]:
        """The queues that feed a ToDevice, and that element: an empty one need not be gone through."""
        registry = load()
        return {
            upstream(self, driver)[0]: driver
            for kind, driver in self.tasks
            if kind == "pull" and registry[self.classes[driver]].sends()
        }

    @property
    def wiring(self) -> Wiring:
        """It, for a manifest."""
        return Wiring(self.classes, self.edges, self.tasks)

    @classmethod
    def of(cls, wiring: Wiring) -> Shape:
        """Return the shape that a manifest has."""
        return cls(wiring.classes, wiring.edges, wiring.tasks)

    def key(self) -> str:
        """Return a name for the shape, the same in every process; another one when elements of others change."""
        registry = load()
        # Also of those that have only a slow path: where all states are follows from theirs.
        foreign = [digest(registry[name]) for name in sorted(set(self.classes)) if not is_ours(registry[name])]
        return hashlib.sha256(repr((self.classes, self.edges, self.tasks, foreign)).encode()).hexdigest()[:16]


def reasons(cls: type[Element]) -> tuple[str, ...]:
    """Return why an element drops packets, the shared reason of slow-path elements last."""
    return (*cls.reasons, SLOW_FULL)


def offsets(classes: tuple[str, ...]) -> tuple[list[int], int]:
    """Return where each element's state is in the block, and the block's size; it follows from the classes."""
    registry = load()
    places, end = [], 0
    for name in classes:
        places.append(end)
        end += registry[name].layout().size
    return places, -(-end // APART) * APART


def upstream(shape: Shape, element: int) -> tuple[int, tuple[int, int]]:
    """Return the Queue that a pull driver takes from, and the (element, input) right behind it."""
    at = (element, 0)
    while True:
        source, _ = shape.before[at]
        if load()[shape.classes[source]].is_queue:
            return source, at
        at = (source, 0)


def reach(shape: Shape, number: int) -> set[int]:
    """Return the elements that a task runs: from its driver, or from behind its queue, to queues and sinks."""
    registry = load()
    kind, driver = shape.tasks[number]
    todo = [upstream(shape, driver)[1][0]] if kind == "pull" else [driver]
    seen: set[int] = set()
    while todo:
        at = todo.pop()
        if at in seen:
            continue
        seen.add(at)
        cls = registry[shape.classes[at]]
        # What is pushed into a channel to a domU comes back by another task.
        crosses = cls.driver == "domu" and (kind, at) != ("domu", driver)
        if not crosses and (not cls.is_queue or at in shape.bypasses):
            todo += shape.following.get(at, [])
    return seen


def channels(shape: Shape, number: int) -> list[int]:
    """Return the elements through whose channels a task sends or receives."""
    registry = load()
    return [e for e in sorted(reach(shape, number)) if registry[shape.classes[e]].driver == "domu"]
