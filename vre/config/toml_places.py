# SPDX-License-Identifier: MIT
"""The position of each key of a TOML file, and of its value.

Keys in inline tables and arrays count, too, over any number of lines: the third rate of
`link = [{ rate = 1 }, { rate = 2 }]` is at `("link", "2", "rate")`. The text has been read by :mod:`tomllib` before, so
it is TOML, and this only needs to tell keys from values.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass

_TOKEN = re.compile(
    r"(?P<skip>[ \t]+|#[^\n]*)|(?P<line>\n)"
    r'|(?P<text>"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\')'
    r"|(?P<mark>[\[\]{}=,.])|(?P<bare>[^\s\[\]{}=,.#\"']+)",
    re.DOTALL,
)

Path = tuple[str, ...]


@dataclass(frozen=True)
class Span:
    """Offsets into the text of a key and of its value."""

    key: int
    value: int


@dataclass
class _Nest:
    """An array or inline table that has not ended: its path, and in an array the number of the value."""

    path: Path
    array: bool
    number: int = 0

    def inner(self) -> Path:
        return (*self.path, str(self.number)) if self.array else self.path


class _Scan:
    """Scans the tokens once; the next one is one of `key`, `header`, `value` and `after`."""

    def __init__(self) -> None:
        self.spans: dict[Path, Span] = {}
        self._table: Path = ()
        self._counts: dict[Path, int] = {}
        self._nests: list[_Nest] = []
        self._parts: list[str] = []
        self._path: Path = ()
        self._at = 0
        self._doubled = False
        self._next = self.key

    def take(self, kind: str, text: str, at: int) -> None:
        """Consume a token."""
        self._next(kind, text, at)

    def key(self, kind: str, text: str, at: int) -> None:
        if kind in ("text", "bare"):
            self._at = self._at if self._parts else at
            self._parts.append(_plain(text))
        elif text == "[" and not self._nests and not self._parts:
            self._doubled, self._next = False, self.header
        elif text == "}":
            self._close()
        elif text == "=":
            self._path = (*(self._nests[-1].inner() if self._nests else self._table), *self._parts)
            self._note(self._path, len(self._parts), self._at)
            self._parts, self._next = [], self.value

    def header(self, kind: str, text: str, at: int) -> None:
        if kind in ("text", "bare"):
            self._at = self._at if self._parts else at
            self._parts.append(_plain(text))
        elif text == "[":
            self._doubled = True
        elif text == "]":
            self._table = self._within_arrays(tuple(self._parts))
            self._note(self._table, len(self._table), self._at)
            self._parts, self._next = [], self.after

    def _within_arrays(self, path: Path) -> Path:
        """Return a header's path with the numbers of the arrays of tables that it goes through."""
        full: Path = ()
        for i, part in enumerate(path):
            full = (*full, part)
            if self._doubled and i == len(path) - 1:
                self._counts[full] = self._counts.get(full, -1) + 1
            if full in self._counts:
                full = (*full, str(self._counts[full]))
        return full

    def _note(self, path: Path, written: int, at: int) -> None:
        # Enclosing tables that are written nowhere else have its position.
        for size in range(len(path) - written + 1, len(path) + 1):
            self.spans.setdefault(path[:size], Span(at, at))

    def value(self, kind: str, text: str, at: int) -> None:
        if kind == "line":
            return
        if text == "]" and kind == "mark":
            self._close()
            return
        path = self._nests[-1].inner() if self._nests and self._nests[-1].array else self._path
        known = self.spans.get(path)
        self.spans[path] = Span(known.key if known else at, at)
        if kind == "mark" and text in "[{":
            self._nests.append(_Nest(path, text == "["))
            self._next = self.value if text == "[" else self.key
        else:
            self._next = self.after

    def after(self, kind: str, text: str, at: int) -> None:
        if not self._nests:
            self._next = self.key if kind == "line" else self.after
        elif kind == "mark" and text in "]}":
            self._close()
        elif text == "," and kind == "mark":
            nest = self._nests[-1]
            nest.number += 1
            self._next = self.value if nest.array else self.key

    def _close(self) -> None:
        self._nests.pop()
        self._next = self.after


def _plain(text: str) -> str:
    """Return the value of a key as it is written."""
    if text[0] == '"' and "\\" in text:
        return str(tomllib.loads(f"x = {text}")["x"])
    return text[1:-1] if text[0] in "\"'" else text


def spans(text: str) -> dict[Path, Span]:
    """Return the positions of all keys of a TOML text; its lines end with `\\n`."""
    scan = _Scan()
    for found in _TOKEN.finditer(text):
        if found.lastgroup != "skip":
            scan.take(str(found.lastgroup), found[0], found.start())
    return scan.spans
