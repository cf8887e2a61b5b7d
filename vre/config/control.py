# SPDX-License-Identifier: MIT
"""The keys of a router's control plane in a platform file: `domu = { control = "bird" }`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vre.config import fields
from vre.config.model import Control
from vre.config.tables import Tables
from workers.files import place, read_text

#: What each kind runs, in order, and the Debian package that has it.
PROGRAMS = {"bird": (("bird",), "bird2"), "frr": (("zebra", "ospfd"), "frr"), "static": ((), ""), "program": ((), "")}
#: Where programs for the administrator are, besides PATH.
_FOLDERS = "/usr/sbin:/sbin:/usr/lib/frr:/usr/local/sbin"


def _kind(value: Any) -> str:
    if isinstance(value, str) and value.endswith(".py"):
        return value
    try:
        return fields.choice(*(kind for kind in PROGRAMS if kind != "program"))(value)
    except ValueError as error:
        raise ValueError(f"{error}, or the name of a .py file") from None


CONTROL_KEYS: dict[str, Callable[[Any], Any]] = {
    "control": _kind,
    "config_file": fields.string,
    "routes": fields.static_routes,
    "most_routes": fields.integer(1, 1 << 21),
    "punt_rate": fields.integer(1, 10_000_000),
    "hold": fields.number(0, 3600, "seconds"),
}


def find_program(name: str) -> str | None:
    """Return the path of a program, None if it is not installed."""
    return shutil.which(name) or shutil.which(name, path=_FOLDERS)


def read_control(tables: Tables, values: dict[str, Any], path: tuple[str, ...], folder: Path) -> Control | None:
    """Take the keys of a control plane out of the values of a `domu` table; return what they describe, if anything."""
    found = {key: values.pop(key) for key in CONTROL_KEYS if key in values}
    kind = found.pop("control", None)
    if kind is None:
        for key in found:
            tables.problem(f'{key}: there is no control plane that this is for: add control = "bird"', *path, key)
        return None
    if kind.endswith(".py"):
        if "config_file" in found:
            tables.problem("config_file: a program has none", *path, "config_file")
        kind, found["config_file"] = "program", kind
    programs, package = PROGRAMS[kind]
    for program in programs:
        if find_program(program) is None:
            tables.problem(
                f"control: {program} is not installed; it is in Debian's package {package}", *path, "control"
            )
    if "hold" in found:
        found["hold_s"] = found.pop("hold")
    if "config_file" in found:
        if kind == "static":
            tables.problem("config_file: static routes have no daemon that would read it", *path, "config_file")
        file = place(found["config_file"], folder)
        found["config_file"] = str(file)
        try:
            found["config"] = read_text(file)
        except OSError as error:
            key = "control" if kind == "program" else "config_file"
            tables.problem(f"{key}: cannot read {file}: {error.strerror}", *path, key)
    return Control(kind, **found)
