# SPDX-License-Identifier: MIT
"""`vre lab exec`, `capture` and `check`: what happens in the hosts of a lab that runs."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import click

from vre.errors import PlatformError, nearest
from vre.lab.directory import LabDirectory, State, running
from vre.lab.fields import end as end_of
from vre.lab.reader import load_lab
from vre.lab.topology import Check, End, Lab

_NAME = click.option("--name", help="Which lab, if several run.")


def _running(name: str | None) -> tuple[LabDirectory, State, Lab]:
    """Return a lab that runs, and what its file says of it."""
    directory, state = running(name)
    return directory, state, load_lab(Path(state.file), directory.name)


@click.command("exec", context_settings={"ignore_unknown_options": True})
@click.argument("host")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@_NAME
def run_in(host: str, command: tuple[str, ...], name: str | None) -> None:
    """Run COMMAND in HOST, or a shell; its exit status is this command's.

    Options of COMMAND's own follow `--`: `vre lab exec h1 -- ping -c 3 10.0.2.2`.
    """
    from vre.lab.entering import run_in_host, run_shell

    _, state, described = _running(name)
    _require_host(described, host)
    namespace = described.namespace(host)
    sys.exit(run_in_host(state, namespace, command) if command else run_shell(state, namespace))


def _require_host(described: Lab, host: str) -> None:
    if host in described.model.routers:
        raise PlatformError(f"'{host}' is a router: 'vre read', 'vre write' and 'vre show' reach it")
    if host not in described.hosts:
        hint = nearest(host, described.hosts) or f"; the hosts are {', '.join(described.hosts) or 'none'}"
        raise PlatformError(f"there is no host '{host}'{hint}")


@click.command()
@click.argument("link")
@click.option("--output", "-o", type=click.Path(path_type=Path), help="The pcapng file [standard output].")
@click.option("--count", "-c", type=click.IntRange(1), help="Stop after so many frames.")
@_NAME
def capture(link: str, output: Path | None, count: int | None, name: str | None) -> None:
    """Capture what passes LINK, given by one of its ends as in h1:eth0, both ways.

    `vre lab capture h1:eth0 | wireshark -k -i -` shows it as it passes.
    """
    from vre.lab.capture import capture as run
    from vre.lab.entering import in_host

    _, state, described = _running(name)
    end = _host_end(described, link)
    if output is None and sys.stdout.isatty():
        raise click.UsageError("a capture is not for a terminal: give a file with -o, or a pipe")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        fd = 1 if output is None else os.open(output, flags, 0o644)
    except OSError as error:
        raise PlatformError(f"cannot write {output}: {error.strerror}") from None
    sys.exit(in_host(state, described.namespace(end.node), lambda: run(end.port, fd, count)))


def _host_end(described: Lab, text: str) -> End:
    """Return the end of a link that is a host's, by one of its ends."""
    try:
        found = described.link_at(end_of(text))
    except ValueError as error:
        raise PlatformError(f"LINK {error}") from None
    if found is None:
        ends = [str(end) for link in described.links for end in link.ends]
        raise PlatformError(f"there is no link at {text}{nearest(text, ends) or '; there are ' + ', '.join(ends)}")
    for end in found.ends:
        if end.node in described.hosts:
            return end
    raise PlatformError(f"{found} is between two routers: capture at a host, or with a 'capture' link in the file")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_NAME
def check(as_json: bool, name: str | None) -> None:
    """Run the checks that a lab's file lists; status 1 if one does not hold."""
    from vre.lab.checks import run_check

    _, state, described = _running(name)
    if not described.checks:
        raise PlatformError(f"{described.file} lists no checks: add tables [[checks]] with 'host' and 'command'")
    outcomes = []
    for one in described.checks:
        outcomes.append(run_check(described, state, one))
        if not as_json:
            _show(one, outcomes[-1].holds, outcomes[-1].why(), outcomes[-1].output)
    held = sum(one.holds for one in outcomes)
    if as_json:
        rows = [{"check": o.check.name, "holds": o.holds, "status": o.status, "output": o.output} for o in outcomes]
        click.echo(json.dumps({"checks": rows, "pass": held == len(rows)}))
    else:
        click.echo(f"{held} of {len(outcomes)} checks hold")
    sys.exit(0 if held == len(outcomes) else 1)


def _show(one: Check, holds: bool, why: str, output: str) -> None:
    from shm.escape import escape_lines

    click.echo(f"{'ok      ' if holds else 'FAILED  '}{one.name}")
    if not holds:
        click.echo(f"        {one.host}$ {one.command}\n        {why}")
        click.echo("".join(f"        | {line}\n" for line in escape_lines(output).splitlines()[-10:]), nl=False)
