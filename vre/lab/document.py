# SPDX-License-Identifier: MIT
"""A topology file seen as the platform file that follows from it; mistakes in the latter have places in the former."""

from __future__ import annotations

from typing import Any

from vre.config.toml import Document
from vre.errors import Problem

Path = tuple[str, ...]


class PlatformView(Document):
    """The platform of a lab, as a document.

    Parameters
    ----------
    lab : Document
        The topology file.
    data : dict
        What a platform file would say.
    origins : dict
        Path in `data` to path in the topology file; what is below it is below that.
    """

    def __init__(self, lab: Document, data: dict[str, Any], origins: dict[Path, Path]) -> None:
        # It has no file of its own to be read.
        self.file, self.text, self.lines, self.data = lab.file, lab.text, lab.lines, data
        self._lab, self._origins = lab, origins

    def _origin(self, path: Path) -> Path:
        for size in range(len(path), 0, -1):
            if path[:size] in self._origins:
                return self._origins[path[:size]] + path[size:]
        return path

    def place(self, *path: str) -> tuple[int, int]:
        """Return the line and column of what a key follows from."""
        return self._lab.place(*self._origin(path))

    def problem(self, message: str, *path: str) -> Problem:
        """Return a mistake at what a key follows from."""
        return self._lab.problem(message, *self._origin(path))

    def value_place(self, *path: str) -> tuple[int, int]:
        """Return the position of the text of a string value."""
        return self._lab.value_place(*self._origin(path))
