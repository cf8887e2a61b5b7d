# SPDX-License-Identifier: MIT
"""What is taken over from another tool's topology."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from vre.errors import ConfigError, Problem, Where

#: A node and its port.
ForeignEnd = tuple[str, str]


@dataclass
class Foreign:
    """Nodes with their commands, links by their two ends, and notes on what is left out."""

    nodes: dict[str, list[str]] = field(default_factory=dict)
    links: list[tuple[ForeignEnd, ForeignEnd]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def node_name(name: str) -> str:
    """Return a name that a node of a lab can have."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", name)[:32].lstrip("-") or "node"


def mistake(file: Path, line: int, column: int, message: str, text: str = "") -> ConfigError:
    """Return an error at a position, line and column from 1."""
    return ConfigError([Problem(Where(str(file), line, column), message, text)])


def one_line(texts: Iterable[str]) -> str:
    """Return texts as a part of a comment."""
    return ", ".join(" ".join(text.split()) for text in texts)
