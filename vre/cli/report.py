# SPDX-License-Identifier: MIT
"""Tables for people, JSON for programs: two views of the same accounts."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from vre.cli.contest import as_error
from vre.cli.options import overwrites
from vre.cli.tables import Rows
from vre.platform.accounts import RouterStats
from workers.arguments import show_ether

if TYPE_CHECKING:
    from rich.console import Console


def number(value: float, unit: str = "") -> str:
    """Return a count or rate with three significant digits, a prefix and a unit."""
    for limit, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}".rstrip()


def emit(data: Any, text: Any, as_json: bool) -> None:
    """Print `data` as JSON, or `text` (a string or a rich renderable)."""
    if as_json:
        click.echo(json.dumps(data))
        return
    _console().print(text, soft_wrap=isinstance(text, str))


def _console() -> Console:
    from rich.console import Console

    # Tenants' text is shown literally, never as markup or a link.
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = 200  # a file or a pipe has no width
    return console


@contextmanager
def looks() -> Iterator[Callable[..., None]]:
    """Return what shows a look, given in parts: in place of the one before on a terminal, else below it."""
    from rich.console import Group
    from rich.live import Live

    if overwrites(sys.stdout):
        with Live(console=_console(), auto_refresh=False) as live:
            yield lambda *parts: live.update(Group(*parts), refresh=True)
    else:

        def below(*parts: Any) -> None:
            for part in parts:
                emit(None, part, False)

        yield below


def routers_json(stats: list[RouterStats]) -> dict[str, Any]:
    """Return the accounts as `vre run --json` prints them."""
    return {"routers": {s.name: s.as_dict() for s in stats}}


def routers_table(stats: list[RouterStats], seconds: float) -> Rows:
    """Return the table that a run ends with: one row per router."""
    rows = []
    for s in stats:
        latency = [f"{s.latency_us[p]:.0f} us" if s.latency_us else "-" for p in ("p50", "p99", "p99_9", "max")]
        rows.append(
            {
                "router": s.name,
                # A directly mapped router is on no core.
                "entitled": f"{s.entitled:.1%}" if s.entitled else "-",
                "share": f"{s.share:.1%}" if s.entitled else "-",
                "error": as_error(s.error),
                "forwarded": number(s.forwarded),
                "rate": number(s.forwarded / seconds, "pps") if seconds else "-",
                "cycles/packet": f"{s.cycles_per_packet:.0f}" if s.entitled else "-",
                **dict(zip(("p50", "p99", "p99.9", "max"), latency, strict=True)),
                "contested": f"{s.contested_s:.2f} s",
            }
        )
    return Rows(rows)


def drop_lines(stats: list[RouterStats]) -> list[str]:
    """Return a line for each router that dropped packets: how many for which reason, exactly."""
    found = []
    for s in stats:
        reasons = sorted(s.dropped.items(), key=lambda d: -d[1])
        if reasons:
            found.append(f"{s.name} dropped {', '.join(f'{count:,} {reason}' for reason, count in reasons)}")
    return found


def lost_line(lost: dict[str, int]) -> str:
    """Return one line that says how many lines were dropped; see :meth:`vre.platform.platform.Platform.lost_lines`."""
    parts = [f"{count:,} of {name}" if name else f"{count:,} of the platform" for name, count in lost.items()]
    return f"lines dropped because they were not read: {', '.join(parts)}"


def capture_lines(captures: list[dict[str, Any]]) -> str:
    """Return a line for each capture that lacks frames."""
    return "\n".join(
        f"{one['file']}: {one['lost']:,} of {one['sent']:,} frames of {one['port']} were not captured"
        for one in captures
        if one["lost"]
    )


def link_lines(links: list[dict[str, Any]]) -> list[str]:
    """Return a line for each impaired link: where all frames went that were sent over it."""
    names = {"lost": "lost", "over_limit": "without room", "refused": "not taken", "waiting": "on their way"}
    found = []
    for link in links:
        parts = [f"{link[name]:,} {said}" for name, said in names.items() if link[name]]
        twice = f", {link['duplicated']:,} of them twice" if link["duplicated"] else ""
        said = ", ".join([f"{link['arrived']:,} arrivals", *parts])
        found.append(f"link {link['port']} {link['direction']}: of {link['sent']:,} frames{twice}: {said}")
    return found


def stray_line(nic: str, macs: list[int], claims: dict[str, list[Any]]) -> str:
    """Return a line that lists the addresses of a port's unclaimed frames, and how to claim them."""
    few = ", ".join(show_ether(mac) for mac in macs[:4]) + (", ..." if len(macs) > 4 else "")
    taken = ", ".join(f"{name} {claim_text(*claim)}" for name, claim in claims.items()) or "nothing"
    remedy = f'to claim them, set [routers.NAME.ports.{nic}] mac = "{show_ether(macs[0])}"'
    if not any(mac is None for mac, _ in claims.values()):
        remedy += ', or mac = "*" for all unclaimed frames'
    return f"port {nic}: frames for {few} were unclaimed (claimed: {taken}): {remedy}"


def claim_text(mac: int | None, vlan: int) -> str:
    """Return a router's claim at a port as text."""
    return ("*" if mac is None else show_ether(mac)) + (f" on VLAN {vlan}" if vlan >= 0 else "")


def balance_line(stats: list[RouterStats], unclaimed: int) -> str:
    """Return one line that accounts for all packets."""
    injected, forwarded = sum(s.injected for s in stats), sum(s.forwarded for s in stats)
    dropped, in_flight = sum(sum(s.dropped.values()) for s in stats), sum(s.in_flight for s in stats)
    line = f"{injected:,} injected = {forwarded:,} forwarded + {dropped:,} dropped + {in_flight:,} in flight"
    lost = injected - forwarded - dropped - in_flight
    if lost:
        line += f"; {lost:,} NOT ACCOUNTED FOR"
    if unclaimed:
        line += f"; {unclaimed:,} more frames were unclaimed"
    return line
