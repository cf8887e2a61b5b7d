# SPDX-License-Identifier: MIT
"""Commands that change or query a running platform."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from shm.escape import escape_lines
from shm.run_directory import RunDirectory
from vre.cli.options import timeout_option
from vre.cli.top import running
from vre.errors import PlatformError
from vre.platform.connections import LONGEST
from vre.platform.control_socket import ask

_NAME = click.option("--name", help="Which platform, if several run.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _ask(name: str | None, timeout: float | None, as_json: bool, said: str, **request: Any) -> dict[str, Any]:
    answer = ask(RunDirectory(running(name)).path / "control", timeout, **request)
    if as_json:
        click.echo(json.dumps(answer))
    elif said:
        rested = f"; paused for {answer['rested_s'] * 1e3:.1f} ms" if "rested_s" in answer else ""
        click.echo(said + rested)
    return answer


@click.command()
@click.argument("what")
@_NAME
@timeout_option
@_JSON
def read(what: str, name: str | None, timeout: float | None, as_json: bool) -> None:
    """Print the value of WHAT: ROUTER/ELEMENT.HANDLER or ROUTER.entitlement."""
    answer = _ask(name, timeout, as_json, "", do="read", what=what)
    if not as_json:
        click.echo(escape_lines(answer["value"].rstrip("\n")))


@click.command(context_settings={"ignore_unknown_options": True})  # -1 is a value
@click.argument("what")
@click.argument("value", default="")
@_NAME
@timeout_option
@_JSON
def write(what: str, value: str, name: str | None, timeout: float | None, as_json: bool) -> None:
    """Set WHAT, ROUTER/ELEMENT.HANDLER or ROUTER.entitlement, to VALUE."""
    _ask(name, timeout, as_json, "", do="write", what=what, value=value)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("router")
@_NAME
@timeout_option
@_JSON
def add(file: Path, router: str, name: str | None, timeout: float | None, as_json: bool) -> None:
    """Add ROUTER, as described in the platform file FILE, to a running platform that has its ports."""
    _ask(name, timeout, as_json, f"{router} runs", do="add", file=str(file.absolute()), router=router)


@click.command()
@click.argument("router")
@_NAME
@timeout_option
@_JSON
def remove(router: str, name: str | None, timeout: float | None, as_json: bool) -> None:
    """Remove ROUTER from a running platform."""
    _ask(name, timeout, as_json, f"{router} is removed", do="remove", router=router)


@click.command()
@click.argument("router")
@click.argument("config", type=click.File(encoding="utf-8"))
@_NAME
@timeout_option
@_JSON
def replace(router: str, config: Any, name: str | None, timeout: float | None, as_json: bool) -> None:
    """Replace ROUTER's configuration by the file CONFIG; elements of the same name and class keep their state."""
    said = f"{router} has its new configuration"
    try:
        text = config.read(LONGEST)
    except UnicodeDecodeError as error:
        raise PlatformError(f"{config.name} is not text (UTF-8): byte {error.object[error.start]:#04x}") from None
    _ask(name, timeout, as_json, said, do="replace", router=router, config=text, file=config.name)


@click.command()
@click.argument("port")
@click.argument("values", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--in", "direction", flag_value="in", help="Frames on their way into the port, if it has links both ways."
)
@click.option("--out", "direction", flag_value="out", help="Frames on their way out of it.")
@click.option("--clear", is_flag=True, help="End all impairments that are not named here.")
@_NAME
@timeout_option
@_JSON
def link(
    port: str,
    values: tuple[str, ...],
    direction: str | None,
    clear: bool,
    name: str | None,
    timeout: float | None,
    as_json: bool,
) -> None:
    """Show what the links of PORT do to frames, or change it, as in delay=5ms jitter=1ms loss=1% loss.r=30%.

    Keys are those of a link's table in a platform file; those that are not named keep their values.
    """
    pairs = dict(value.partition("=")[::2] for value in values)
    if wrong := [value for value in values if "=" not in value]:
        raise click.UsageError(f"'{wrong[0]}' is not KEY=VALUE, as in delay=5ms")
    request = {"port": port, "direction": direction or "", "clear": clear, "values": pairs}
    answer = _ask(name, timeout, as_json, "", do="link", **request)
    if not as_json:
        for row in answer["rows"]:
            said = " ".join(f"{key}={_shown(key, value)}" for key, value in row.items() if key not in _PLACE)
            click.echo(f"{row['port']} {row['direction']}: {said or 'not impaired'}")


_PLACE = ("port", "direction")


def _shown(key: str, value: Any) -> str:
    """Return a setting as it can be given."""
    if key in ("delay", "jitter"):
        return f"{value / 1e6:g}ms"
    return f"{value:g}" if isinstance(value, float) else str(value)


@click.command()
@click.argument("path")
@click.argument("core", type=int)
@_NAME
@timeout_option
@_JSON
def move(path: str, core: int, name: str | None, timeout: float | None, as_json: bool) -> None:
    """Move PATH, ROUTER/ELEMENT, and all paths that share elements with it, to CORE."""
    _ask(name, timeout, as_json, f"{path} runs on core {core}", do="move", path=path, core=core)
