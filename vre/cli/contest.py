# SPDX-License-Identifier: MIT
"""How much was contested, in words: why a share may differ from an entitlement without being unfair."""

from __future__ import annotations

from typing import Any

from vre.platform.accounts import RouterStats, contested_jain

#: Fractions of the time below which nothing is reported: a core's idle time, a router's uncontested time.
_IDLE, _UNCONTESTED = 0.02, 0.1
#: Most routers and cores that are listed.
_MOST = 8


def idle_parts(cores: list[dict[str, int]]) -> list[float]:
    """Return the fraction of its time that each core was idle."""
    found = []
    for core in cores:
        total = core["busy_ticks"] + core["idle_ticks"] + core["slow_ticks"]
        found.append(core["idle_ticks"] / total if total else 0.0)
    return found


def contest_lines(stats: list[RouterStats], cores: list[dict[str, int]]) -> list[str]:
    """Return lines that say how even the contested shares were, and what was not contested."""
    index = contested_jain(stats)
    lines = []
    if index is not None:
        lines.append(f"Jain's index over contested time: {index:.5f}")
    idle = [f"core {n} idle {part:.0%}" for n, part in enumerate(idle_parts(cores)) if part >= _IDLE]
    if idle:
        lines.append(f"{', '.join(_few(idle))}: nothing to share then")
    seconds = max((core["clock_ns"] / 1e9 for core in cores), default=0.0)
    shared = [s for s in stats if s.entitled]
    rested = [f"{s.name} in {s.backlogged_s:.2g} s" for s in shared if s.backlogged_s < (1 - _UNCONTESTED) * seconds]
    if rested:
        lines.append(
            f"of the cores' {seconds:.3g} s, packets waited without a pause for {', '.join(_few(rested))}; "
            "a router can use its share only while packets wait"
        )
    alone = [s.name for s in shared if s.backlogged_s - s.contested_s > _UNCONTESTED * seconds]
    if alone:
        lines.append(f"had a core for itself at times: {', '.join(_few(alone))}")
    return lines


def _few(names: list[str]) -> list[str]:
    return names if len(names) <= _MOST else [*names[:_MOST], f"and {len(names) - _MOST} more"]


def as_error(error: float | None) -> str:
    """Return a router's error as text."""
    return "-" if error is None else f"{error:+.2%}"


def contest_json(stats: list[RouterStats], cores: list[dict[str, int]]) -> dict[str, Any]:
    """Return what was contested as plain data."""
    return {"jain": contested_jain(stats), "idle": [round(part, 4) for part in idle_parts(cores)]}
