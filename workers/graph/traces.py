# SPDX-License-Identifier: MIT
"""Traces: which elements of a graph become one compiled function (trace scheduling: Fisher, 1981).

A trace follows each element's output with the most elements behind it, and calls what branches off. A new one begins
where a task or the slow path enters, where paths join and where one branches off.
"""

from __future__ import annotations

from collections.abc import Iterator

from workers.element import load
from workers.graph.shape import Shape, upstream


class Traces:
    """The traces of a shape.

    Attributes
    ----------
    next : dict
        (element, output) to the (element, input) that follows.
    onward : dict
        Element to the output that its trace follows.
    outputs : dict
        Element to its connected outputs.
    heads : set of int
        Elements that a trace begins with; `order` has them with callees first.
    cut : set of (int, int)
        Edges back to a trace that is not complete yet: packets go round in later turns.
    """

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        registry = load()
        self.classes = [registry[name] for name in shape.classes]
        self.next = {(e[0], e[1]): (e[2], e[3]) for e in shape.edges}
        self.outputs: dict[int, list[int]] = {}
        for element, output in sorted(self.next):
            self.outputs.setdefault(element, []).append(output)
        self.bypasses = shape.bypasses
        self.onward: dict[int, int] = {}
        self.cut: set[tuple[int, int]] = set()
        self.heads: set[int] = set()
        self.order = self._plan()

    def _plan(self) -> list[int]:
        """Find the traces; return their heads, callees first."""
        callers = [0] * len(self.classes)
        for element, output in self.next:
            if not self.ends(element):
                callers[self.next[element, output][0]] += 1
        heads = {target for (e, _), (target, _) in self.next.items() if callers[target] != 1}
        for kind, driver in self.shape.tasks:
            heads |= {driver, *self.entries(kind, driver)} if kind == "domu" else set(self.entries(kind, driver))
        for element in range(len(self.classes)):
            branches = [] if self.ends(element) else self.outputs.get(element, [])
            cls = self.classes[element]
            # Of copies and originals, the originals go on; what is bad branches off.
            good = [o for o in branches if o == 0 or not (cls.copies() or o == cls.bad_port)]
            if branches:
                best = max(good or [-1], key=lambda o: (self._weight(element, o), -o))
                heads |= {self.next[element, o][0] for o in branches if o != best}
                if good:
                    self.onward[element] = best
        self.heads = heads | self._entered_by_nobody(heads)
        heads = self.heads
        order: list[int] = []
        state: dict[int, int] = {}

        def visit(head: int) -> None:
            state[head] = 1
            for element in self.along(head):
                for output in [] if self.ends(element) else self.outputs.get(element, []):
                    target = self.next[element, output][0]
                    if target not in heads:
                        continue
                    if state.get(target) == 1:
                        self.cut.add((element, output))
                    elif target not in state:
                        visit(target)
            state[head] = 2
            order.append(head)

        for head in sorted(heads):
            if head not in state:
                visit(head)
        return order

    def _entered_by_nobody(self, heads: set[int]) -> set[int]:
        """Return an element of each cycle that no other trace leads into: only the slow path gets there."""
        found: set[int] = set()
        done = set(heads)
        for element in range(len(self.classes)):
            at, seen = element, set()
            while at not in done and at in self.onward:
                seen.add(at)
                at = self.next[at, self.onward[at]][0]
                if at in seen:
                    found.add(at)
                    break
            done |= seen
        return found

    def entries(self, kind: str, driver: int) -> list[int]:
        """Return where a task's packets enter compiled code."""
        if kind == "pull":
            return [upstream(self.shape, driver)[1][0]]
        if kind == "domu":
            return [target for (element, _), (target, _) in sorted(self.next.items()) if element == driver]
        return [driver]

    def along(self, head: int) -> Iterator[int]:
        """Yield the elements of the function that begins with `head`."""
        at: int | None = head
        while at is not None:
            yield at
            target = self.next.get((at, self.onward[at]), (None, 0))[0] if at in self.onward else None
            at = None if target in self.heads else target

    def _weight(self, element: int, output: int) -> int:
        """Return how many elements are behind an output."""
        seen: set[int] = set()
        todo = [self.next[element, output][0]] if (element, output) in self.next else []
        while todo:
            at = todo.pop()
            if at not in seen:
                seen.add(at)
                if not self.ends(at):
                    todo += [self.next[at, output][0] for output in self.outputs.get(at, [])]
        return len(seen)

    def ends(self, element: int) -> bool:
        """Return whether no compiled element ever follows: slow-path elements, channels and most queues."""
        cls = self.classes[element]
        crosses = cls.driver == "domu"
        return cls.process is None or crosses or (cls.is_queue and element not in self.bypasses)
