# SPDX-License-Identifier: MIT
"""`vre run` and `vre demo`."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

import click

from vre.cli import signals
from vre.cli.contest import contest_json, contest_lines
from vre.cli.options import Duration, overwrites, sandbox_option
from vre.cli.report import (
    balance_line,
    capture_lines,
    drop_lines,
    emit,
    lost_line,
    number,
    routers_json,
    routers_table,
    stray_line,
)
from vre.config.captures import allow_overwriting
from vre.config.model import Model
from vre.config.reader import load_model
from vre.errors import ConfigError, PlatformEnded, PlatformError
from vre.supervision.outlet import to_stream
from workers.arguments import show_ether

#: The router of the demo that needs a jail.
_UNTRUSTED = "violet"
_DEMO = Path(__file__).resolve().parent.parent / "demo" / "demo.toml"


def _run(model: Model, duration: float | None, as_json: bool, quiet: bool) -> None:
    from vre.platform.platform import Platform

    live = overwrites(sys.stderr) and not quiet
    write = to_stream(end="")

    def show(text: str) -> None:
        """Write a line; one that begins with CR is progress, which the next line overwrites."""
        if not quiet:
            begin = "\r\033[K" if live else ""
            write(f"{begin}{text[1:]}" if text.startswith("\r") else f"{begin}{text}\n")

    box = Platform(model=model, say=show)
    elapsed = 0.0

    def tick(now: float) -> None:
        nonlocal elapsed
        elapsed = now
        if live:
            rates = "  ".join(f"{s.name} {number(s.forwarded / now, 'pps')}" for s in box.reader.routers())
            end = f" of {duration:g}" if duration else ""
            box.say(f"\r{now:5.1f}{end} s  {rates}")

    interrupted: Any = None
    broken: PlatformEnded | None = None
    with box:
        box.start()
        forever = f"running on {model.cores} core(s); Ctrl-C ends it"
        box.say(forever if duration is None else f"running for {duration:g} s")
        try:
            box.run(duration, tick)
        except (KeyboardInterrupt, SystemExit) as stop:
            interrupted = 130 if isinstance(stop, KeyboardInterrupt) else stop.code
        except PlatformEnded as error:
            broken = error
        with signals.held():
            if interrupted is not None:
                with contextlib.suppress(PlatformEnded):
                    box.pause()
            box.halt()
            if live:
                box.say("\r")
            # Print only after all has ended: a reader that does not read must not delay the end.
            box.stop()
    stats, lost = box.reader.routers(), box.lost_lines()
    data = routers_json(stats) | {
        "seconds": elapsed,
        **contest_json(stats, box.reader.cores()),
        "dilated": box.reader.manifest.settings.dilated,
        "unclaimed": box.reader.unclaimed(),
        "strays": {nic: [show_ether(mac) for mac in macs] for nic, macs in box.reader.strays().items()},
        "lost_lines": lost,
        "captures": box.reader.captures(),
        "events": list(box.events),
    }
    with signals.patient(interrupted is not None):
        emit(data, routers_table(stats, elapsed), as_json)
        if not as_json:
            for line in [*contest_lines(stats, box.reader.cores()), *drop_lines(stats)]:
                emit(None, line, False)
            emit(None, balance_line(stats, box.reader.unclaimed()), False)
            claims = box.reader.claims()
            for nic, macs in box.reader.strays().items():
                emit(None, stray_line(nic, macs, claims.get(nic, {})), False)
            if lost:
                emit(None, lost_line(lost), False)
            if any(one["lost"] for one in data["captures"]):
                emit(None, capture_lines(data["captures"]), False)
    if broken:
        raise broken
    if interrupted is not None:
        sys.exit(interrupted)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--for", "duration", type=Duration(), help="Stop after this time [when every finite link has drained].")
@click.option("--name", help="Name of the platform and its run directory [the file's name].")
@click.option("--json", "as_json", is_flag=True, help="Print the account as JSON.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
@click.option("--force", is_flag=True, help="Let captures overwrite existing files.")
@sandbox_option
def run(
    file: Path,
    duration: float | None,
    name: str | None,
    as_json: bool,
    quiet: bool,
    force: bool,
    sandbox: str | None,
) -> None:
    """Run the platform described in FILE, and print every router's account at the end."""
    model = load_model(file, name)
    if force:
        allow_overwriting(model)
    model.sandbox = sandbox or model.sandbox
    _run(model, duration, as_json, quiet)


@click.command()
@click.option("--for", "duration", type=Duration(), default="5s", show_default=True, help="How long to run.")
@click.option("--json", "as_json", is_flag=True, help="Print the account as JSON.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
def demo(duration: float, as_json: bool, quiet: bool) -> None:
    """Run four tenants that compete for one core.

    Two use the platform's router configuration, one its own, and one brings untrusted code.
    """
    model = load_model(_DEMO)
    if not quiet and not as_json:
        click.echo(f"four routers share one core; the configuration is {_DEMO}", err=True)
    try:
        _run(model, duration, as_json, quiet)
    except (ConfigError, PlatformError) as error:
        if _UNTRUSTED not in str(error) and "jailed" not in str(error):
            raise
        click.echo(f"{error}\nwithout '{_UNTRUSTED}': 'vre doctor' says what this host lacks to jail it", err=True)
        del model.routers[_UNTRUSTED]
        _run(model, duration, as_json, quiet)
