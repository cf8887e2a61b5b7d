# SPDX-License-Identifier: MIT
"""From scopes to a flat graph: names, compound classes, variables, groups and port lists resolved.

Compound elements and groups become relays, nodes that only join what is connected to either side; at the
end they are removed. An element inside compound `outer` is called `outer/inner`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from vre.errors import ConfigError, Problem, Problems, nearest
from vre.language.environment import Environment, Lookup, bind, substitute
from vre.language.graph import Edge
from vre.language.lexer import Source
from vre.language.parser import parse
from vre.language.port_lists import boundary_ports, count_ports, signature, spread
from vre.language.tree import Compound, Connection, ElementRef, Endpoint, Scope
from workers.arguments import split
from workers.element import BROKEN, Element, load

#: Deepest nesting of compounds: deeper is a class that contains itself.
_DEPTH = 32
#: Most that a text may expand to: elements, connections, characters.
ELEMENTS, WIRES, CHARACTERS = 20_000, 100_000, 1 << 24


@dataclass
class FlatElement:
    """An element of the flat graph: its class, its substituted configuration and their positions."""

    name: str
    cls: type[Element]
    config: str
    at: int
    config_at: int
    #: Whether `config` is the text in the file, so that offsets into it are positions.
    literal: bool


class Arrow(NamedTuple):
    """An edge of the flat graph, and the offset of the arrow that it comes from."""

    edge: Edge
    at: int


class Vertex(NamedTuple):
    """A vertex of the graph while relays are in it: an element, or the inner or outer side of a relay."""

    kind: str  #: "element" or "relay"
    number: int
    side: str = ""  #: of a relay: "in" or "out"


class Wire(NamedTuple):
    """A connection while relays are in the graph, and the offset of its arrow."""

    source: Vertex
    output: int
    target: Vertex
    input: int
    at: int


#: The vertices of an element's inputs and of its outputs; a compound's are two.
Sides = tuple[Vertex, Vertex]


@dataclass
class Body:
    """A scope while it is expanded.

    Attributes
    ----------
    prefix : str
        What the names of its elements begin with.
    depth : int
        How many compounds it is in.
    used : dict of str to list of int
        How many inputs and outputs of each mention are used.
    relays : dict of int to int
        The relay of each group.
    by_name, by_mention : dict
        What has been made of declared elements, and of each mention, by its id.
    """

    env: Environment
    prefix: str
    depth: int
    used: dict[str, list[int]]
    relays: dict[int, int]
    by_name: dict[str, Sides] = field(default_factory=dict)
    by_mention: dict[int, Sides] = field(default_factory=dict)

    def resolve(self, end: Endpoint, side: int) -> Vertex | None:
        """Return the vertex of an endpoint's inputs, `side` 0, or of its outputs, 1; None if it could not be made."""
        ref = end.ref
        if ref.group:
            inward = ("in", "out")[side] if ref.group == "group" else ref.group
            return Vertex("relay", self.relays[ref.group_id], inward)
        pair = self.by_mention.get(id(ref)) or self.by_name.get(ref.name)
        return pair[side] if pair else None


