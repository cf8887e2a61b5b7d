# SPDX-License-Identifier: MIT
"""Tables that fit the terminal: a table that is too wide continues below; no digit is ever cut off."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from shm.escape import escape

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

#: Longest text in a cell, in characters.
_LONGEST_CELL = 2000
#: A number, with its unit; nothing, or what stands for nothing.
_NUMBER = re.compile(r"([-+]?[\d.,]+ ?[A-Za-z%]*|-?)")
#: Spaces between columns.
_GAP = 2
#: Longer text may be wrapped.
_LONG_TEXT = 24


class Rows:
    """Rows of equal keys as a table, or as several tables that begin with the same columns.

    Parameters
    ----------
    rows : sequence of dict
        Numbers are aligned right, text left.
    keys : int
        How many columns identify the row; each table has them.
    """

    def __init__(self, rows: Sequence[dict[str, Any]], keys: int = 1) -> None:
        self.names = list(rows[0]) if rows else []
        self._cells = [[escape(str(value), _LONGEST_CELL) for value in row.values()] for row in rows]
        self._left = [any(not _NUMBER.fullmatch(cell) for cell in column) for column in zip(*self._cells, strict=True)]
        self._keys = keys

    def _widths(self) -> list[int]:
        """Return the least width of each column: for long text, that of its longest word."""
        found = []
        for i, name in enumerate(self.names):
            cells = [row[i] for row in self._cells]
            longest = max(map(len, cells))
            if self._left[i] and longest > _LONG_TEXT:
                longest = max(_LONG_TEXT, *(len(word) for cell in cells for word in cell.split()))
            found.append(max(len(name), longest))
        return found

    def groups(self, width: int) -> Iterator[list[int]]:
        """Yield the columns of each table, so that none is wider than `width` if that is possible."""
        widths, keys = self._widths(), list(range(self._keys))
        begin = sum(widths[i] + _GAP for i in keys)
        group, used = list(keys), begin
        for i in range(self._keys, len(widths)):
            if used + widths[i] > width and len(group) > len(keys):
                yield group
                group, used = list(keys), begin
            group.append(i)
            used += widths[i] + _GAP
        yield group

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.table import Table
        from rich.text import Text

        if not self.names:
            return
        for n, group in enumerate(self.groups(options.max_width)):
            if n:
                yield Text()
            table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0))
            for i in group:
                # What still does not fit is folded: it continues on the next line.
                table.add_column(self.names[i], justify="left" if self._left[i] else "right", overflow="fold")
            for row in self._cells:
                table.add_row(*(Text(row[i], overflow="fold") for i in group))
            yield table
