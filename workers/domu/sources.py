# SPDX-License-Identifier: MIT
"""Python files of an untrusted element, taken into memory before its jail is shut: nothing else of their folder is.

They are read with the rights of the user who started the platform. So only regular files that are in the folder itself
are taken, as :mod:`workers.files` opens them, and only so many and so much.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from workers.files import ELEMENT_BYTES, open_folder, open_in, read_all

#: Most names of a folder that are looked at, most files that are taken, and their bytes.
_MOST_NAMES, _MOST_FILES, _MOST_BYTES = 4096, 256, 4 << 20


def read_folder(file: Path) -> tuple[dict[str, bytes], list[str]]:
    """Return the text of an element's file and of the Python files beside it, by name; and what was left out, and why.

    Raises
    ------
    OSError
        The element's own file is none that may be taken.
    """
    found: dict[str, bytes] = {}
    left_out: list[str] = []
    folder = open_folder(file.parent)
    try:
        found[file.name] = read_all(open_in(folder, file.name, ELEMENT_BYTES), ELEMENT_BYTES)
        for name in _beside(folder, file.name):
            room = min(ELEMENT_BYTES, _MOST_BYTES - sum(map(len, found.values())))
            try:
                found[name] = read_all(open_in(folder, name, room), room)
            except OSError as error:
                left_out.append(f"{name}: {error.strerror}")
    finally:
        os.close(folder)
    return found, left_out


def _beside(folder: int, but: str) -> list[str]:
    """Return the names of the other Python files in a folder, sorted, as many as may be taken."""
    names = []
    # A descriptor that only names the folder cannot be read.
    listed = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    try:
        with os.scandir(listed) as entries:
            for seen, entry in enumerate(entries):
                if seen == _MOST_NAMES:
                    break
                if entry.name.endswith(".py") and entry.name != but:
                    names.append(entry.name)
    finally:
        os.close(listed)
    return sorted(names)[: _MOST_FILES - 1]


class _Text(importlib.abc.SourceLoader):
    """Loads a module from its text."""

    def __init__(self, path: str, text: bytes) -> None:
        self._path, self._text = path, text

    def get_filename(self, fullname: str) -> str:
        """Return what the module's file is called."""
        return self._path

    def get_data(self, path: str | bytes) -> bytes:
        """Return the text."""
        return self._text


class Shelf(importlib.abc.MetaPathFinder):
    """Modules from texts in memory: `folders` has the texts of each folder, under the name that its code sees."""

    def __init__(self, folders: dict[str, dict[str, bytes]]) -> None:
        self._texts = {f"{folder}/{name}": text for folder, texts in folders.items() for name, text in texts.items()}
        self._folders = list(folders)

    def install(self) -> None:
        """Let `import` find them before any file, but not before what the interpreter brings with it."""
        sys.meta_path.insert(sys.meta_path.index(importlib.machinery.PathFinder), self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how to load a module, None if it is not here."""
        paths = [f"{folder}/{fullname}.py" for folder in self._folders if path is None]
        return next((self.spec(fullname, path) for path in paths if path in self._texts), None)

    def spec(self, name: str, path: str) -> ModuleSpec:
        """Return how to load the text at `path` as module `name`. Raises KeyError if there is none."""
        spec = ModuleSpec(name, _Text(path, self._texts[path]), origin=path)
        spec.has_location = True
        return spec


def spec_for(path: Path) -> ModuleSpec | None:
    """Return how to load an element's file: from the shelf where there is one, else from the file itself."""
    shelf = next((finder for finder in sys.meta_path if isinstance(finder, Shelf)), None)
    return shelf.spec(path.stem, str(path)) if shelf else importlib.util.spec_from_file_location(path.stem, path)
