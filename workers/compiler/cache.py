# SPDX-License-Identifier: MIT
"""Composed modules on disk, keyed by everything that they are made from, beside the machine code made of them.

A cache saves time and nothing else: where there is none, because its folder cannot be written, is full, or belongs to
somebody else, everything is compiled at each start; what is damaged in it is thrown away and made anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import tempfile
import types
from functools import cache
from pathlib import Path
from typing import Any

from workers.compiler.composer import compose
from workers.graph.shape import Shape

#: What the folder of one version of the source must have room for, at least; a path's code takes some 100 KiB.
_ROOM = 1 << 20


class NoCacheError(Exception):
    """There is no folder for compiled code; the message says why."""


@cache
def source_hash() -> str:
    """Return a hash over the source of everything that compiled code is made from."""
    root = Path(__file__).resolve().parents[2]
    digest = hashlib.sha256(sys.version.encode())
    for folder in ("shm", "workers"):
        for file in sorted((root / folder).rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def cache_folder() -> Path:
    """Return the folder for composed modules and compiled code of exactly this source. Raises NoCacheError."""
    if "VRE_CACHE" in os.environ:
        return _checked(Path(os.environ["VRE_CACHE"]))
    try:
        return _checked(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vre")
    except RuntimeError as error:  # this user has no home
        raise NoCacheError(str(error)) from None


@cache
def _checked(base: Path) -> Path:
    folder = base / source_hash()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = os.lstat(folder)
        # Whoever can write there says what runs here.
        if found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise NoCacheError(f"{folder} belongs to somebody else, or others may write to it")
        with tempfile.TemporaryFile(dir=folder) as probe:
            os.posix_fallocate(probe.fileno(), 0, _ROOM)
    except OSError as error:
        raise NoCacheError(f"{folder}: {error.strerror}") from None
    return folder


def why_no_cache() -> str:
    """Return why nothing is kept on disk, "" if it is."""
    try:
        cache_folder()
    except NoCacheError as error:
        return str(error)
    return ""


def numba_folder() -> str:
    """Return where Numba keeps machine code, "" for nowhere."""
    return "" if why_no_cache() else str(cache_folder() / "numba")


def discard_compiled() -> None:
    """Throw away all machine code of this source: some of it cannot be loaded. Modules need no such thing."""
    folder = cache_folder()
    for file in [*folder.glob("*.compiled"), *folder.glob("numba/**/*.nb[ic]")]:
        with contextlib.suppress(OSError):
            file.unlink()


def _write_module(shape: Shape, text: str) -> str:
    """Write the shape's module to the cache, unless it is there, and return its file's name, also if it has none."""
    name = f"path_{shape.key()}.py"
    try:
        file = cache_folder() / name
        if not file.exists() or file.read_text(errors="replace") != text:
            partial = file.with_suffix(f".{os.getpid()}")
            partial.write_text(text)
            partial.replace(file)
    except (NoCacheError, OSError):
        return f"<{name}>"
    return str(file)


def import_module(shape: Shape) -> Any:
    """Import the shape's module as plain Python: the compiled path's twin."""
    text = compose(shape)
    # What is in the file is for people, and for Numba's cache: its time and size are part of the key.
    module = types.ModuleType(f"vre_path_{shape.key()}")
    module.__file__ = _write_module(shape, text)
    sys.modules[module.__name__] = module
    exec(compile(text, module.__file__, "exec"), vars(module))
    return module
