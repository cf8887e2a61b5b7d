# SPDX-License-Identifier: MIT
"""TOML with positions: the line and column of each key."""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from pathlib import Path
from typing import Any

from vre.config.toml_places import spans
from vre.errors import ConfigError, Problem, Where
from workers.files import own, read_text


class Document:
    """A parsed TOML file.

    Raises
    ------
    ConfigError
        The file cannot be read, or is not TOML.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            self.text = read_text(own(file))
        except (OSError, ValueError) as error:  # a ValueError: a NUL in its name
            why = error.strerror if isinstance(error, OSError) else error
            raise ConfigError([Problem(None, f"cannot read {file}: {why}")]) from None
        self.lines = self.text.split("\n")
        try:
            self.data: dict[str, Any] = tomllib.loads(self.text)
        except RecursionError:
            raise ConfigError([Problem(Where(str(file), 1, 1), "not TOML: it is nested too deeply")]) from None
        except ValueError as error:  # a TOMLDecodeError, or a number of thousands of digits
            raise ConfigError([self._syntax(str(error))]) from None
        self._spans = spans(self.text)
        self._starts = [0]
        for line in self.lines:
            self._starts.append(self._starts[-1] + len(line) + 1)

    def _syntax(self, message: str) -> Problem:
        found = re.search(r"\(at line (\d+), column (\d+)\)", message)
        text = re.sub(r"\s*\(at .*\)", "", message)
        line, column = (int(found[1]), int(found[2])) if found else (max(1, len(self.lines)), 1)
        shown = self.lines[line - 1] if line <= len(self.lines) else ""
        return Problem(Where(str(self.file), line, column), f"not TOML: {text}", shown)

    def _line_and_column(self, at: int) -> tuple[int, int]:
        row = bisect_right(self._starts, at) - 1
        return row + 1, at - self._starts[row] + 1

    def place(self, *path: str) -> tuple[int, int]:
        """Return the line and column of a key, or of the nearest enclosing table that is written."""
        for size in range(len(path), 0, -1):
            if path[:size] in self._spans:
                return self._line_and_column(self._spans[path[:size]].key)
        return 1, 1

    def problem(self, message: str, *path: str) -> Problem:
        """Return a mistake at a key."""
        line, column = self.place(*path)
        return Problem(Where(str(self.file), line, column), message, self.lines[line - 1])

    def value_place(self, *path: str) -> tuple[int, int]:
        """Return the position of the text of a string value."""
        span = self._spans.get(path)
        if span is None:
            return self.place(*path)
        found = re.compile("\"{3}\n?|'{3}\n?|[\"']").match(self.text, span.value)
        # A newline right after the quotes is not part of the value.
        return self._line_and_column(found.end() if found else span.key)
