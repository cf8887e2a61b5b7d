# SPDX-License-Identifier: MIT
"""A router's flat graph of elements, and its static properties."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from vre.errors import Problem, Where
from vre.language.lexer import Source
from workers.element import Element, load
from workers.graph.shape import Shape, reach, upstream


class Edge(NamedTuple):
    """A connection: from an output of an element to an input of another, elements and ports by number."""

    source: int
    output: int
    target: int
    input: int

    @property
    def start(self) -> tuple[int, int]:
        """The element and the output that it comes from."""
        return self.source, self.output

    @property
    def end(self) -> tuple[int, int]:
        """The element and the input that it leads to."""
        return self.target, self.input


@dataclass
class Node:
    """One element of a flat graph.

    `values` are its bound arguments; `config` is the text they came from, `where` its position in the file.
    """

    name: str
    cls: type[Element]
    config: str
    where: Where
    values: dict[str, Any] = field(default_factory=dict)
    #: The text and its offset there: an error shows its line, which may be long and that of many elements.
    source: Source | None = field(default=None, compare=False, repr=False)
    at: int = field(default=0, compare=False, repr=False)

    def problem(self, message: str) -> Problem:
        """Return a mistake at this element."""
        return self.source.problem(self.at, message) if self.source else Problem(self.where, message)


@dataclass
class Graph:
    """Elements and their connections, checked and resolved.

    `pull` holds the (element, "in" or "out", port) that turned out to be pull; all others push.
    """

    nodes: list[Node]
    edges: list[Edge]
    pull: set[tuple[int, str, int]] = field(default_factory=set)

    def index(self, name: str) -> int | None:
        """Return the number of the element `name`."""
        return next((i for i, n in enumerate(self.nodes) if n.name == name), None)

    def rename_ports(self, names: Mapping[str, str]) -> None:
        """Use the platform's names of ports in place of the router's own."""
        for node in self.nodes:
            if node.cls.is_port:
                node.values["devname"] = names.get(node.values["devname"], node.values["devname"])

    @cached_property
    def tasks(self) -> list[tuple[str, int]]:
        """The drivers, as (kind, element): what the cores schedule."""
        found = []
        for i, node in enumerate(self.nodes):
            if node.cls.driver == "pull" and (i, "in", 0) in self.pull and self._fed_by_queue(i):
                found.append(("pull", i))
            elif node.cls.driver in ("rx", "source", "domu"):
                found.append((node.cls.driver, i))
        return found

    @cached_property
    def _before(self) -> dict[tuple[int, int], int]:
        return {edge.end: edge.source for edge in self.edges}

    def _fed_by_queue(self, i: int) -> bool:
        """Return whether a queue, and not a source or nothing, is at the upper end of a pull path."""
        at: int | None = i
        seen = set()
        while at is not None and at not in seen:
            seen.add(at)
            at = self._before.get((at, 0))
            if at is not None and self.nodes[at].cls.is_queue:
                return True
        return False

    @cached_property
    def shape(self) -> Shape:
        """What its compiled code depends on."""
        # Plain tuples: the name of the code is a hash over how they are written.
        edges = tuple(sorted(edge[:] for edge in self.edges))
        return Shape(tuple(n.cls.__name__ for n in self.nodes), edges, tuple(self.tasks))

    @cached_property
    def groups(self) -> list[list[int]]:
        """Tasks by number, grouped if they share an element or one end of a queue.

        A group runs on one core: its elements have one writer. Only a Queue connects two cores.
        """
        owner: dict[tuple[int, str], int] = {}
        parent = list(range(len(self.tasks)))

        def root(t: int) -> int:
            while parent[t] != t:
                t = parent[t]
            return t

        for number, (kind, driver) in enumerate(self.tasks):
            ends = [(e, "in") for e in reach(self.shape, number)]
            if kind == "pull":
                ends += [(upstream(self.shape, driver)[0], "out"), (driver, "in")]
            for end in ends:
                parent[root(number)] = root(owner.setdefault(end, number))
        together: dict[int, list[int]] = {}
        for number in range(len(self.tasks)):
            together.setdefault(root(number), []).append(number)
        return list(together.values())

    def fed_by(self, tasks: list[int]) -> list[int]:
        """Return the other groups, by number, from whose queues some tasks take."""
        found = set()
        for number in tasks:
            kind, driver = self.tasks[number]
            if kind != "pull":
                continue
            queue = upstream(self.shape, driver)[0]
            for i, group in enumerate(self.groups):
                if not set(tasks) & set(group) and any(queue in reach(self.shape, t) for t in group):
                    found.add(i)
        return sorted(found)

    def scheduling(self, element: str) -> dict[int, int]:
        """Return task number to value, from all configuration elements of class `element`."""
        said = {name: value for n in self.nodes if n.cls.__name__ == element for name, value in n.values["element"]}
        return {t: said[self.task_name(t)] for t in range(len(self.tasks)) if self.task_name(t) in said}

    def task_name(self, number: int) -> str:
        """Return a task's name: its driver's."""
        return self.nodes[self.tasks[number][1]].name


def simple(chain: list[tuple[str, str]], edges: list[tuple[int, int, int, int]] | None = None) -> Graph:
    """Return an unchecked graph of (class, config) in a row; for tests and benchmarks."""
    registry = load()
    nodes = [Node(f"{c}@{i + 1}", registry[c], text, Where("", 1, 1)) for i, (c, text) in enumerate(chain)]
    for node in nodes:
        node.values, errors = node.cls.bind(node.config)
        if errors:
            raise errors[0]
    return Graph(nodes, [Edge(*e) for e in edges or [(i, 0, i + 1, 0) for i in range(len(chain) - 1)]])
