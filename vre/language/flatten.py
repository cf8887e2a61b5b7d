# SPDX-License-Identifier: MIT
"""From scopes to a flat graph: names, compound classes, variables, groups and port lists resolved.

Compound elements and groups become relays, nodes that only join what is connected to either side; at the
end they are removed. An element inside compound `outer` is called `outer/inner`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from vre.errors import ConfigError, Problem, Problems, nearest
from vre.language.lexer import Source
from vre.language.parser import Compound, Connection, ElementRef, Endpoint, Ports, Scope, parse
from workers.arguments import split, words
from workers.element import BROKEN, Element, load

#: Deepest nesting of compounds: deeper is a class that contains itself.
_DEPTH = 32
#: Most that a text may expand to: elements, connections, characters.
ELEMENTS, WIRES, CHARACTERS = 20_000, 100_000, 1 << 24
_VARIABLE = re.compile(r"\$(?:\{([A-Za-z0-9_]+)(?:\[([^\]]*)\]|-([^}]*))?\}|([A-Za-z0-9_]+))|'[^']*'")


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


@dataclass
class Environment:
    """What is visible in a scope: classes and variables, including those of the enclosing scopes."""

    classes: dict[str, Compound | str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    outer: Environment | None = None

    def find_class(self, name: str) -> tuple[Compound | str | None, Environment | None]:
        """Return what a class name refers to here, and the scope that defines it."""
        here: Environment | None = self
        while here:
            if name in here.classes:
                return here.classes[name], here
            here = here.outer
        return None, None

    def variable(self, name: str) -> str | None:
        """Return a variable's value, None if it has none."""
        here: Environment | None = self
        while here:
            if name in here.variables:
                return here.variables[name]
            here = here.outer
        return None

    def known_classes(self) -> set[str]:
        """Return the names of all compound classes that are visible."""
        here: Environment | None = self
        names: set[str] = set()
        while here:
            names |= set(here.classes)
            here = here.outer
        return names


#: Gives a variable's value, None if it has none.
Lookup = Callable[[str], str | None]
#: A node of the graph while relays are in it: ("element", number) or ("relay", number, side).
Node = tuple[str, int, str]


