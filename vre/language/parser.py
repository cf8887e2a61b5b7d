# SPDX-License-Identifier: MIT
"""The Click language: from text to a tree of scopes.

| syntax | meaning |
| --- | --- |
| `name :: Class(args);` | declares an element; `a, b :: Class;` declares several |
| `a [1] -> [2] b` | connects; ports are 0 if not given |
| `a, b -> c`, `a => b, c` | many to one; port by port |
| `( ... )` | a group: its own input and output, no new scope |
| `{ $a, KEY $k | ... || ... }` | a compound class, with overloads |
| `elementclass N { ... }`, `define($X v)`, `require(...)` | statements |

Names are resolved by :mod:`vre.language.flatten`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from vre.errors import Problem, Problems
from vre.language.lexer import Lexer, Source, Token, _shown
from vre.language.tree import Compound, Connection, ElementRef, Endpoint, Ports, Scope
from workers.arguments import split, words
from workers.files import place, read_text

#: Ports of an element, ports that a text may mention, overloads of a class; and groups inside groups.
PORTS, MENTIONED, OVERLOADS, DEPTH = 1024, 1 << 18, 64, 64
_FORMALS = re.compile(r"[^|;{}()>]*\|(?!\|)")


class Parser:
    """A recursive-descent parser; collects mistakes that it can recover from in `problems`."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.lexer = Lexer(source)
        self.problems: list[Problem] = Problems()
        self.requirements: list[str] = []
        self._scope = Scope()
        self._inside: list[int] = []  # ids of the enclosing groups
        self._compounds = 0  # depth of compound classes
        self._libraries: set[Path] = set()
        self._depth = 0
        self._mentioned = 0

    def parse(self) -> Scope:
        """Return the file's scope. Raises ConfigError if parsing cannot go on."""
        self._statements("end")
        return self._scope

    def _problem(self, at: int, message: str) -> None:
        self.problems.append(self.source.problem(at, message))

    def _statements(self, *closers: str) -> str:
        """Parse up to one of `closers`; consume and return it."""
        if self._depth > DEPTH:
            raise self.lexer.fail(self.lexer.peek().at, f"groups and classes are nested more than {DEPTH} deep")
        self._depth += 1
        closer = self._statements_up_to(closers)
        self._depth -= 1
        return closer

    def _statements_up_to(self, closers: tuple[str, ...]) -> str:
        while True:
            token = self.lexer.peek()
            if token.kind == "end":
                self.lexer.take()
                if "end" in closers:
                    return "end"
                raise self.lexer.fail(token.at, f"expected '{closers[0]}' before the end of the file")
            if token.text in closers:
                self.lexer.take()
                return token.text
            if token.text == ";":
                self.lexer.take()
            elif token.text == "elementclass":
                self._elementclass()
            elif token.text == "define":
                self._define()
            elif token.text in ("require", "provide"):
                self._require()
            else:
                self._chain(closers)

    def _elementclass(self) -> None:
        self.lexer.take()
        name = self._name("a class name")
        if self.lexer.accept("{"):
            compound = self._compound(name.at)
            old = self._scope.classes.get(name.text)
            if compound.extends and isinstance(old, Compound):
                compound.overloads += old.overloads
                compound.extends = old.extends
            self._scope.classes[name.text] = compound
        else:
            self._scope.classes[name.text] = self._name("a class name or '{'").text
            self._end_of_statement("elementclass")

    def _end_of_statement(self, what: str) -> None:
        token = self.lexer.peek()
        if token.text not in (";", "}", ")", "||") and token.kind != "end":
            raise self.lexer.fail(token.at, f"expected ';' after {what}, found {_shown(token)}")

    def _name(self, what: str) -> Token:
        token = self.lexer.take()
        if token.kind != "name":
            raise self.lexer.fail(token.at, f"expected {what}, found {_shown(token)}")
        return token

    def _parenthesis(self) -> tuple[str, int]:
        self.lexer.expect("(")
        return self.lexer.config()

    def _define(self) -> None:
        self.lexer.take()
        text, at = self._parenthesis()
        for part, offset in split(text):
            name, _, value = part.partition(" ")
            if not name.startswith("$"):
                self._problem(at + offset, f"'{name}' is not a variable: write define($NAME value)")
            elif name[1:] in self._scope.defines:
                self._problem(at + offset, f"variable {name} is defined twice in this scope")
            else:
                self._scope.defines[name[1:]] = value.strip()

    def _require(self) -> None:
        token = self.lexer.take()
        if token.text == "provide":
            raise self.lexer.fail(token.at, "'provide' is a reserved word")
        text, at = self._parenthesis()
        for part, offset in split(text):
            kind, _, what = part.partition(" ")
            if kind == "library":
                self._library(what.strip("\"'"), at + offset)
            elif (kind == "package" and what) or not what:
                self.requirements.append(what or kind)
            else:
                self._problem(at + offset, f"'{part}' is not package NAME")

    def _library(self, name: str, at: int) -> None:
        """Read a library: beside the file that asks for it, or in CLICKPATH; each at most once."""
        if self._compounds:
            self._problem(at, "require(library ...) belongs at file scope")
            return
        beside = Path(self.source.where(at).file).parent
        paths = [Path(p) for p in os.environ.get("CLICKPATH", "").split(":") if p]
        for folder in (beside, *paths, *(p / "conf" for p in paths)):
            file = folder / name
            if os.path.isfile(file):
                if file.resolve() not in self._libraries:
                    self._libraries.add(file.resolve())
                    try:
                        self.lexer.include(read_text(place(name, folder)), str(file))
                    except OSError as error:
                        self._problem(at, f"cannot read the library {file}: {error.strerror}")
                return
        self._problem(at, f"there is no library '{name}' beside the configuration or in CLICKPATH")

    def _chain(self, closers: tuple[str, ...]) -> None:
        left: list[Endpoint] | None = None
        token = self.lexer.peek()
        if token.kind == "arrow":
            if not self._inside:
                raise self.lexer.fail(token.at, f"syntax error: '{token.text}' with nothing on its left")
            left = [Endpoint(self._boundary("in", token.at))]
        elif token.text == "[" and self._inside:
            # `[0] -> ...` inside a group: ports of its input.
            ports = self._ports()
            if self.lexer.peek().kind == "arrow":
                left = [Endpoint(self._boundary("in", token.at), None, ports)]
            else:
                left = self._side(ports)
        else:
            left = self._side(None)
        while self.lexer.peek().kind == "arrow":
            arrow = self.lexer.take()
            token = self.lexer.peek()
            if token.text in (";", *closers) or token.kind == "end":
                if not self._inside:
                    raise self.lexer.fail(token.at, f"syntax error: '{arrow.text}' with nothing on its right")
                right = [Endpoint(self._boundary("out", token.at))]
            else:
                before = self._ports() if token.text == "[" else None
                if before and self._inside and self.lexer.peek().text in (";", *closers):
                    right = [Endpoint(self._boundary("out", token.at), before)]
                else:
                    right = self._side(before)
            self._scope.connections.append(Connection(left, right, arrow.text, arrow.at))
            left = right
        for end in left:
            if end.outputs:
                self._problem(
                    end.ref.at,
                    "output ports lead nowhere: an input port is written before the element, as in '-> [1] x'",
                )
        self._end_of_statement("connection or declaration")

    def _boundary(self, side: str, at: int) -> ElementRef:
        return ElementRef(at, name="input" if side == "in" else "output", group=side, group_id=self._inside[-1])

    def _side(self, first: Ports | None) -> list[Endpoint]:
        """Parse the endpoints between two arrows, separated by commas."""
        found: list[Endpoint] = []
        undeclared = 0
        while True:
            if first is None and self.lexer.peek().text == "[":
                first = self._ports()
            ref = self._element()
            end = Endpoint(ref, first)
            first = None
            if self.lexer.peek().text == "[":
                end.outputs = self._ports()
            found.append(end)
            if self.lexer.peek().text == "::":
                self._declare(found[undeclared:])
                undeclared = len(found)
            if not self.lexer.accept(","):
                return found

    def _declare(self, found: list[Endpoint]) -> None:
        """`a, b :: Class`: declares all of them if it is a statement, else only the last."""
        self.lexer.take()
        last = found[-1].ref
        model = self._element(anonymous=False)
        standing = self.lexer.peek().kind != "arrow" and self.lexer.peek().text != "["
        pending = [e.ref for e in found if not (e.ref.declared or e.ref.class_name or e.ref.compound)]
        names = pending if standing else [last]
        for ref in names:
            if not ref.name or ref.class_name or ref.compound or ref.declared:
                self._problem(ref.at, "only a name can be declared")
                continue
            ref.class_name, ref.compound = model.class_name, model.compound
            ref.config, ref.config_at = model.config, model.config_at
            ref.declared = True
        if self.lexer.peek().text == "[":
            found[-1].outputs = self._ports()

    def _element(self, anonymous: bool = True) -> ElementRef:
        token = self.lexer.take()
        ref = ElementRef(token.at)
        if token.text == "(":
            return self._group(token.at)
        if token.text == "{":
            ref.compound = self._compound(token.at)
        elif token.kind in ("name", "variable"):
            if token.text in ("elementclass", "define", "require", "provide"):
                raise self.lexer.fail(token.at, f"'{token.text}' is a reserved word")
            ref.class_name = token.text
        else:
            raise self.lexer.fail(token.at, f"syntax error: expected an element, found {_shown(token)}")
        if self.lexer.peek().text == "(":
            self.lexer.take()
            ref.config, ref.config_at = self.lexer.config()
        if anonymous:
            if ref.class_name and ref.config is None:
                ref.name, ref.class_name = ref.class_name, ""
            self._scope.elements.append(ref)
        return ref

    def _group(self, at: int) -> ElementRef:
        self._scope.groups += 1
        number = self._scope.groups
        self._inside.append(number)
        begin = len(self._scope.connections)
        self._statements(")")
        self._inside.pop()
        ref = ElementRef(at, group="group", group_id=number)
        for connection in self._scope.connections[begin:]:
            for end in connection.left + connection.right:
                if end.ref.group_id == number and end.ref.group in ("in", "out"):
                    ports = end.outputs if end.ref.group == "in" else end.inputs
                    top = max(ports.numbers, default=0) + 1 if ports else 1
                    ref.group_ports = (
                        max(ref.group_ports[0], top * (end.ref.group == "in")),
                        max(ref.group_ports[1], top * (end.ref.group == "out")),
                    )
        return ref

    def _ports(self) -> Ports:
        """Parse `[1]`, `[0,2]`, `[0-2]`, `[]`, `[2,]`, `[2-]`."""
        at = self.lexer.peek().at
        ports = self._port_list()
        self._mentioned += len(ports.numbers)
        if self._mentioned > MENTIONED:
            raise self.lexer.fail(at, f"more than {MENTIONED} ports are mentioned")
        return ports

    def _port_list(self) -> Ports:
        self.lexer.expect("[")
        ports = Ports([])
        while not self.lexer.accept("]"):
            token = self.lexer.take()
            low = self._port_number(token)
            if not self.lexer.accept("-"):
                ports.numbers.append(low)
            elif self.lexer.peek().kind == "number":
                ports.numbers += range(low, self._port_number(self.lexer.take()) + 1)
            else:
                ports.rest = low
            if len(ports.numbers) > PORTS:
                raise self.lexer.fail(token.at, f"more than {PORTS} ports")
            if not self.lexer.accept(","):
                self.lexer.expect("]")
                return ports
        if ports.rest is None:
            ports.rest = ports.numbers[-1] + 1 if ports.numbers else 0
        return ports

    def _port_number(self, token: Token) -> int:
        if token.kind != "number":
            raise self.lexer.fail(token.at, f"expected a port number, found {_shown(token)}")
        if len(token.text) > 6 or int(token.text) >= PORTS:
            raise self.lexer.fail(token.at, f"a port number is at most {PORTS - 1}")
        return int(token.text)

    def _compound(self, at: int) -> Compound:
        """Parse a compound class after its `{`."""
        outer, inside = self._scope, self._inside
        self._inside = []
        self._compounds += 1
        compound = Compound([], False, at)
        while True:
            self._scope = Scope()
            self._formals()
            if self.lexer.accept("..."):
                compound.extends = True
                self.lexer.expect("}")
                break
            closer = self._statements("}", "||")
            compound.overloads.append(self._scope)
            if len(compound.overloads) > OVERLOADS:
                raise self.lexer.fail(at, f"a class with more than {OVERLOADS} overloads")
            if closer == "}":
                break
        self._scope, self._inside = outer, inside
        self._compounds -= 1
        return compound

    def _formals(self) -> None:
        """Parse `$a, KEY $k, __REST__ $r |` at the start of a compound."""
        token = self.lexer.peek()
        if token.text == "|":
            self.lexer.take()
            return
        found = _FORMALS.match(self.source.text, token.at)
        head = found[0][:-1] if found else ""
        if "$" not in head:
            return
        for part in head.split(","):
            parts = words(part)
            if len(parts) not in (1, 2) or not parts[-1].startswith("$"):
                raise self.lexer.fail(token.at, f"'{part.strip()}' is not $NAME or KEYWORD $NAME")
            self._scope.formals.append((parts[0] if len(parts) == 2 else "", parts[-1][1:]))
        while self.lexer.take().text != "|":
            pass


def parse(source: Source) -> tuple[Scope, Parser]:
    """Parse a configuration; the parser has the mistakes that it recovered from."""
    parser = Parser(source)
    return parser.parse(), parser
