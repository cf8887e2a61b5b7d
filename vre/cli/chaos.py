# SPDX-License-Identifier: MIT
"""`vre chaos`: run rogues beside a user's own routers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from vre.cli.options import Duration, sandbox_option


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--fault", "names", multiple=True, metavar="NAME", help="Run only this fault; may be repeated.")
@click.option("--list", "listing", is_flag=True, help="List the faults.")
@click.option("--for", "seconds", type=Duration(), help="Inject random faults for this time, e.g. 2min.")
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the random faults.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@sandbox_option
def chaos(
    file: Path | None,
    names: tuple[str, ...],
    listing: bool,
    seconds: float | None,
    seed: int,
    as_json: bool,
    sandbox: str | None,
) -> None:
    """Run rogues beside the routers of a platform FILE; status 0 only if all are contained.

    Each rogue runs in the domU of an additional router. The other routers' losses in windows of 100 ms are checked (of
    those that are overloaded anyhow, their shares of the core), dom0's workers, and that every packet is accounted for.
    """
    from vre.chaos.runner import chosen, run

    if listing:
        _list_faults(as_json)
        return
    if file is None:
        raise click.UsageError("which platform file? 'vre chaos lab.toml'")
    chosen(names)
    from vre.config.reader import load_model
    from vre.supervision.outlet import speaking

    model = load_model(file)
    model.sandbox = sandbox or model.sandbox
    with speaking() as say:
        result = run(model, names, (lambda text: None) if as_json else say, seconds, seed)
    _print_result(result, as_json)
    sys.exit(0 if result["pass"] else 1)


def _list_faults(as_json: bool) -> None:
    from vre.chaos.runner import faults

    known = {fault.name: f"{fault.group}: {fault.what}" for fault in faults().values()}
    click.echo(json.dumps(known) if as_json else "\n".join(f"{name:16} {text}" for name, text in known.items()))


def _print_result(result: dict[str, Any], as_json: bool) -> None:
    """Print the verdict on each fault; `result` is as :func:`vre.chaos.runner.run` returns it."""
    from vre.cli.report import emit
    from vre.cli.tables import Rows

    rows = [
        {
            "fault": f["name"],
            "verdict": "contained" if f["contained"] else "NOT CONTAINED",
            "outcome": f["outcome"],
            "detected ms": "" if f["noticed_ms"] is None else f["noticed_ms"],
            "victims' loss": f"{f['victim_loss']:.2%}",
            "missing share": f"{f['victim_shortfall']:.2%}",
            "": f["why"],
        }
        for f in result["faults"]
    ]
    emit(result, Rows(rows), as_json)
    if not as_json:
        held = sum(f["contained"] for f in result["faults"])
        click.echo(f"{held} of {len(rows)} faults contained, tier {result['tier']}; {len(result['skipped'])} skipped")
        for what in result["left"]:
            click.echo(f"at the end: {what}")
