# SPDX-License-Identifier: MIT
"""Configuration-time checks of a router: arguments, ports, push and pull.

All errors are reported at once; a correct configuration becomes a :class:`vre.language.graph.Graph`.
"""

from __future__ import annotations

from collections import deque

from shm.channel import OUTPUTS
from shm.layout import SPARES
from vre.errors import ConfigError, Problem, Where
from vre.language.flatten import Arrow, FlatElement, flatten
from vre.language.fusion import MOST, merge, problem_with, too_many_exits
from vre.language.graph import Edge, Graph, Node
from vre.language.lexer import Source
from workers.datapath.turn import PACKET_ENTRIES, PORT_MASK
from workers.element import port_range, processing_of
from workers.graph.spread import MARGIN, Spread

Port = tuple[int, str, int]


def check(source: Source, overrides: dict[str, str] | None = None) -> Graph:
    """Return the graph of a router's configuration.

    Parameters
    ----------
    source : Source
    overrides : dict, optional
        Values of global variables, as from a command line.

    Raises
    ------
    ConfigError
        All mistakes, each with its position.
    """
    checker = _Checker(source, *flatten(source, overrides or {}))
    graph = checker.run()
    if checker.problems:
        unique = list(dict.fromkeys(checker.problems))
        raise ConfigError(sorted(unique, key=lambda p: p.where or Where("", 0, 0)))
    return graph


class _Checker:
    def __init__(
        self, source: Source, elements: list[FlatElement], arrows: list[Arrow], problems: list[Problem]
    ) -> None:
        self.source, self.elements, self.problems = source, elements, problems
        self.arrows = list(dict.fromkeys(arrows))

    def run(self) -> Graph:
        nodes = [self._bind(e) for e in self.elements]
        complete = not self.problems
        # An element with an error would make its neighbours' ports look unused.
        if complete:
            self._ports(nodes)
        pull = self._processing(nodes)
        if complete:
            self._reuse(nodes, pull)
        if complete and not self.problems:
            self._drivers(nodes, pull)
        graph = Graph(nodes, [arrow.edge for arrow in self.arrows], pull)
        if not self.problems:
            graph = self._untrusted(graph)
        if not self.problems and any(node.cls.copies() for node in graph.nodes):
            self._copies(graph)
        return graph

    def _untrusted(self, graph: Graph) -> Graph:
        """Check the files of untrusted elements; fuse those that are connected."""
        untrusted = [i for i, node in enumerate(graph.nodes) if node.cls.driver == "domu"]
        if len(untrusted) > MOST:
            self._problem(self.elements[untrusted[MOST]].at, f"more than {MOST} untrusted elements in a router")
            return graph
        for i in untrusted:
            node = graph.nodes[i]
            if wrong := problem_with(node):
                self._problem(self.elements[i].config_at, f"'{node.name} :: Untrusted' {wrong}")
        merged = merge(graph)
        for node in merged.nodes:
            if node.cls.driver == "domu" and too_many_exits(node):
                at = next(e.at for e in self.elements if e.name == node.name)
                self._problem(at, f"'{node.name}' and what follows it have more than {OUTPUTS} outputs")
        return merged

    def _copies(self, graph: Graph) -> None:
        """Refuse a graph that could make more of one packet than a core has room for."""
        spread = Spread(graph.shape)
        for most, limit, what in (
            (spread.entries, PACKET_ENTRIES - MARGIN, "copies and drops may come of one packet"),
            (spread.depth, SPARES - 1, "copies of copies may be made of one packet"),
        ):
            element = max(most, key=lambda e: most[e], default=0)
            if most.get(element, 0) > limit:
                name = graph.nodes[element].name
                at = next((e.at for e in self.elements if e.name == name), 0)
                self._problem(at, f"behind '{name}' {most[element]} {what}, more than {limit}; put a Queue between")

    def _problem(self, at: int, message: str) -> None:
        self.problems.append(self.source.problem(at, message))

    def _bind(self, element: FlatElement) -> Node:
        values, errors = element.cls.bind(element.config)
        for error in errors:
            at = element.config_at + (error.offset if element.literal else 0)
            self._problem(at, f"'{element.name} :: {element.cls.__name__}' {error}")
        where = self.source.where(element.at)
        return Node(element.name, element.cls, element.config.strip(), where, values, self.source, element.at)

    def _ports(self, nodes: list[Node]) -> None:
        """Check port numbers and counts, and that every port is used."""
        used: list[tuple[set[int], set[int]]] = [(set(), set()) for _ in nodes]
        for edge, _ in self.arrows:
            used[edge.target][0].add(edge.input)
            used[edge.source][1].add(edge.output)
        for i, node in enumerate(nodes):
            inputs, outputs = used[i]
            left, _, right = node.cls.ports.partition("/")
            asked = node.cls.outputs(node.values)
            self._side(i, node, "input", inputs, *port_range(left))
            low, high = port_range(right)
            if asked is not None:
                low = high = asked
            if max(outputs, default=0) > PORT_MASK and node.cls.slow is not None:
                self._problem(self.elements[i].at, f"'{node.name}' has more than {PORT_MASK + 1} outputs")
            self._side(i, node, "output", outputs, low, high)

    def _side(self, i: int, node: Node, side: str, used: set[int], low: int, high: int) -> None:
        at = self.elements[i].at
        label = f"'{node.name} :: {node.cls.__name__}'"
        for port in sorted(p for p in used if p >= high):
            arrow = next(at for edge, at in self.arrows if (edge.start if side == "output" else edge.end) == (i, port))
            has = "none" if high == 0 else f"{high}" if low == high else f"at most {high}"
            self._problem(arrow, f"{label} has no {side} {port}: it has {has}")
        wanted = max(low, max(used, default=-1) + 1)
        for port in range(min(wanted, high)):
            if port not in used:
                self._problem(at, f"{label} {side} {port} unused")

    def _processing(self, nodes: list[Node]) -> set[tuple[int, str, int]]:
        """Resolve which ports pull: codes propagate along connections, and through agnostic elements."""
        spread = _Spread(nodes, [arrow.edge for arrow in self.arrows])
        while spread.connections or spread.elements:
            while spread.connections:
                number = spread.connections.popleft()
                if spread.connect(number):
                    edge, at = self.arrows[number]
                    self._problem(at, self._clash(nodes, edge, spread.clash))
            if spread.elements:
                i = spread.elements.popleft()
                if spread.pass_on(i):
                    message = f"agnostic '{nodes[i].name}' in mixed context: pushed to and pulled from"
                    self._problem(self.elements[i].at, message)
        return {place for place, code in spread.kinds.items() if code == "l"}

    @staticmethod
    def _clash(nodes: list[Node], edge: Edge, kinds: tuple[str, str]) -> str:
        words = {"h": "push", "l": "pull"}
        between = "a Queue" if kinds[0] == "h" else "an Unqueue"
        return (
            f"'{nodes[edge.source].name}' {words[kinds[0]]} output {edge.output} connected to "
            f"'{nodes[edge.target].name}' {words[kinds[1]]} input {edge.input}; put {between} between them"
        )

    def _reuse(self, nodes: list[Node], pull: set[tuple[int, str, int]]) -> None:
        """A push output and a pull input have exactly one connection."""
        seen: set[tuple[int, str, int]] = set()
        for edge, at in self.arrows:
            for i, side, number in ((edge.source, "out", edge.output), (edge.target, "in", edge.input)):
                single = ((i, side, number) in pull) == (side == "in")
                if single and (i, side, number) in seen:
                    kind, word = ("push", "output") if side == "out" else ("pull", "input")
                    self._problem(
                        at,
                        f"illegal reuse of '{nodes[i].name} :: {nodes[i].cls.__name__}' {kind} {word} {number}"
                        + ("; use a Tee to copy packets" if side == "out" else ""),
                    )
                seen.add((i, side, number))

    def _drivers(self, nodes: list[Node], pull: set[tuple[int, str, int]]) -> None:
        """Each pull path must end in exactly one puller."""
        after = {edge.start: edge.target for edge, _ in self.arrows}
        for i, node in enumerate(nodes):
            if not node.cls.is_queue:
                continue
            at, seen = after.get((i, 0)), {i}
            while at is not None and nodes[at].cls.driver != "pull":
                seen.add(at)
                at = after.get((at, 0))
                at = None if at in seen else at
            if at is None:
                self._problem(
                    self.elements[i].at, f"nothing pulls from '{node.name}': connect it to ToDevice, Unqueue or Discard"
                )


