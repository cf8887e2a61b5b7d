# SPDX-License-Identifier: MIT
"""Tables for people, JSON for programs: two views of the same accounts."""

from __future__ import annotations

import json
from typing import Any

import click

from vre.stats import RouterStats


def number(value: float) -> str:
    """Return a count or rate with three significant digits and a unit prefix."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g} {unit}"
    return f"{value:.3g}"


def emit(data: Any, text: Any, as_json: bool) -> None:
    """Print `data` as JSON, or `text` (a string or a rich renderable)."""
    if as_json:
        click.echo(json.dumps(data))
        return
    from rich.console import Console

    # What tenants have written is text, never markup or a link.
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = 200  # a file or a pipe has no width to keep to
    console.print(text, soft_wrap=isinstance(text, str))


def routers_json(stats: list[RouterStats]) -> dict[str, Any]:
    """Return the accounts as `vre run --json` prints them."""
    return {"routers": {s.name: s.as_dict() for s in stats}}


def routers_table(stats: list[RouterStats], seconds: float, title: str = "") -> Any:
    """Return the table that a run ends with: a row each router."""
    from rich.table import Table

    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for name in (
        "router",
        "entitled",
        "share",
        "forwarded",
        "rate",
        "cycles/packet",
        "p50",
        "p99",
        "p99.9",
        "max",
        "dropped",
    ):
        table.add_column(name, justify="left" if name in ("router", "dropped") else "right", no_wrap=name != "dropped")
    for s in stats:
        latency = [f"{s.latency_us[p]:.0f} us" if s.latency_us else "-" for p in ("p50", "p99", "p99_9", "max")]
        reasons = ", ".join(
            f"{number(count)} {reason}" for reason, count in sorted(s.dropped.items(), key=lambda d: -d[1])
        )
        table.add_row(
            s.name,
            # What is mapped directly is on no core.
            f"{s.entitled:.1%}" if s.entitled else "-",
            f"{s.share:.1%}" if s.entitled else "-",
            number(s.forwarded),
            f"{number(s.forwarded / seconds)}pps" if seconds else "-",
            f"{s.cycles_per_packet:.0f}" if s.entitled else "-",
            *latency,
            reasons or "-",
        )
    return table


def lost_line(lost: dict[str, int]) -> str:
    """Return one line that says how many lines nobody took; see :meth:`vre.platform.Platform.lost_lines`."""
    parts = [f"{count:,} of {name}" if name else f"{count:,} of the platform" for name, count in lost.items()]
    return f"lines that nobody read: {', '.join(parts)}"


def balance_line(stats: list[RouterStats], unclaimed: int) -> str:
    """Return one line that adds all packets up."""
    injected, forwarded = sum(s.injected for s in stats), sum(s.forwarded for s in stats)
    dropped, in_flight = sum(sum(s.dropped.values()) for s in stats), sum(s.in_flight for s in stats)
    line = f"{injected:,} injected = {forwarded:,} forwarded + {dropped:,} dropped + {in_flight:,} in flight"
    lost = injected - forwarded - dropped - in_flight
    if lost:
        line += f"; {lost:,} NOT ACCOUNTED FOR"
    if unclaimed:
        line += f"; {unclaimed:,} more frames were for no router"
    return line
