# SPDX-License-Identifier: MIT
"""Reading the tables of a TOML document: what does not fit becomes a mistake with its position."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vre.config.toml import Document
from vre.errors import Problem, Problems, nearest


class Tables:
    """Turns tables into values; `problems` says what is wrong with them.

    Parameters
    ----------
    document : Document
        Knows where each key is.
    """

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[Problem] = Problems()

    def problem(self, message: str, *path: str) -> None:
        """Note a mistake at a key."""
        self.problems.append(self.document.problem(message, *path))

    def take(
        self,
        table: Any,
        path: tuple[str, ...],
        kinds: dict[str, Callable[[Any], Any]],
        others: tuple[str, ...] = (),
    ) -> dict[str, Any]:
        """Return the values of a table by `kinds`: key to a function that returns the value or raises ValueError.

        `others`: keys of other kinds of table, for suggestions.
        """
        if not isinstance(table, dict):
            self.problem(f"{'.'.join(path)} must be a table", *path)
            return {}
        values = {}
        for key, value in table.items():
            if key not in kinds:
                hint = nearest(key, [*kinds, *others]) or f"; there are {', '.join(kinds)}"
                self.problem(f"unknown key '{key}' in {'.'.join(path) or 'the file'}{hint}", *path, key)
                continue
            try:
                values[key] = kinds[key](value)
            except ValueError as error:
                self.problem(f"{key}: {error}", *path, key)
            except OSError as error:
                self.problem(f"{key}: {error.strerror}", *path, key)
        return values

    def tables(self, table: dict[str, Any], key: str, *path: str) -> dict[str, Any]:
        """Return the tables that a key holds, by name."""
        found = table.get(key, {})
        if isinstance(found, dict):
            return found
        self.problem(f"{key} must be a table of tables, as in [{'.'.join((*path, key))}.NAME]", *path, key)
        return {}
