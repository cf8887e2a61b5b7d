# SPDX-License-Identifier: MIT
"""TOML with places: which line and column a key stands on."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from vre.errors import ConfigError, Problem, Where
from workers.files import own, read_text

_PART = r'[A-Za-z0-9_-]+|"[^"]*"|\'[^\']*\''
_HEADER = re.compile(rf"\s*\[\s*((?:{_PART})(?:\s*\.\s*(?:{_PART}))*)\s*\]")
_KEY = re.compile(rf"\s*((?:{_PART})(?:\s*\.\s*(?:{_PART}))*)\s*=")


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
        except OSError as error:
            raise ConfigError([Problem(None, f"cannot read {file}: {error.strerror}")]) from None
        self.lines = self.text.splitlines()
        try:
            self.data: dict[str, Any] = tomllib.loads(self.text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError([self._syntax(str(error))]) from None
        self._places = self._index()

    def _syntax(self, message: str) -> Problem:
        found = re.search(r"\(at line (\d+), column (\d+)\)", message)
        text = re.sub(r"\s*\(at .*\)", "", message)
        line, column = (int(found[1]), int(found[2])) if found else (max(1, len(self.lines)), 1)
        shown = self.lines[line - 1] if line <= len(self.lines) else ""
        return Problem(Where(str(self.file), line, column), f"not TOML: {text}", shown)

    def _index(self) -> dict[tuple[str, ...], tuple[int, int]]:
        """Map each key's path to its (line, column); keys of inline tables are found when asked for."""
        places: dict[tuple[str, ...], tuple[int, int]] = {}
        table: tuple[str, ...] = ()
        quoted = ""
        for number, line in enumerate(self.lines, 1):
            if quoted:
                quoted = "" if quoted in line else quoted
                continue
            header, key = _HEADER.match(line), _KEY.match(line)
            if header:
                table = _parts(header[1])
                places.setdefault(table, (number, header.start(1) + 1))
            elif key:
                places[table + _parts(key[1])] = (number, key.start(1) + 1)
                for mark in ('"""', "'''"):
                    if line.count(mark) == 1:
                        quoted = mark
        return places

    def place(self, *path: str) -> tuple[int, int]:
        """Return the line and column of a key, or of the nearest table around it that is written."""
        for size in range(len(path), -1, -1):
            found = self._places.get(path[:size])
            if found is None:
                continue
            line, column = found
            for part in path[size:]:
                inside = re.compile(rf'(?<![\w-])["\']?({re.escape(part)})["\']?\s*=').search(
                    self.lines[line - 1], column
                )
                column = inside.start(1) + 1 if inside else column
            return line, column
        return 1, 1

    def problem(self, message: str, *path: str) -> Problem:
        """Return a mistake at a key."""
        line, column = self.place(*path)
        shown = self.lines[line - 1] if line <= len(self.lines) else ""
        return Problem(Where(str(self.file), line, column), message, shown)

    def value_place(self, *path: str) -> tuple[int, int]:
        """Return where the text of a string value begins."""
        line, column = self.place(*path)
        rest = self.lines[line - 1][column - 1 :]
        found = re.search(r"""=\s*("{3}|'{3}|"|')""", rest)
        if not found:
            return line, column
        if len(found[1]) == 3 and not rest[found.end() :].strip():
            return line + 1, 1  # a newline right after the quotes is not part of the value
        return line, column + found.end()


def _parts(text: str) -> tuple[str, ...]:
    return tuple(p.strip("\"'") for p in re.findall(_PART, text))
