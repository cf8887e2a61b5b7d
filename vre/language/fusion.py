# SPDX-License-Identifier: MIT
"""Untrusted elements of a router: static checks, and the fusion of connected ones.

Connected untrusted elements become one node: packets cross into the domU once, whichever way they take there.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from shm.channel import OUTPUTS
from vre.language.graph import Edge, Graph, Node
from workers.arguments import KINDS, REQUIRED, Argument, between, bind, split
from workers.domu.outline import Class, outline
from workers.domu.spec import Cluster, ElementSpec
from workers.files import ELEMENT_BYTES, place, read_file

#: An element and one of its outputs, or of its inputs.
Endpoint = tuple[int, int]
#: Untrusted elements that a router may have.
MOST = 256


def find_file(node: Node) -> Path:
    """Return the file of an untrusted element: relative to the file that names it."""
    return place(node.values["class"][0], Path(node.where.file).parent)


def problem_with(node: Node) -> str | None:
    """Return what is wrong with an untrusted element, as far as its file tells without running it."""
    file, name = find_file(node), node.values["class"][1]
    if file.suffix != ".py":
        return f"{file} is no element's file: that is called NAME.py"
    try:
        found = outline(read_file(file, ELEMENT_BYTES))
    except OSError as error:
        return f"cannot read {file}: {error.strerror}"
    if found.error:
        return f"{file}{f', line {found.line}' if found.line else ''}: {found.error}"
    if name not in found.classes and name not in found.bound:
        return f"{file} has no class {name}; it has {', '.join(list(found.classes)[:20]) or 'none'}"
    return unfit(name, found.classes[name], ", ".join(node.values["args"])) if name in found.classes else None


def unfit(name: str, told: Class, config: str) -> str | None:
    """Return why a class cannot be constructed with these arguments, or handles no packets; None if unknown."""
    if told.kind == "unknown":
        return None
    if not told.handles:
        return f"is a class {name} with none of process, push and batch"
    given = split(config)
    if told.kind == "plain":
        if told.least <= len(given) and (told.most is None or len(given) <= told.most):
            return None
        takes = f"{told.least}" if told.least == told.most else f"{told.least} to {told.most}"
        takes = f"at least {told.least}" if told.most is None else takes
        return f"is given {len(given)} argument(s); {name}.__init__ takes {takes}"
    if told.arguments is None:
        return None
    declared = tuple(
        Argument(argument, _kind(kind), None if default else REQUIRED, keyword, rest)
        for argument, kind, default, keyword, rest in told.arguments
    )
    _, errors = bind(declared, given)
    return f"{name}: " + "; ".join(str(error) for error in errors) if errors else None


def _kind(said: list[Any] | None) -> Callable[[str], Any]:
    """Return the parser of an argument: one of :mod:`workers.arguments`, or one that accepts any text."""
    if said and said[0] == "between" and len(said) == 3 and all(isinstance(bound, int) for bound in said[1:]):
        return between(*said[1:])
    return KINDS.get(said[0], str) if said and len(said) == 1 else str


def merge(graph: Graph) -> Graph:
    """Return a graph in which connected untrusted elements are one node.

    Its `values["cluster"]` says what is inside: a :class:`workers.domu.spec.Cluster`.
    """
    clusters = _connected(graph)
    if not clusters:
        return graph
    first = {element: members[0] for members in clusters for element in members}
    keep = [i for i in range(len(graph.nodes)) if first.get(i, i) == i]
    number = {old: new for new, old in enumerate(keep)}
    nodes = [graph.nodes[i] for i in keep]
    crossing = [edge for edge in graph.edges if edge.source not in first or edge.target not in first]
    #: Where an edge that crosses starts and ends once its cluster is one element.
    starts: dict[Endpoint, Endpoint] = {}
    ends: dict[Endpoint, Endpoint] = {}
    for members in clusters:
        exits = sorted({edge.start for edge in crossing if edge.source in members})
        entries = sorted({edge.end for edge in crossing if edge.target in members})
        whole = number[members[0]]
        nodes[whole] = _whole(graph, members, entries, exits)
        starts |= {leaving: (whole, port) for port, leaving in enumerate(exits)}
        ends |= {entry: (whole, port) for port, entry in enumerate(entries)}
    edges = set()
    for edge in crossing:
        source, output = starts.get(edge.start) or (number[edge.source], edge.output)
        target, port = ends.get(edge.end) or (number[edge.target], edge.input)
        edges.add(Edge(source, output, target, port))
    pull = {(number[i], side, port) for i, side, port in graph.pull if i not in first}
    return Graph(nodes, sorted(edges), pull)


def _connected(graph: Graph) -> list[list[int]]:
    """Return the untrusted elements by number, grouped by connection."""
    parent = {i: i for i, node in enumerate(graph.nodes) if node.cls.driver == "domu"}

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for edge in graph.edges:
        if edge.source in parent and edge.target in parent:
            one, other = sorted((root(edge.source), root(edge.target)))
            parent[other] = one
    found: dict[int, list[int]] = {}
    for i in parent:
        found.setdefault(root(i), []).append(i)
    return list(found.values())


def _whole(graph: Graph, members: list[int], entries: list[Endpoint], exits: list[Endpoint]) -> Node:
    first = graph.nodes[members[0]]
    sources = list(dict.fromkeys(str(find_file(graph.nodes[i])) for i in members))
    elements = tuple(
        ElementSpec(
            node.name,
            sources.index(str(find_file(node))),
            class_name=node.values["class"][1],
            arguments=", ".join(node.values["args"]),
            exits={p: exits.index((a, p)) for a, p in exits if a == i},
            inner={p: (members.index(b), q) for a, p, b, q in graph.edges if a == i and b in members},
        )
        for i, node in ((i, graph.nodes[i]) for i in members)
    )
    cluster = Cluster(tuple(sources), elements, tuple((members.index(i), port) for i, port in entries))
    return Node(first.name, first.cls, first.config, first.where, first.values | {"cluster": cluster})


def too_many_exits(node: Node) -> bool:
    """Return whether a merged element has more outputs than a return can name."""
    return sum(len(element.exits) for element in node.values["cluster"].elements) > OUTPUTS
