# SPDX-License-Identifier: MIT
"""The `vre` command; each subcommand is loaded when it is called."""

from __future__ import annotations

import contextlib
import sys
from importlib import import_module
from typing import Any

import click

from shm.escape import escape_lines
from vre import __version__
from vre.cli import signals
from vre.errors import PLACED, ConfigError, PlatformError, nearest, why_not

#: Subcommand to (module, one-line help).
COMMANDS = {
    "demo": ("vre.cli.run", "Run four tenants side by side on built-in traffic."),
    "run": ("vre.cli.run", "Run a platform file."),
    "check": ("vre.cli.check", "Report all errors of a platform file."),
    "plan": ("vre.cli.check", "Show which path would run on which core."),
    "top": ("vre.cli.top", "Watch a running platform."),
    "show": ("vre.cli.top", "Print one view of a running platform."),
    "read": ("vre.cli.live", "Read a handler of a running platform."),
    "write": ("vre.cli.live", "Write a handler, or a router's entitlement."),
    "add": ("vre.cli.live", "Add a router to a running platform."),
    "remove": ("vre.cli.live", "Remove a router from a running platform."),
    "replace": ("vre.cli.live", "Replace a running router's configuration."),
    "move": ("vre.cli.live", "Move a path to another core."),
    "link": ("vre.cli.live", "Show or change what a link does to frames: delay, loss, ..."),
    "console": ("vre.cli.console", "Talk to a router's routing daemon."),
    "elements": ("vre.cli.elements", "List the elements, or show one's manual page."),
    "doctor": ("vre.cli.doctor", "Report what this host offers, and what would improve it."),
    "chaos": ("vre.cli.chaos", "Run rogue elements beside a platform's routers."),
    "experiment": ("vre.cli.experiment", "Run one of the paper's experiments."),
    "lab": ("vre.cli.lab", "Run routers, hosts and links from one topology file."),
    "bench": ("vre.cli.bench", "Measure the whole platform against its own limit."),
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            ctx.fail(f"no command '{name}'{nearest(name, COMMANDS)}")
        return getattr(import_module(COMMANDS[name][0]), name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def vre() -> None:
    """One Linux box as many routers, each with its promised share of the machine."""


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; a user error is a message and status 2, never a traceback."""
    signals.install()
    try:
        return vre.main(args=arguments, prog_name="vre", standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)
    except ConfigError as error:
        for problem in error.problems:
            click.echo(escape_lines(str(problem)), err=True)
        count = len(error.problems)
        click.echo(f"{count} error{'s' if count > 1 else ''}; nothing was started", err=True)
        sys.exit(2)
    except PlatformError as error:
        # A running platform's answer has the positions of a configuration's errors in it.
        said = escape_lines(str(error))
        click.echo(said if said.startswith("error: ") or PLACED.match(said) else f"error: {said}", err=True)
        sys.exit(error.status)
    except KeyboardInterrupt:
        signals.leave(130)
    except BrokenPipeError:
        signals.leave(1)
    except OSError as error:
        # For example a full disk behind standard output; what is in the buffer cannot be written later either.
        with contextlib.suppress(OSError):
            place = "standard output: " if error.filename is None else ""
            click.echo(f"error: {escape_lines(place + why_not(error))}", err=True)
        signals.leave(1)
    except SystemExit as stop:
        if stop.code in signals.ASKED:
            signals.leave(stop.code)
        raise
    finally:
        _warn_of_plugins()


def _warn_of_plugins() -> None:
    """Report the plug-ins whose elements are missing; a platform that was started has reported them itself."""
    element = sys.modules.get("workers.element")
    if element and "vre.platform.platform" not in sys.modules:
        for name, why in element.BROKEN.items():
            click.echo(f"warning: the elements of plug-in {name} are missing: {why}", err=True)


if __name__ == "__main__":
    main()