class Flattener:
    """Expands one file."""

    def __init__(self, source: Source, problems: list[Problem]) -> None:
        self.source = source
        self.problems = problems
        self.elements: list[FlatElement] = []
        self.wires: list[Wire] = []
        self.registry = load()
        self._relays = 0
        self._characters = 0
        self._edge_ports: dict[int, tuple[int, int]] = {}

    def _bounded(self, count: int, most: int, what: str, at: int) -> None:
        """Raise ConfigError if the expansion is too large: compounds and variables double quickly."""
        if count > most:
            raise ConfigError([*self.problems, self.source.problem(at, f"more than {most} {what}")])

    def _fill(self, text: str, lookup: Lookup, at: int) -> str:
        """Return a text with its variables substituted."""
        left = CHARACTERS - self._characters
        filled = substitute(text, lookup, left) if left >= 0 else None
        self._characters += len(text) + left if filled is None else len(filled)
        self._bounded(self._characters, CHARACTERS, "characters once variables are substituted", at)
        return filled or ""

    def problem(self, at: int, message: str) -> None:
        """Note a mistake."""
        self.problems.append(self.source.problem(at, message))

    def run(self, scope: Scope, overrides: dict[str, str]) -> tuple[list[FlatElement], list[Arrow]]:
        """Return elements and what connects them."""
        top = Environment(scope.classes, {**self._defines(scope), **overrides})
        self.expand(scope, top, "", None, 0)
        return self.elements, self._join()

    def _defines(self, scope: Scope) -> dict[str, str]:
        """Return a scope's variables, with those that they refer to substituted, in any order."""
        values = dict(scope.defines)
        for _ in scope.defines:
            known = values
            values = {k: self._fill(v, known.get, 0) if "$" in v else v for k, v in known.items()}
            if values == known:
                break
        return values

    def expand(self, scope: Scope, env: Environment, prefix: str, boundary: int | None, depth: int) -> None:
        """Add a scope's elements and connections to the flat graph."""
        groups = {number: self._relay() for number in range(1, scope.groups + 1)}
        body = Body(env, prefix, depth, count_ports(scope), groups)
        if boundary is not None:
            body.by_name["input"] = (Vertex("relay", boundary, "in"),) * 2
            body.by_name["output"] = (Vertex("relay", boundary, "out"),) * 2
        known = {ref.name for ref in scope.elements if ref.declared} | body.by_name.keys()
        declared: dict[str, ElementRef] = {}
        number = 0
        # Declarations first: a connection may name an element that is declared further down.
        for ref in scope.elements:
            if not ref.declared and ref.name in known:
                continue
            number += 1
            if ref.declared and self._declared_before(ref, declared, body, boundary is not None):
                continue
            made = self._instance(ref, body, number)
            if made:
                body.by_mention[id(ref)] = made
                if ref.declared:
                    body.by_name[ref.name] = made
        for connection in scope.connections:
            self._connect(connection, body)

    def _declared_before(self, ref: ElementRef, declared: dict[str, ElementRef], body: Body, inside: bool) -> bool:
        """Return whether a scope has declared an element already; note it, and what is wrong with its name."""
        if ref.name in declared:
            first = self.source.where(declared[ref.name].at)
            self.problem(ref.at, f"element '{ref.name}' is declared twice; the first time at {first}")
            if ref.name in body.by_name:
                body.by_mention[id(ref)] = body.by_name[ref.name]
            return True
        if ref.name in ("input", "output") and inside:
            self.problem(ref.at, f"'{ref.name}' is the compound's own {ref.name}")
        declared[ref.name] = ref
        return False

    def _relay(self) -> int:
        self._relays += 1
        self._bounded(self._relays, ELEMENTS, "compounds and groups once they are expanded", 0)
        return self._relays

    def _find_class(self, ref: ElementRef, env: Environment) -> tuple[str, Compound | None, Environment]:
        """Return the class that a mention names, the compound that it is if it is one, and the scope that has that."""
        name = ref.class_name or ("" if ref.compound else ref.name)
        if name.startswith("$"):
            name = self._fill(name, env.variable, ref.at)
        if ref.compound:
            return name, ref.compound, env
        alias, visited = name, set()
        while True:
            found, scope = env.find_class(alias)
            if scope is None or alias in visited:
                return alias, None, env
            if isinstance(found, Compound):
                return name, found, scope
            visited.add(alias)
            alias = str(found)

    def _instance(self, ref: ElementRef, body: Body, number: int) -> Sides | None:
        """Add the element that a mention stands for; return the vertices of its input and its output side."""
        env = body.env
        class_name, compound, where = self._find_class(ref, env)
        label = ref.name if ref.declared else (f"{class_name}@{number}" if class_name else f"@{number}")
        full = body.prefix + label
        config = self._fill(ref.config or "", env.variable, ref.at)
        self._bounded(len(self.elements), ELEMENTS, "elements once compounds are expanded", ref.at)
        if compound:
            return self._compound(ref, compound, where, full, config, body)
        cls = self.registry.get(class_name)
        if cls is None:
            known = {*self.registry, *env.known_classes()}
            hint = nearest(class_name, known) or "; 'vre elements' lists those there are"
            if BROKEN:
                hint += f"; plug-ins that could not be loaded: {', '.join(BROKEN)}"
            self.problem(ref.at, f"unknown element class '{class_name}'{hint}")
            return None
        literal = config == (ref.config or "")
        self.elements.append(FlatElement(full, cls, config, ref.at, ref.config_at or ref.at, literal))
        return (Vertex("element", len(self.elements) - 1),) * 2

    def _compound(
        self, ref: ElementRef, compound: Compound, where: Environment, full: str, config: str, body: Body
    ) -> Sides | None:
        if body.depth >= _DEPTH:
            self.problem(ref.at, f"compound class of '{full}' contains itself")
            return None
        given = [text for text, _ in split(config)]
        used = body.used.get(ref.key, [0, 0])
        for overload in compound.overloads:
            bound = bind(overload.formals, given)
            if bound is not None and (len(compound.overloads) == 1 or self._boundary(overload) == tuple(used)):
                break
        else:
            shapes = "; ".join(signature(o) for o in compound.overloads)
            self.problem(
                ref.at,
                f"no overload of '{full}' takes {len(given)} argument(s), {used[0]} input(s) "
                f"and {used[1]} output(s); there are: {shapes}",
            )
            return None
        relay = self._relay()
        env = Environment(overload.classes, {**self._defines(overload), **bound}, where)
        self.expand(overload, env, full + "/", relay, body.depth + 1)
        return Vertex("relay", relay, "in"), Vertex("relay", relay, "out")

    def _boundary(self, scope: Scope) -> tuple[int, int]:
        """Return how many inputs and outputs a compound's body uses: counted once for each."""
        if id(scope) not in self._edge_ports:
            self._edge_ports[id(scope)] = boundary_ports(scope)
        return self._edge_ports[id(scope)]

    def _connect(self, connection: Connection, body: Body) -> None:
        if connection.arrow == "->" and len(connection.left) > 1 and len(connection.right) > 1:
            self.problem(connection.at, "many-to-many connection: use '=>', or write the connections one by one")
            return
        left = spread(connection.left, "outputs", connection.right, "inputs", connection.arrow)
        right = spread(connection.right, "inputs", connection.left, "outputs", connection.arrow)
        if len(left) == 1 and connection.arrow == "->":
            left *= len(right)
        if len(right) == 1 and connection.arrow == "->":
            right *= len(left)
        if len(left) != len(right):
            self.problem(
                connection.at, f"{len(left)} port(s) on the left of '{connection.arrow}', {len(right)} on its right"
            )
            return
        self._bounded(len(self.wires) + len(left), WIRES, "connections once compounds are expanded", connection.at)
        for (a, output), (b, input_) in zip(left, right, strict=True):
            source, target = body.resolve(a, 1), body.resolve(b, 0)
            if source and target:
                self.wires.append(Wire(source, output, target, input_, connection.at))

    def _join(self) -> list[Arrow]:
        """Remove the relays: connect each input of a relay to all that follow its output."""
        behind: dict[tuple[Vertex, int], list[tuple[Vertex, int]]] = {}
        for wire in self.wires:
            if wire.source.kind == "relay":
                behind.setdefault((wire.source, wire.output), []).append((wire.target, wire.input))

        def ends(vertex: Vertex, port: int) -> list[tuple[int, int]]:
            found: dict[tuple[int, int], None] = {}
            seen, todo = set(), [(vertex, port)]
            while todo:
                here = todo.pop()
                if here[0].kind == "element":
                    found[here[0].number, here[1]] = None
                elif here not in seen:
                    seen.add(here)
                    todo += reversed(behind.get(here, []))
            return list(found)

        arrows: list[Arrow] = []
        for wire in self.wires:
            if wire.source.kind == "relay":
                continue
            element = wire.source.number
            found = ends(wire.target, wire.input)
            if not found:
                self.problem(
                    wire.at,
                    f"'{self.elements[element].name}' output {wire.output} leads nowhere: "
                    f"port {wire.input} of the compound or group behind it is not connected inside",
                )
            arrows += [Arrow(Edge(element, wire.output, *end), wire.at) for end in found]
            self._bounded(len(arrows), WIRES, "connections once compounds are expanded", wire.at)
        return arrows


def flatten(source: Source, overrides: dict[str, str]) -> tuple[list[FlatElement], list[Arrow], list[Problem]]:
    """Parse and flatten a configuration.

    Returns
    -------
    elements, arrows, problems
        If there are problems, the graph contains what was correct.

    Raises
    ------
    ConfigError
        The text could not be read to its end.
    """
    scope, parser = parse(source)
    problems: list[Problem] = Problems(parser.problems)
    flattener = Flattener(source, problems)
    elements, arrows = flattener.run(scope, overrides)
    return elements, arrows, problems
