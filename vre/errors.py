# SPDX-License-Identifier: MIT
"""Mistakes of users, and how they are shown: place, line, caret, and what would be right."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches


@dataclass(frozen=True, order=True)
class Where:
    """A place in a configuration: file, line and column, both from 1."""

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

    def __str__(self) -> str:
        if self.where is None:
            return f"error: {self.message}"
        shown = f"{self.where}: error: {self.message}"
        if self.text:
            pad = "".join("\t" if c == "\t" else " " for c in self.text[: self.where.column - 1])
            shown += f"\n    {self.text}\n    {pad}^"
        return shown


class VreError(Exception):
    """Base of what this package raises about what it was given, or about the host."""


class ConfigError(VreError):
    """Everything that is wrong with a configuration."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(str(p) for p in self.problems))


class HandlerError(VreError, ValueError):
    """A handler that is not there, or a value that it does not take."""


class PlatformError(VreError, RuntimeError):
    """The platform cannot start; the message says why and what would help."""

    status = 2  #: of the command


class PlatformEnded(PlatformError):
    """The platform has started, and cannot go on."""

    status = 1


class Unexpected(PlatformError):
    """Something went wrong in the platform itself while it did what it was asked: that alone has failed."""

    status = 1


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean ..." for a name that is not known, or nothing."""
    close = get_close_matches(name, list(known), n=2, cutoff=0.6)
    return f"; did you mean {' or '.join(close)}?" if close else ""
