# SPDX-License-Identifier: MIT
"""Tables that fit the terminal: what is too wide goes on in another table below, and no digit is ever left out."""

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
#: Text that is longer may go on in the next line.
_LONG_TEXT = 24


class Rows:
    """Rows of equal keys as a table, or as several below each other that begin with the same columns.

    Parameters
    ----------
    rows : sequence of dict
        Numbers are shown to the right, text to the left.
    keys : int
        How many columns name the row; each of the tables has them.
    """

    def __init__(self, rows: Sequence[dict[str, Any]], keys: int = 1) -> None:
        self.names = list(rows[0]) if rows else []
        self._cells = [[escape(str(value), _LONGEST_CELL) for value in row.values()] for row in rows]
        self._left = [any(not _NUMBER.fullmatch(cell) for cell in column) for column in zip(*self._cells, strict=True)]
        self._keys = keys

    def _widths(self) -> list[int]:
        """Return how wide each column must be: of long text its longest word."""
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
                # What does not fit even so is folded: its end is on the next line.
                table.add_column(self.names[i], justify="left" if self._left[i] else "right", overflow="fold")
            for row in self._cells:
                table.add_row(*(Text(row[i], overflow="fold") for i in group))
            yield table
