# SPDX-License-Identifier: MIT
"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from workers.jail import TIERS

F = Callable[..., Any]


def sandbox_option(command: F) -> F:
    """Add `--sandbox` and `--unsafe-trust-elements`; the command gets `sandbox`, None where neither was given."""
    command = click.option(
        "--unsafe-trust-elements",
        "sandbox",
        flag_value="unsafe",
        help="Run untrusted elements without a jail: only for code that you trust.",
    )(command)
    return click.option(
        "--sandbox", "sandbox", type=click.Choice(TIERS[:2]), help="How untrusted elements are jailed [strict]."
    )(command)
