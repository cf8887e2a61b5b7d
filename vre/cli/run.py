# SPDX-License-Identifier: MIT
"""`vre run` and `vre demo`."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vre.cli import signals
from vre.cli.contest import contest_json, contest_lines
from vre.cli.options import Duration, overwrites, sandbox_option
from vre.cli.report import (
    balance_line,
    capture_lines,
    drop_lines,
    emit,
    link_lines,
    lost_line,
    number,
    routers_json,
    routers_table,
    stray_line,
)
from vre.config.captures import allow_overwriting
from vre.config.links import take_by_force
from vre.config.model import Model
from vre.config.reader import load_model
from vre.errors import ConfigError, PlatformEnded, PlatformError
from vre.supervision.outlet import to_stream
from workers.arguments import show_ether

if TYPE_CHECKING:
    from vre.platform.platform import Platform

#: The router of the demo that needs a jail.
_UNTRUSTED = "violet"
_DEMO = Path(__file__).resolve().parent.parent / "demo" / "demo.toml"


class _Progress:
    """What is shown while a platform runs: lines, and one that is overwritten if `live`."""

    def __init__(self, duration: float | None, live: bool, quiet: bool) -> None:
        self._duration, self.live, self._quiet = duration, live, quiet
        self._write = to_stream(end="")
        self.elapsed = 0.0

    def show(self, text: str) -> None:
        """Write a line; one that begins with CR is progress, which the next line overwrites."""
        if not self._quiet:
            begin = "\r\033[K" if self.live else ""
            self._write(f"{begin}{text[1:]}" if text.startswith("\r") else f"{begin}{text}\n")

    def tick(self, box: Platform, now: float) -> None:
        """Say how fast the routers forward."""
        self.elapsed = now
        if self.live:
            rates = "  ".join(f"{s.name} {number(s.forwarded / now, 'pps')}" for s in box.reader.routers())
            end = f" of {self._duration:g}" if self._duration else ""
            box.say(f"\r{now:5.1f}{end} s  {rates}")


def _run(model: Model, duration: float | None, as_json: bool, quiet: bool) -> None:
    from vre.platform.platform import Platform

    progress = _Progress(duration, overwrites(sys.stderr) and not quiet, quiet)
    box = Platform(model=model, say=progress.show)
    interrupted, broken = _run_to_its_end(box, duration, progress)
    with signals.patient(interrupted is not None):
        _report(box, progress.elapsed, as_json)
    if broken:
        raise broken
    if interrupted is not None:
        sys.exit(interrupted)


def _run_to_its_end(box: Platform, duration: float | None, progress: _Progress) -> tuple[Any, PlatformEnded | None]:
    """Start a platform and let it run; return the exit status if it was interrupted, and why it broke off."""
    interrupted: Any = None
    broken: PlatformEnded | None = None
    with box:
        box.start()
        forever = f"running on {box.model.cores} core(s); Ctrl-C ends it"
        box.say(forever if duration is None else f"running for {duration:g} s")
        try:
            box.run(duration, lambda now: progress.tick(box, now))
        except (KeyboardInterrupt, SystemExit) as stop:
            interrupted = 130 if isinstance(stop, KeyboardInterrupt) else stop.code
        except PlatformEnded as error:
            broken = error
        with signals.held():
            if interrupted is not None:
                with contextlib.suppress(PlatformEnded):
                    box.pause()
            box.halt()
            if progress.live:
                box.say("\r")
            # Print only after all has ended: a reader that does not read must not delay the end.
            box.stop()
    return interrupted, broken


def _report(box: Platform, elapsed: float, as_json: bool) -> None:
    """Print the accounts that a platform has ended with."""
    reader, lost = box.reader, box.lost_lines()
    stats, strays, captures = reader.routers(), reader.strays(), reader.captures()
    data = routers_json(stats) | {
        "seconds": elapsed,
        **contest_json(stats, reader.cores()),
        "dilated": reader.manifest.settings.dilated,
        "unclaimed": reader.unclaimed(),
        "strays": {nic: [show_ether(mac) for mac in macs] for nic, macs in strays.items()},
        "lost_lines": lost,
        "captures": captures,
        "links": reader.links(),
        "events": list(box.events),
    }
    emit(data, routers_table(stats, elapsed), as_json)
    if as_json:
        return
    claims = reader.claims()
    lines = [*contest_lines(stats, reader.cores()), *drop_lines(stats), balance_line(stats, reader.unclaimed())]
    lines += [stray_line(nic, macs, claims.get(nic, {})) for nic, macs in strays.items()]
    lines += link_lines(reader.links())
    lines += [lost_line(lost)] if lost else []
    lines += [capture_lines(captures)] if any(one["lost"] for one in captures) else []
    for line in lines:
        emit(None, line, False)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--for", "duration", type=Duration(), help="Stop after this time [when every finite link has drained].")
@click.option("--name", help="Name of the platform and its run directory [the file's name].")
@click.option("--json", "as_json", is_flag=True, help="Print the account as JSON.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
@click.option(
    "--force",
    is_flag=True,
    help="Overwrite captured files; use the default route's interface.",
)
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
        take_by_force(model)
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
