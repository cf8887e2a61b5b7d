# SPDX-License-Identifier: MIT
"""`vre check` and `vre plan`: what can be said of a platform before it runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from vre.allocation import allocate, expected_shares
from vre.config import load_model
from vre.host import cpus, fit


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(file: Path, as_json: bool) -> None:
    """Report everything wrong with FILE, with file, line and column; status 2 if there is anything."""
    model = load_model(file)
    elements = {name: len(router.graph.nodes) for name, router in model.routers.items()}
    if as_json:
        click.echo(json.dumps({"ok": True, "routers": elements, "nics": list(model.nics)}))
    else:
        shown = ", ".join(f"{name} ({count} elements)" for name, count in elements.items())
        click.echo(f"{file}: no errors. {len(model.nics)} port(s), {len(elements)} router(s): {shown}")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def plan(file: Path, as_json: bool) -> None:
    """Show which path of FILE would run on which core, and the share that each router can expect."""
    model = load_model(file)
    placed = allocate(model)
    shares = expected_shares(model, placed)
    host = fit(model.cores, model.clock, cpus())
    rows: list[dict[str, Any]] = [
        {
            "router": p.router,
            "tasks": [model.routers[p.router].graph.task_name(t) for t in p.tasks],
            "core": p.core,
            "weight": p.weight,
            "pinned": p.pinned,
        }
        for p in sorted(placed, key=lambda p: (p.core, p.router))
    ]
    if as_json:
        data = {"paths": rows, "shares": shares, "dilated": host.dilated, "why": host.why}
        click.echo(json.dumps(data))
        return
    for row in rows:
        pinned = ", pinned" if row["pinned"] else ""
        click.echo(f"core {row['core']}  {row['router']}: {', '.join(row['tasks'])} (weight {row['weight']:g}{pinned})")
    click.echo("share of the platform under overload: " + ", ".join(f"{n} {s:.1%}" for n, s in shares.items()))
    click.echo(f"{'dilated time' if host.dilated else 'real time'}: {host.why}")
