# SPDX-License-Identifier: MIT
"""`vre lab`: labs of routers, hosts and links on one machine."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import click

from vre.cli.lab_inside import capture, check, run_in
from vre.lab.directory import LabDirectory, names, running, sweep
from vre.lab.graph import address, as_dot, as_text, options
from vre.lab.reader import load_lab
from vre.lab.topology import Lab
from vre.supervision.outlet import speaking

_FILE = click.argument("file", type=click.Path(path_type=Path))
_NAME = click.option("--name", help="Which lab, if several run.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
#: What a detached lab writes when it is up.
_UP = b"u"


@click.group()
def lab() -> None:
    """Run routers, hosts and links from one topology file, on one machine.

    As root hosts are network namespaces that `ip netns` shows; an ordinary user's lab is in a user namespace.
    """


lab.add_command(run_in)
lab.add_command(capture)
lab.add_command(check)


@lab.command()
@_FILE
@click.option("--detach", "-d", is_flag=True, help="Return when it is up; 'vre lab down' ends it.")
@click.option("--name", help="Name of the lab [the file's name].")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
def up(file: Path, detach: bool, name: str | None, quiet: bool) -> None:
    """Run the lab described in FILE until Ctrl-C or `vre lab down`."""
    described = load_lab(file, name)
    if not detach:
        _up(described, quiet, None)
        return
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        os.setsid()
        _up(described, quiet, theirs)
        return
    os.close(theirs)
    try:
        said = os.read(ours, 1)
    except BaseException:  # a signal: a lab that is not up yet shall not come up later
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)
        raise
    if said != _UP:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        sys.exit(status if status >= 0 else 128 - status)
    click.echo(f"lab {described.name} is up; 'vre lab down' ends it")


def _up(described: Lab, quiet: bool, ready: int | None) -> None:
    """Run a lab; write to `ready` when it is up, and let go of the terminal then."""
    from vre.lab.running import RunningLab  # it loads the platform

    with speaking() as say, RunningLab(described, (lambda _: None) if quiet else say) as one:
        if ready is None:
            if not quiet:
                say(f"lab {described.name} is up: {_summary(described)}; Ctrl-C ends it")
        else:
            null = os.open(os.devnull, os.O_RDWR)
            for fd in (0, 1, 2):
                os.dup2(null, fd)
            os.write(ready, _UP)
            os.close(ready)
        while True:
            one.tend(0.1)


def _summary(described: Lab) -> str:
    hosts = f"{len(described.hosts)} host(s): {', '.join(described.hosts)}" if described.hosts else "no hosts"
    return f"{len(described.model.routers)} router(s), {len(described.links)} link(s), {hosts}"


@lab.command()
@_NAME
@click.option("--all", "every", is_flag=True, help="End all labs of this user.")
def down(name: str | None, every: bool) -> None:
    """End a lab, and remove all that it made."""
    from vre.lab.ending import end

    if every:
        sweep()
        chosen = [one for one in names() if LabDirectory(one).alive()]
    else:
        chosen = [running(name)[0].name]
    for one in chosen:
        end(*running(one))
        click.echo(f"lab {one} is down")


@lab.command()
@_NAME
@_JSON
def status(name: str | None, as_json: bool) -> None:
    """Show a lab that runs: its nodes, their ports and addresses."""
    from vre.cli.report import emit  # imports NumPy, whose threads keep a process from entering a host
    from vre.cli.tables import Rows

    directory, state = running(name)
    described = load_lab(Path(state.file), directory.name)
    rows = [
        {
            "node": end.node,
            "kind": "host" if end.node in described.hosts else "router",
            "port": end.port,
            "address": address(described, end),
            "far end": str(link.other(end)),
            "link": options(link),
        }
        for node in (*described.model.routers, *described.hosts)
        for link in described.links
        for end in link.ends
        if end.node == node
    ]
    data = {"name": directory.name, "file": state.file, "pid": state.pid, "rootless": state.rootless, "ports": rows}
    if not as_json:
        where = ", in a user namespace" if state.rootless else ""
        click.echo(f"lab {directory.name} runs as process {state.pid}{where}: {state.file}")
    emit(data, Rows(rows), as_json)


@lab.command()
@_FILE
@click.option("--dot", is_flag=True, help="Print DOT, for Graphviz.")
def graph(file: Path, dot: bool) -> None:
    """Print the nodes of FILE, with their ports, addresses and links."""
    described = load_lab(file)
    click.echo(as_dot(described) if dot else as_text(described))


@lab.command("import")
@_FILE
def import_(file: Path) -> None:
    """Print the topology file for FILE, a topology of containerlab (YAML) or Kathará (lab.conf)."""
    from vre.lab.foreign import translate

    click.echo(translate(file), nl=False)
