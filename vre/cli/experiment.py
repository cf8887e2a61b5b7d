# SPDX-License-Identifier: MIT
"""`vre experiment`: the paper's figures, measured here and modelled on the paper's box."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from vre.experiments import NAMES


@click.command()
@click.argument("name", type=click.Choice(list(NAMES)))
@click.option("--quick", is_flag=True, help="Fewer and shorter repeats: under a minute once everything is compiled.")
@click.option("--setting", type=click.Choice(["both", "measured", "modelled"]), default="both", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for plots (PNG, SVG) and samples (CSV, JSON).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def experiment(name: str, quick: bool, setting: str, out: Path | None, as_json: bool) -> None:
    """Run one of the paper's experiments; status 0 if all its criteria hold, 3 if this host cannot judge them."""
    from vre.cli.options import overwrites, writable
    from vre.experiments.setup import progress
    from vre.supervision.outlet import speaking

    if out:
        from vre.experiments.report import require_matplotlib, write

        require_matplotlib()
    writable(out, folder=True)
    module = import_module(f"vre.experiments.{NAMES[name]}")
    live = overwrites(sys.stderr)
    outcomes = []
    with speaking(end="") as say:
        progress.set(lambda text: say(f"\r\033[K{text}" if live else f"{text}\n"))
        for one in ("modelled", "measured"):
            if setting in ("both", one):
                say(f"{name}, {one}: {module.TITLE}\n")
                outcomes.append(getattr(module, one)(quick))
                if live:
                    say("\r\033[K")
    if out:
        for file in write(out, name, module, outcomes, quick):
            click.echo(f"wrote {file}", err=True)
    passed = all(outcome.passed for outcome in outcomes)
    if as_json:
        criteria = [
            c.as_dict() | {"name": f"{o.setting}: {c.name}" if setting == "both" else c.name}
            for o in outcomes
            for c in o.criteria
        ]
        unjudged = [outcome.unjudged for outcome in outcomes if outcome.unjudged]
        found = {"experiment": name, "setting": setting, "criteria": criteria, "unjudged": unjudged, "pass": passed}
        click.echo(json.dumps(found))
    else:
        _print(module, outcomes)
    failed = any(not c.passed for outcome in outcomes for c in outcome.criteria)
    sys.exit(0 if passed else 1 if failed else 3)


def _print(module: Any, outcomes: list[Any]) -> None:
    from vre.cli.report import emit
    from vre.cli.tables import Rows

    emit(None, f"{module.TITLE}\nthe paper: {module.SAYS}", False)
    for outcome in outcomes:
        emit(None, f"\n{outcome.setting}", False)
        emit(None, Rows(outcome.rows), False)
        for note in outcome.notes:
            emit(None, note, False)
        if outcome.unjudged:
            emit(None, f"this host cannot judge: {outcome.unjudged}", False)
        for c in outcome.criteria:
            emit(None, f"{'pass' if c.passed else 'FAIL'}  {c.name}: {c.value:.4g} ({c.bound})", False)
