# SPDX-License-Identifier: MIT
"""Configuration-time checks of a router: arguments, ports, push and pull.

Everything that is wrong is reported at once; what is right becomes a :class:`vre.graph.Graph`.
"""

from __future__ import annotations

from shm.channel import OUTPUTS
from vre.cluster import merge, problem_with, too_many_exits
from vre.errors import ConfigError, Problem, Where
from vre.flatten import FlatElement, flatten
from vre.graph import Graph, Node
from vre.lexer import Source
from workers.element import port_range, processing_of
from workers.turn import PORT_MASK

Edge = tuple[int, int, int, int, int]


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
        All mistakes, each with its place.
    """
    elements, edges, problems = flatten(source, overrides or {})
    checker = _Checker(source, elements, edges, problems)
    graph = checker.run()
    if checker.problems:
        unique = list(dict.fromkeys(checker.problems))
        raise ConfigError(sorted(unique, key=lambda p: p.where or Where("", 0, 0)))
    return graph


class _Checker:
    def __init__(self, source: Source, elements: list[FlatElement], edges: list[Edge], problems: list[Problem]) -> None:
        self.source, self.elements, self.problems = source, elements, problems
        self.edges = list(dict.fromkeys(edges))

    def run(self) -> Graph:
        nodes = [self._bind(e) for e in self.elements]
        complete = not self.problems
        # An element that could not be understood would make its neighbours' ports look unused.
        if complete:
            self._ports(nodes)
        pull = self._processing(nodes)
        if complete:
            self._reuse(nodes, pull)
        if complete and not self.problems:
            self._drivers(nodes, pull)
        graph = Graph(nodes, [e[:4] for e in self.edges], pull)
        return graph if self.problems else self._untrusted(graph)

    def _untrusted(self, graph: Graph) -> Graph:
        """Look into the files of untrusted elements; let those that are connected be one."""
        for i, node in enumerate(graph.nodes):
            wrong = problem_with(node) if node.cls.driver == "domu" else None
            if wrong:
                self._problem(self.elements[i].config_at, f"'{node.name} :: Untrusted' {wrong}")
        merged = merge(graph)
        for node in merged.nodes:
            if node.cls.driver == "domu" and too_many_exits(node):
                at = next(e.at for e in self.elements if e.name == node.name)
                self._problem(at, f"'{node.name}' and what follows it have more than {OUTPUTS} outputs")
        return merged

    def _problem(self, at: int, message: str) -> None:
        self.problems.append(self.source.problem(at, message))

    def _bind(self, element: FlatElement) -> Node:
        values, errors = element.cls.bind(element.config)
        for error in errors:
            at = element.config_at + (error.offset if element.literal else 0)
            self._problem(at, f"'{element.name} :: {element.cls.__name__}' {error}")
        return Node(element.name, element.cls, element.config.strip(), self.source.where(element.at), values)

    def _ports(self, nodes: list[Node]) -> None:
        """Check port numbers and counts, and that every port is used."""
        for i, node in enumerate(nodes):
            inputs = {e[3] for e in self.edges if e[2] == i}
            outputs = {e[1] for e in self.edges if e[0] == i}
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
            ends = slice(0, 2) if side == "output" else slice(2, 4)
            arrow = next(e[4] for e in self.edges if e[ends] == (i, port))
            has = "none" if high == 0 else f"{high}" if low == high else f"at most {high}"
            self._problem(arrow, f"{label} has no {side} {port}: it has {has}")
        wanted = max(low, max(used, default=-1) + 1)
        for port in range(min(wanted, high)):
            if port not in used:
                self._problem(at, f"{label} {side} {port} unused")

    def _processing(self, nodes: list[Node]) -> set[tuple[int, str, int]]:
        """Settle which ports pull: codes spread along connections, and through agnostic elements."""
        kinds: dict[tuple[int, str, int], str] = {}
        agnostic: dict[int, list[tuple[int, str, int]]] = {}
        for source, output, target, port, _ in self.edges:
            for i, side, number, part in ((source, "out", output, 2), (target, "in", port, 0)):
                code = processing_of(nodes[i].cls.processing.partition("/")[part], number)
                kinds[i, side, number] = code
                if code == "a":
                    agnostic.setdefault(i, []).append((i, side, number))
        changed = True
        while changed:
            changed = False
            for source, output, target, port, at in self.edges:
                a, b = (source, "out", output), (target, "in", port)
                if kinds[a] == kinds[b] or "x" in (kinds[a], kinds[b]):
                    continue
                if "a" in (kinds[a], kinds[b]):
                    known = kinds[a] if kinds[b] == "a" else kinds[b]
                    kinds[a] = kinds[b] = known
                    changed = True
                else:
                    words = {"h": "push", "l": "pull"}
                    self._problem(
                        at,
                        f"'{nodes[source].name}' {words[kinds[a]]} output {output} connected to "
                        f"'{nodes[target].name}' {words[kinds[b]]} input {port}"
                        + ("; put a Queue between them" if kinds[a] == "h" else "; put an Unqueue between them"),
                    )
                    kinds[a] = kinds[b] = "x"
            for i, ports in agnostic.items():
                settled = {kinds[p] for p in ports} - {"a", "x"}
                if len(settled) > 1:
                    self._problem(
                        self.elements[i].at, f"agnostic '{nodes[i].name}' in mixed context: pushed to and pulled from"
                    )
                    for p in ports:
                        kinds[p] = "x"
                elif settled and any(kinds[p] == "a" for p in ports):
                    for p in ports:
                        kinds[p] = next(iter(settled))
                    changed = True
        return {place for place, code in kinds.items() if code == "l"}

    def _reuse(self, nodes: list[Node], pull: set[tuple[int, str, int]]) -> None:
        """A push output and a pull input have exactly one connection."""
        seen: set[tuple[int, str, int]] = set()
        for source, output, target, port, at in self.edges:
            for i, side, number in ((source, "out", output), (target, "in", port)):
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
        """Each pull path must end in something that pulls, and it may hold only one of them."""
        after = {(e[0], e[1]): e[2] for e in self.edges}
        for i, node in enumerate(nodes):
            if node.cls.processing != "h/l":
                continue
            at: int | None = i
            while at is not None and (at == i or nodes[at].cls.driver != "pull"):
                at = after.get((at, 0))
            if at is None:
                self._problem(
                    self.elements[i].at, f"nothing pulls from '{node.name}': connect it to ToDevice, Unqueue or Discard"
                )
