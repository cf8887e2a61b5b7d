# SPDX-License-Identifier: MIT
"""Impairments among the keys of link tables: taken out before the tables are read for what the links are."""

from __future__ import annotations

from typing import Any

from vre.config.impairment import KEYS, Impairment, changed
from vre.config.tables import Tables

#: Keys that make a link one out of the platform, which brings frames, too; and one out of the port. Others send to it.
_WORLD = ("veth", "interface", "xdp", "tap", "vxlan")
_OUTWARD = ("capture", "to", "sink", *_WORLD)
#: Keys of generators and replays that say something else there: packets a second, packets back to back.
_OF_SENDERS = ("rate", "burst")


def take_impairments(tables: Tables, given: Any, path: tuple[str, ...]) -> tuple[Any, dict[str, Impairment]]:
    """Return a port's `link` without impairments, and these by direction.

    Parameters
    ----------
    tables : Tables
        Gets the problems.
    given : object
        What stands at `path`: one table, or a list of them.
    path : tuple of str
    """
    found: dict[str, Impairment] = {}
    if not isinstance(given, list):
        return _take(tables, given, path, found), found
    return [_take(tables, one, (*path, str(i)), found) for i, one in enumerate(given)], found


def _take(tables: Tables, table: Any, path: tuple[str, ...], found: dict[str, Impairment]) -> Any:
    if not isinstance(table, dict):
        return table
    direction = "out" if any(key in table for key in _OUTWARD) else "in"
    keys = [key for key in table if key in KEYS and not (direction == "in" and key in _OF_SENDERS)]
    if keys:
        wanted, wrong = changed(Impairment(), {key: table[key] for key in keys})
        for place, message in wrong:
            tables.problem(message, *path, *place)
        found[direction] = wanted
    if "in" in table and any(key in table for key in _WORLD):
        keys.append("in")
        if not isinstance(table["in"], dict):
            tables.problem('in: must be a table, as in in = { delay = "5ms" }', *path, "in")
            return {key: value for key, value in table.items() if key not in keys}
        found["in"], wrong = changed(Impairment(), table["in"])
        for place, message in wrong:
            tables.problem(message, *path, "in", *place)
    return {key: value for key, value in table.items() if key not in keys}
