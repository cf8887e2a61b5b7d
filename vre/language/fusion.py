# SPDX-License-Identifier: MIT
"""Untrusted elements of a router: static checks, and the fusion of connected ones.

Connected untrusted elements become one node: packets cross into the domU once, whichever way they take there.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from shm.channel import OUTPUTS
from vre.language.graph import Graph, Node
from workers.arguments import KINDS, REQUIRED, Argument, between, bind, split
from workers.domu.outline import Class, outline
from workers.files import ELEMENT_BYTES, place, read_file

Edge = tuple[int, int, int, int]
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

    Its `values["cluster"]` says what is inside: `elements` (file, class, arguments; where each output leads), and
    `entries`, (element, input) for each input.
    """
    clusters = _connected(graph)
    if not clusters:
        return graph
    owner = {element: i for i, members in enumerate(clusters) for element in members}
    keep = [i for i in range(len(graph.nodes)) if i not in owner or clusters[owner[i]][0] == i]
    number = {old: new for new, old in enumerate(keep)}
    nodes = [graph.nodes[i] for i in keep]
    edges = [e for e in graph.edges if e[0] not in owner and e[2] not in owner]
    edges = [(number[a], p, number[b], q) for a, p, b, q in edges]
    for members in clusters:
        entries = sorted({(e[2], e[3]) for e in graph.edges if e[2] in members and e[0] not in members})
        exits = sorted({(e[0], e[1]) for e in graph.edges if e[0] in members and e[2] not in members})
        nodes[number[members[0]]] = _whole(graph, members, entries, exits)
        for a, p, b, q in graph.edges:
            if a in members and b in members:
                continue
            if a in members or b in members:
                start = (_place(clusters, owner, number, a), exits.index((a, p)) if a in members else p)
                end = (_place(clusters, owner, number, b), entries.index((b, q)) if b in members else q)
                edges.append((*start, *end))
    pull = {(number[i], side, port) for i, side, port in graph.pull if i in number and i not in owner}
    return Graph(nodes, sorted(set(edges)), pull)


def _place(clusters: list[list[int]], owner: dict[int, int], number: dict[int, int], element: int) -> int:
    return number[clusters[owner[element]][0] if element in owner else element]


def _connected(graph: Graph) -> list[list[int]]:
    """Return the untrusted elements by number, grouped by connection."""
    parent = {i: i for i, node in enumerate(graph.nodes) if node.cls.driver == "domu"}

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for a, _, b, _ in graph.edges:
        if a in parent and b in parent:
            parent[max(root(a), root(b))] = min(root(a), root(b))
    found: dict[int, list[int]] = {}
    for i in parent:
        found.setdefault(root(i), []).append(i)
    return list(found.values())


def _whole(graph: Graph, members: list[int], entries: list[tuple[int, int]], exits: list[tuple[int, int]]) -> Node:
    first = graph.nodes[members[0]]
    elements: list[dict[str, Any]] = []
    for i in members:
        node = graph.nodes[i]
        inner = {p: [members.index(b), q] for a, p, b, q in graph.edges if a == i and b in members}
        elements.append(
            {
                "name": node.name,
                "file": str(find_file(node)),
                "class": node.values["class"][1],
                "arguments": ", ".join(node.values["args"]),
                "exits": {p: exits.index((a, p)) for a, p in exits if a == i},
                "inner": inner,
            }
        )
    cluster = {"elements": elements, "entries": [[members.index(i), port] for i, port in entries]}
    return Node(first.name, first.cls, first.config, first.where, first.values | {"cluster": cluster})


def too_many_exits(node: Node) -> bool:
    """Return whether a merged element has more outputs than a return can name."""
    return sum(len(element["exits"]) for element in node.values["cluster"]["elements"]) > OUTPUTS