class Flattener:
    """Expands one file."""

    def __init__(self, source: Source, problems: list[Problem]) -> None:
        self.source = source
        self.problems = problems
        self.elements: list[FlatElement] = []
        self.wires: list[tuple[Node, int, Node, int, int]] = []
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
        filled = _substitute(text, lookup, left) if left >= 0 else None
        self._characters += len(text) + left if filled is None else len(filled)
        self._bounded(self._characters, CHARACTERS, "characters once variables are substituted", at)
        return filled or ""

    def problem(self, at: int, message: str) -> None:
        """Note a mistake."""
        self.problems.append(self.source.problem(at, message))

    def run(
        self, scope: Scope, overrides: dict[str, str]
    ) -> tuple[list[FlatElement], list[tuple[int, int, int, int, int]]]:
        """Return elements and edges `(from, output, to, input, offset of the arrow)`."""
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
        declared = {ref.name for ref in scope.elements if ref.declared}
        relays = {n: self._relay() for n in range(1, scope.groups + 1)}
        self._count_ports(scope)
        nodes: dict[int, tuple[Node, Node]] = {}
        by_name: dict[str, tuple[Node, Node]] = {}
        if boundary is not None:
            by_name["input"] = (("relay", boundary, "in"),) * 2
            by_name["output"] = (("relay", boundary, "out"),) * 2
        number = 0
        seen: dict[str, ElementRef] = {}
        # Declarations first: a connection may name an element that is declared later.
        for ref in scope.elements:
            is_new = ref.declared or (ref.name not in declared and ref.name not in by_name)
            if not is_new:
                continue
            number += 1
            if ref.declared:
                if ref.name in seen:
                    first = self.source.where(seen[ref.name].at)
                    self.problem(ref.at, f"element '{ref.name}' is declared twice; the first time at {first}")
                    if ref.name in by_name:
                        nodes[id(ref)] = by_name[ref.name]
                    continue
                if ref.name in ("input", "output") and boundary is not None:
                    self.problem(ref.at, f"'{ref.name}' is the compound's own {ref.name}")
                seen[ref.name] = ref
            made = self._instance(ref, env, prefix, number, depth)
            if made is None:
                continue
            nodes[id(ref)] = made
            if ref.declared:
                by_name[ref.name] = made
        for connection in scope.connections:
            self._connect(connection, nodes, by_name, relays)

    def _relay(self) -> int:
        self._relays += 1
        self._bounded(self._relays, ELEMENTS, "compounds and groups once they are expanded", 0)
        return self._relays

    def _count_ports(self, scope: Scope) -> None:
        """Record how many ports of each mention are used: overloads are chosen by them."""
        self._used: dict[str, list[int]] = {}
        for c in scope.connections:
            for pairs, side in (
                (_spread(c.left, "outputs", c.right, "inputs", c.arrow), 1),
                (_spread(c.right, "inputs", c.left, "outputs", c.arrow), 0),
            ):
                for end, port in pairs:
                    counts = self._used.setdefault(end.ref.name or str(id(end.ref)), [0, 0])
                    counts[side] = max(counts[side], port + 1)

    def _instance(
        self, ref: ElementRef, env: Environment, prefix: str, number: int, depth: int
    ) -> tuple[Node, Node] | None:
        """Add the element that a mention refers to; return the nodes of its input and output side."""
        class_name = ref.class_name or ("" if ref.compound else ref.name)
        if class_name.startswith("$"):
            class_name = self._fill(class_name, env.variable, ref.at)
        what: Compound | str | None = ref.compound
        where: Environment | None = env
        visited = set()
        while what is None or isinstance(what, str):
            name = what if isinstance(what, str) else class_name
            found, scope_env = env.find_class(name)
            if found is None or name in visited:
                class_name = name
                break
            visited.add(name)
            what, where = found, scope_env
        label = ref.name if ref.declared else (f"{class_name}@{number}" if class_name else f"@{number}")
        full = prefix + label
        config = self._fill(ref.config or "", env.variable, ref.at)
        self._bounded(len(self.elements), ELEMENTS, "elements once compounds are expanded", ref.at)
        if isinstance(what, Compound):
            return self._compound(ref, what, where or env, full, config, depth)
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
        node = ("element", len(self.elements) - 1, "")
        return node, node

    def _compound(
        self, ref: ElementRef, compound: Compound, where: Environment, full: str, config: str, depth: int
    ) -> tuple[Node, Node] | None:
        if depth >= _DEPTH:
            self.problem(ref.at, f"compound class of '{full}' contains itself")
            return None
        given = [text for text, _ in split(config)]
        used = self._used.get(ref.name or str(id(ref)), [0, 0])
        for overload in compound.overloads:
            bound = _bind(overload.formals, given)
            if bound is not None and (len(compound.overloads) == 1 or self._boundary(overload) == tuple(used)):
                break
        else:
            shapes = "; ".join(_signature(o) for o in compound.overloads)
            self.problem(
                ref.at,
                f"no overload of '{full}' takes {len(given)} argument(s), {used[0]} input(s) "
                f"and {used[1]} output(s); there are: {shapes}",
            )
            return None
        relay = self._relay()
        env = Environment(overload.classes, {**self._defines(overload), **bound}, where)
        saved = self._used
        self.expand(overload, env, full + "/", relay, depth + 1)
        self._used = saved
        return ("relay", relay, "in"), ("relay", relay, "out")

    def _boundary(self, scope: Scope) -> tuple[int, int]:
        """Return how many inputs and outputs a compound's body uses: counted once for each."""
        if id(scope) not in self._edge_ports:
            self._edge_ports[id(scope)] = _boundary_ports(scope)
        return self._edge_ports[id(scope)]

    def _connect(
        self,
        connection: Connection,
        nodes: dict[int, tuple[Node, Node]],
        by_name: dict[str, tuple[Node, Node]],
        relays: dict[int, int],
    ) -> None:
        def resolve(end: Endpoint, side: int) -> Node | None:
            ref = end.ref
            if ref.group == "group":
                return ("relay", relays[ref.group_id], "in" if side == 0 else "out")
            if ref.group:
                return ("relay", relays[ref.group_id], ref.group)
            pair = nodes.get(id(ref)) or by_name.get(ref.name)
            return pair[side] if pair else None

        if connection.arrow == "->" and len(connection.left) > 1 and len(connection.right) > 1:
            self.problem(connection.at, "many-to-many connection: use '=>', or write the connections one by one")
            return
        left = _spread(connection.left, "outputs", connection.right, "inputs", connection.arrow)
        right = _spread(connection.right, "inputs", connection.left, "outputs", connection.arrow)
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
            source, target = resolve(a, 1), resolve(b, 0)
            if source and target:
                self.wires.append((source, output, target, input_, connection.at))

    def _join(self) -> list[tuple[int, int, int, int, int]]:
        """Remove the relays: connect each input of a relay to all that follow its output."""
        behind: dict[tuple[Node, int], list[tuple[Node, int]]] = {}
        for source, output, target, port, _ in self.wires:
            if source[0] == "relay":
                behind.setdefault((source, output), []).append((target, port))

        def ends(node: Node, port: int) -> list[tuple[int, int]]:
            found: dict[tuple[int, int], None] = {}
            seen, todo = set(), [(node, port)]
            while todo:
                here = todo.pop()
                if here[0][0] == "element":
                    found[here[0][1], here[1]] = None
                elif here not in seen:
                    seen.add(here)
                    todo += reversed(behind.get(here, []))
            return list(found)

        edges = []
        for source, output, target, port, at in self.wires:
            if source[0] == "element":
                found = ends(target, port)
                if not found:
                    self.problem(
                        at,
                        f"'{self.elements[source[1]].name}' output {output} leads nowhere: "
                        f"port {port} of the compound or group behind it is not connected inside",
                    )
                edges += [(source[1], output, element, to, at) for element, to in found]
                self._bounded(len(edges), WIRES, "connections once compounds are expanded", at)
        return edges


