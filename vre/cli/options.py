# SPDX-License-Identifier: MIT
"""Options that several commands share."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import click

from vre.errors import PlatformError
from workers.arguments import seconds as parse_seconds
from workers.sandbox.jail import TIERS

F = Callable[..., Any]


class Duration(click.ParamType):  # type: ignore[type-arg]  # it has none in Click 8.1
    """A time on the command line: `10s`, `2min`, `500ms`."""

    name = "time"

    def __init__(self, low: float = 1e-9, high: float = 1e8) -> None:
        self._low, self._high = low, high

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds."""
        try:
            found = parse_seconds(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(str(error), param, ctx)
        # In this order, so that a NaN fails the test.
        if not self._low <= found <= self._high:
            self.fail(f"a time must be positive, from {self._low:g} s to {self._high:g} s", param, ctx)
        return found


def overwrites(stream: TextIO | None) -> bool:
    """Return whether a stream is a terminal on which a line can be overwritten."""
    return stream is not None and stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


def writable(out: Path | None, folder: bool = False) -> None:
    """Refuse a file or folder that cannot be written before minutes are spent on measuring.

    A file's content stays until it is overwritten. Raises PlatformError.
    """
    if out is None or str(out) == "-":
        return
    try:
        if folder:
            out.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=out):
                return
        out.open("a").close()
    except OSError as error:
        raise PlatformError(f"cannot write {out}: {error.strerror}") from None


def sandbox_option(command: F) -> F:
    """Add `--sandbox` and `--unsafe-trust-elements`; the command gets `sandbox`, None if neither was given."""
    command = click.option(
        "--unsafe-trust-elements",
        "sandbox",
        flag_value="unsafe",
        help="Run untrusted elements without a jail. Only for code that you trust.",
    )(command)
    return click.option(
        "--sandbox", "sandbox", type=click.Choice(TIERS[:2]), help="Tier of the untrusted elements' jail [strict]."
    )(command)


def timeout_option(command: F) -> F:
    """Add `--timeout`; the command gets `timeout` in seconds, None for the default of the request."""
    said = "How long the platform may take to answer [15s; a change: 10min]."
    return click.option("--timeout", type=Duration(1e-3, 1e6), help=said)(command)
