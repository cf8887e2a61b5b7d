# SPDX-License-Identifier: MIT
"""What names and variables stand for in a scope, and how variables are filled in."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from vre.language.tree import Compound
from workers.arguments import words

_VARIABLE = re.compile(r"\$(?:\{([A-Za-z0-9_]+)(?:\[([^\]]*)\]|-([^}]*))?\}|([A-Za-z0-9_]+))|'[^']*'")
#: Gives a variable's value, None if it has none.
Lookup = Callable[[str], str | None]


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


def bind(formals: list[tuple[str, str]], given: list[str]) -> dict[str, str] | None:
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


def substitute(text: str, lookup: Lookup, most: int) -> str | None:
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
