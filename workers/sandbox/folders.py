# SPDX-License-Identifier: MIT
"""What an interpreter in a jail may read, under every name that it is looked for by.

`sys.path` may name a folder by a symbolic link, and a package in it may be one. A jail has both: what a link leads to,
and the links on the way there, each with the text that it has outside.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.machinery import all_suffixes
from pathlib import Path

#: Most symbolic links on the way to one file (path_resolution(7)).
_MOST_LINKS = 40


@dataclass(frozen=True)
class Readable:
    """Folders and files by their real paths, none below another; and symbolic links to them, with what each says."""

    folders: tuple[str, ...]
    links: dict[str, str]


def readable() -> Readable:
    """Return what an interpreter needs: its own files, its libraries', the installed packages', and this program's."""
    here = Path(os.path.abspath(__file__)).parents[2]
    wanted = [sys.prefix, sys.base_prefix, sysconfig.get_path("stdlib")]
    wanted += [str(package / name) for package in (here, here.resolve()) for name in ("shm", "workers", "vre")]
    for path in sys.path:
        if path.endswith("-packages"):
            wanted += [path, *_linked_packages(path)]
    return reach([*wanted, "/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/lib64", "/etc/ld.so.cache"])


def reach(paths: Iterable[str]) -> Readable:
    """Return what there is at some absolute paths, and the links on the way."""
    links: dict[str, str] = {}
    real = sorted({follow(path, links) for path in paths if os.path.exists(path)})
    # Sorted: a folder comes before all that is in it.
    apart: list[str] = []
    for path in real:
        if not any(path.startswith(f"{folder}/") for folder in apart):
            apart.append(path)
    return Readable(tuple(apart), links)


def follow(path: str, links: dict[str, str]) -> str:
    """Return the real path of an absolute one, and enter the symbolic links on the way. Raises OSError."""
    real, rest, followed = "", path.split("/")[::-1], 0
    while rest:
        part = rest.pop()
        if part == "..":
            real = os.path.dirname(real).rstrip("/")
        elif part not in ("", "."):
            real = f"{real}/{part}"
            if os.path.islink(real):
                followed += 1
                if followed > _MOST_LINKS:
                    raise OSError(f"{path}: too many symbolic links")
                links[real] = text = os.readlink(real)
                rest += text.split("/")[::-1]
                real = "" if text.startswith("/") else os.path.dirname(real).rstrip("/")
    return real or "/"


def _linked_packages(folder: str) -> Iterator[str]:
    """Yield the packages and modules in a folder of packages that are symbolic links."""
    try:
        with os.scandir(folder) as entries:
            links = [entry.path for entry in entries if entry.is_symlink()]
    except OSError:
        return
    for path in links:
        # Nothing else is imported from there: a link to what a user keeps elsewhere shows it to no domU.
        if os.path.isfile(f"{path}/__init__.py") or (os.path.isfile(path) and path.endswith(tuple(all_suffixes()))):
            yield path
