# SPDX-License-Identifier: MIT
"""Composed modules on disk, keyed by everything that they are made from."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

from workers.path import compose
from workers.shape import Shape


def source_hash() -> str:
    """Return a hash over the source of everything that compiled code is made from."""
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256(sys.version.encode())
    for folder in ("shm", "workers"):
        for file in sorted((root / folder).rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def cache_folder() -> Path:
    """Return the folder for composed modules and compiled code of exactly this source."""
    base = os.environ.get("VRE_CACHE") or Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "vre"
    folder = Path(base) / source_hash()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_module(shape: Shape) -> Path:
    """Write the shape's module to the cache, unless it is there, and return its file."""
    file = cache_folder() / f"path_{shape.key()}.py"
    if not file.exists():
        partial = file.with_suffix(f".{os.getpid()}")
        partial.write_text(compose(shape))
        partial.replace(file)
    return file


def import_module(shape: Shape) -> Any:
    """Import the shape's module as plain Python: the compiled path's twin."""
    name = f"vre_path_{shape.key()}"
    spec = importlib.util.spec_from_file_location(name, write_module(shape))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