class _Spread:
    """Push and pull, propagated from ports whose code is fixed: a connection is examined when an end of it changes.

    A port is (element, "in" or "out", number); its code is `h` push, `l` pull, `a` agnostic, or `x` once it clashed.
    """

    def __init__(self, nodes: list[Node], edges: list[Edge]) -> None:
        self.kinds: dict[Port, str] = {}
        self.clash = ("", "")
        self._ends: list[tuple[Port, Port]] = []
        self._at: dict[Port, list[int]] = {}
        self._agnostic: dict[int, list[Port]] = {}
        for number, edge in enumerate(edges):
            a, b = (edge.source, "out", edge.output), (edge.target, "in", edge.input)
            self._ends.append((a, b))
            for place, part in ((a, 2), (b, 0)):
                code = processing_of(nodes[place[0]].cls.processing.partition("/")[part], place[2])
                if code == "a" and place not in self.kinds:
                    self._agnostic.setdefault(place[0], []).append(place)
                self.kinds[place] = code
                self._at.setdefault(place, []).append(number)
        self.connections = deque(range(len(edges)))
        self.elements = deque(self._agnostic)

    def _settle(self, place: Port, code: str) -> None:
        self.kinds[place] = code
        self.connections += self._at[place]
        if place[0] in self._agnostic:
            self.elements.append(place[0])

    def connect(self, number: int) -> bool:
        """Unify the ends of a connection; return whether they clash."""
        a, b = self._ends[number]
        one, other = self.kinds[a], self.kinds[b]
        if one == other or "x" in (one, other):
            return False
        if one == "a":
            self._settle(a, other)
        elif other == "a":
            self._settle(b, one)
        else:
            self.clash = one, other
            self.kinds[a] = self.kinds[b] = "x"
            return True
        return False

    def pass_on(self, i: int) -> bool:
        """Unify all agnostic ports of an element; return whether they clash."""
        ports = self._agnostic[i]
        settled = {self.kinds[p] for p in ports} - {"a", "x"}
        if len(settled) > 1:
            for p in ports:
                self.kinds[p] = "x"
            return True
        for p in ports if settled else ():
            if self.kinds[p] == "a":
                self._settle(p, next(iter(settled)))
        return False
