# SPDX-License-Identifier: MIT
"""Untrusted text, escaped for a terminal and a log."""

from __future__ import annotations

#: Longest untrusted line that is passed on, in characters.
LONGEST_LINE = 200


def escape(text: str, longest: int = LONGEST_LINE) -> str:
    """Return a line without control characters, cut to `longest` characters and "..." if it was longer."""
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[: longest + 1])
    return shown if len(shown) <= longest else shown[:longest] + "..."


def escape_lines(text: str) -> str:
    """Return text of several lines without control characters other than tabs."""
    return "\n".join("\t".join(escape(part, len(part)) for part in line.split("\t")) for line in text.split("\n"))
