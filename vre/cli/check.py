# SPDX-License-Identifier: MIT
"""`vre check` and `vre plan`: a platform's errors and placement, before it runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from vre.config.machines import MACHINES
from vre.config.model import Model
from vre.config.reader import load_model
from vre.errors import ConfigError
from vre.placement.allocate import allocate, expected_shares, split
from vre.supervision.cpus import cpus, fit, host_hz
from workers.graph.costs import cycles_modelled


def _load(file: Path, as_json: bool) -> Model:
    """Return the model of a file; print its errors as JSON if JSON was asked for."""
    try:
        return load_model(file)
    except ConfigError as error:
        if not as_json:
            raise
        click.echo(json.dumps({"ok": False, "errors": [problem.as_dict() for problem in error.problems]}))
        sys.exit(2)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--code", is_flag=True, help="Print the module that each router's paths are compiled from.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(file: Path, code: bool, as_json: bool) -> None:
    """Report all errors of FILE with file, line and column; status 2 if there are any."""
    model = _load(file, as_json)
    if code:
        modules = _modules(model)
        click.echo(json.dumps({"ok": True, "code": modules}) if as_json else "\n\n".join(modules.values()), nl=as_json)
        return
    elements = {name: len(router.graph.nodes) for name, router in model.routers.items()}
    if as_json:
        click.echo(json.dumps({"ok": True, "routers": elements, "nics": list(model.nics)}))
    else:
        shown = ", ".join(f"{name} ({count} elements)" for name, count in elements.items())
        click.echo(f"{file}: no errors. {len(model.nics)} port(s), {len(elements)} router(s): {shown}")


def _modules(model: Model) -> dict[str, str]:
    """Return router to the text of its module; of one whose graph runs in its domU, `ROUTER in its domU` to that's."""
    from workers.compiler.listing import listing

    graphs = {name: router.graph for name, router in model.routers.items()}
    graphs |= {
        f"{name} in its domU": router.hosted_graph for name, router in model.routers.items() if router.hosted_graph
    }
    return {
        name: listing(graph.shape, [node.name for node in graph.nodes], f"Router {name}")
        for name, graph in graphs.items()
    }


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def plan(file: Path, as_json: bool) -> None:
    """Show which path of FILE would run on which core, and the share that each router can expect."""
    model = _load(file, as_json)
    from vre.cli.report import number  # imports NumPy, which `vre check` does without

    placed = allocate(model)
    shares, weights = expected_shares(model, placed), split(model, placed)
    host = fit(model.cores, model.clock, cpus(), model.has_domus, model.wire)
    on_core = {core: sum(w for (_, c), w in weights.items() if c == core) for core in range(model.places)}
    rows: list[dict[str, Any]] = []
    for p in sorted(placed, key=lambda p: (p.core, p.router)):
        router = model.routers.get(p.router)
        groups = [q for q in placed if (q.router, q.core) == (p.router, p.core)]
        share = weights[p.router, p.core] / on_core[p.core] / len(groups)
        rows.append(
            {
                "router": p.router,
                "tasks": [router.graph.task_name(t) for t in p.tasks] if router else ["classifier"],
                "core": p.core,
                "weight": weights[p.router, p.core],
                "share": share,
                "pps": _rate(model, p.router, p.tasks, share),
                "pinned": p.pinned,
            }
        )
    if as_json:
        data = {"paths": rows, "shares": shares, "dilated": host.dilated, "why": host.why}
        click.echo(json.dumps(data))
        return
    for row in rows:
        said = [f"weight {row['weight']:g}", f"{row['share']:.1%} of the core"]
        said += [number(row["pps"], "pps")] if row["pps"] else []
        said += ["pinned"] if row["pinned"] else []
        if row["core"] == model.cores:
            click.echo(f"no core {row['router']}: mapped directly, its graph runs in its domU")
            continue
        click.echo(f"core {row['core']}  {row['router']}: {', '.join(row['tasks'])} ({', '.join(said)})")
    click.echo("share of the platform under overload: " + ", ".join(f"{n} {s:.1%}" for n, s in shares.items()))
    if any(row["pps"] is None for row in rows):
        click.echo("no rate is predicted without a declared cost: cost = CYCLES in the router's table")
    click.echo(f"{'dilated time' if host.dilated else 'real time'}: {host.why}")


def _rate(model: Model, name: str, tasks: tuple[int, ...], share: float) -> float | None:
    """Return the packets a second that a group forwards under overload; None if its cost is unknown."""
    router, machine = model.routers.get(name), MACHINES[model.machine]
    if router is None or not (router.cost or machine.hz):
        return None
    cycles = router.cost or sum(cycles_modelled(router.graph.shape, t) for t in tasks[:1])
    return share * (machine.hz or host_hz()) / cycles