def _spread(
    ends: list[Endpoint], side: str, others: list[Endpoint], other_side: str, arrow: str
) -> list[tuple[Endpoint, int]]:
    """Return (endpoint, port) pairs for one side of an arrow."""
    opposite = sum(_own_ports(end, other_side) for end in others)
    if arrow == "=>" and len(ends) == 1 and getattr(ends[0], side) is None:
        # A group knows how many ports it has; any other element has as many as the other side asks for.
        return [(ends[0], port) for port in range(max(opposite, _own_ports(ends[0], side)))]
    pairs: list[tuple[Endpoint, int]] = []
    for end in ends:
        ports = getattr(end, side) or Ports([0])
        numbers = list(ports.numbers)
        if ports.rest is not None:
            missing = opposite - len(pairs) - len(numbers)
            numbers += range(ports.rest, ports.rest + max(0, missing))
        pairs += [(end, number) for number in numbers]
    return pairs


def _own_ports(end: Endpoint, side: str) -> int:
    """Return how many ports an endpoint brings by itself."""
    ports: Ports | None = getattr(end, side)
    if ports is None and end.ref.group == "group":
        return max(1, end.ref.group_ports[side == "outputs"])
    return len(ports.numbers) if ports else 1


def _boundary_ports(scope: Scope) -> tuple[int, int]:
    """Return how many inputs and outputs a compound's body uses."""
    top = [0, 0]
    for connection in scope.connections:
        for ends, name, side, attribute in (
            (connection.left, "input", 0, "outputs"),
            (connection.right, "output", 1, "inputs"),
        ):
            for end in ends:
                if end.ref.name == name and not end.ref.group:
                    ports: Ports | None = getattr(end, attribute)
                    top[side] = max(top[side], max(ports.numbers, default=0) + 1 if ports else 1)
    return top[0], top[1]


def _signature(scope: Scope) -> str:
    formals = ", ".join(f"{k} ${v}".strip() for k, v in scope.formals) or "no arguments"
    inputs, outputs = _boundary_ports(scope)
    return f"({formals}) with {inputs} input(s) and {outputs} output(s)"


def _bind(formals: list[tuple[str, str]], given: list[str]) -> dict[str, str] | None:
    """Match a compound's arguments with its formals; None if they do not fit."""
    positional = [v for k, v in formals if not k]
    keywords = {k: v for k, v in formals if k and k != "__REST__"}
    rest = next((v for k, v in formals if k == "__REST__"), None)
    values: dict[str, str] = {}
    extra: list[str] = []
    places = iter(positional)
    for text in given:
        head, _, tail = text.partition(" ")
        if head in keywords:
            values[keywords[head]] = tail.strip()
        elif (place := next(places, None)) is not None:
            values[place] = text
        else:
            extra.append(text)
    if rest is not None:
        values[rest] = ", ".join(extra)
    elif extra:
        return None
    missing = set(positional) | set(keywords.values())
    return values if missing <= set(values) else None


def _substitute(text: str, lookup: Lookup, most: int) -> str | None:
    """Replace `$x`, `${x}`, `${x-default}`, `${a[2]}`, but not inside single quotes; unknown ones stay.

    None if the result would have more than `most` characters.
    """
    if "$" not in text:
        return text if len(text) <= most else None
    out: list[str] = []
    at = size = 0
    for found in _VARIABLE.finditer(text):
        out += text[at : found.start()], _value(found, lookup)
        size += len(out[-2]) + len(out[-1])
        at = found.end()
        if size > most:
            return None
    return "".join(out) + text[at:]


def _value(found: re.Match[str], lookup: Lookup) -> str:
    """Return the value of a mention of a variable."""
    if found[0].startswith("'"):
        return found[0]
    name, index, default = found[1] or found[4], found[2], found[3]
    value = lookup(name)
    if value is None:
        return default if default is not None else found[0]
    if index is None:
        return value
    place = _VARIABLE.sub(lambda inner: lookup(inner[1] or inner[4] or "") or inner[0], index).strip()
    parts = words(value)
    return parts[int(place)] if re.fullmatch("[0-9]{1,9}", place) and int(place) < len(parts) else ""


def flatten(
    source: Source, overrides: dict[str, str]
) -> tuple[list[FlatElement], list[tuple[int, int, int, int, int]], list[Problem]]:
    """Parse and flatten a configuration.

    Returns
    -------
    elements, edges, problems
        If there are problems, the graph contains what was correct.

    Raises
    ------
    ConfigError
        The text could not be read to its end.
    """
    scope, parser = parse(source)
    problems: list[Problem] = Problems(parser.problems)
    flattener = Flattener(source, problems)
    elements, edges = flattener.run(scope, overrides)
    return elements, edges, problems
