# SPDX-License-Identifier: MIT
"""User errors and how they are shown: position, line, caret, and a suggestion."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from itertools import islice
from typing import Any, Self

from shm.escape import escape

#: Most mistakes that are reported at once; columns shown of a line.
MISTAKES, SHOWN = 200, 160
#: Names that are compared with an unknown one, and characters of each.
_COMPARED, _NAME = 1000, 100
#: Longest message, in characters: names in it are the user's.
_MESSAGE = 2000
#: How the text of a mistake with a position begins.
PLACED = re.compile(r"[^\n]*:\d+:\d+: error: ")


@dataclass(frozen=True, order=True)
class Where:
    """A position in a configuration: file, line and column, both from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Problem:
    """One mistake; `text` is the line it is on."""

    where: Where | None
    message: str
    text: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data; `file`, `line` and `column` are None if it has no position."""
        place = asdict(self.where) if self.where else {"file": None, "line": None, "column": None}
        return place | {"message": self.message, "text": self.text[:_MESSAGE]}

    def __str__(self) -> str:
        message = escape(self.message, _MESSAGE)
        if self.where is None:
            return f"error: {message}"
        shown = f"{escape(str(self.where), _MESSAGE)}: error: {message}"
        if self.text:
            line, column = _window(self.text, self.where.column - 1)
            pad = "".join("\t" if c == "\t" else " " for c in line[:column])
            shown += f"\n    {line}\n    {pad}^"
        return shown


def _window(line: str, column: int) -> tuple[str, int]:
    """Return what is shown of a line, escaped for a terminal, and the column in it."""
    begin = max(0, column - SHOWN // 2) if len(line) > SHOWN else 0
    part = "".join(c if c.isprintable() or c == "\t" else "?" for c in line[begin : begin + SHOWN])
    head, tail = "..." * (begin > 0), "..." * (begin + SHOWN < len(line))
    return head + part + tail, column - begin + len(head)


class VreError(Exception):
    """Base of what this package raises about what it was given, or about the host."""


class ConfigError(VreError):
    """All errors of a configuration."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(str(p) for p in self.problems))


class Problems(list[Problem]):
    """Mistakes found so far; the search ends after MISTAKES of them."""

    def append(self, problem: Problem) -> None:
        """Add one. Raises ConfigError with all of them if it is one too many."""
        if len(self) >= MISTAKES:
            raise ConfigError([*self, Problem(None, f"more than {MISTAKES} mistakes: the rest was not checked")])
        super().append(problem)

    def extend(self, problems: Iterable[Problem]) -> None:
        """Add several."""
        for problem in problems:
            self.append(problem)

    def __iadd__(self, problems: Iterable[Problem]) -> Self:  # type: ignore[override,misc]
        self.extend(problems)
        return self


class HandlerError(VreError, ValueError):
    """There is no such handler, or it does not take the value."""


class PlatformError(VreError, RuntimeError):
    """The platform cannot start, or refuses a request; the message says why, with a remedy."""

    status = 2  #: of the command


class PlatformEnded(PlatformError):
    """The platform has started, and cannot go on."""

    status = 1


class Unexpected(PlatformError):
    """The platform itself failed while it handled a request: only that request failed."""

    status = 1


def why_not(error: OSError) -> str:
    """Return the system's message for an error, without its number, and the file."""
    if error.strerror is None:
        return str(error)
    return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean ..." for an unknown name, or nothing."""
    few = [one for one in islice(known, _COMPARED) if len(one) <= _NAME]
    close = get_close_matches(name, few, n=2, cutoff=0.6) if len(name) <= _NAME else []
    return f"; did you mean {' or '.join(close)}?" if close else ""
