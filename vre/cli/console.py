# SPDX-License-Identifier: MIT
"""`vre console`: a routing daemon's own console, or a shell in the namespace of a router's control plane."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import click

from shm.run_directory import RunDirectory
from vre.cli.options import timeout_option
from vre.cli.top import running
from vre.errors import PlatformError, nearest
from vre.platform.control_socket import ask

#: What each kind of control plane is talked to with; arguments of the command line follow.
_CONSOLES = {"bird": ["birdc", "-s", "/run/bird/bird.ctl"], "frr": ["vtysh"]}


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("router")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option("--shell", is_flag=True, help="Run COMMAND, or a shell, in the namespace; not the daemon's console.")
@click.option("--name", help="Which platform, if several run.")
@timeout_option
def console(router: str, command: tuple[str, ...], shell: bool, name: str | None, timeout: float | None) -> None:
    """Open the console of ROUTER's routing daemon (birdc, vtysh), or let it carry out COMMAND.

    A router with static routes only has no daemon: COMMAND, or a shell, runs in its network namespace.
    """
    rows = ask(RunDirectory(running(name)).path / "control", timeout, do="view", what="control")["rows"]
    planes = {row["router"]: row for row in rows}
    if router not in planes:
        raise PlatformError(f"no router '{router}' with a control plane{nearest(router, planes)}")
    if shutil.which("nsenter") is None:
        raise PlatformError("the program nsenter is not installed; it is in Debian's package util-linux")
    plane = planes[router]
    where = [f"--net={plane['namespace']}"]
    run = list(command) or [os.environ.get("SHELL", "/bin/sh")]
    if plane["kind"] in _CONSOLES and not shell:
        where = [f"--target={_daemon(router, plane['pid'])}", "--mount", "--net", "--pid"]
        # vtysh takes a command as one argument.
        given = ["-c", " ".join(command)] if command and plane["kind"] == "frr" else list(command)
        run = [*_CONSOLES[plane["kind"]], *given]
    os.execvp("nsenter", ["nsenter", *where, "--", *run])


def _daemon(router: str, launcher: int) -> int:
    """Return the first process of a daemon's PID namespace: its launcher's child."""
    try:
        return int(Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()[0])
    except (OSError, IndexError):
        raise PlatformError(f"router '{router}': its routing daemon does not run now; see 'vre show events'") from None
