# SPDX-License-Identifier: MIT
"""Text that somebody else wrote, made fit for a terminal and a log."""

from __future__ import annotations

#: Longest line of others that is passed on, in characters.
LONGEST_LINE = 200


def escape(text: str, longest: int = LONGEST_LINE) -> str:
    """Return a line of at most `longest` characters, and "..." where it was longer, that does nothing to a terminal."""
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[: longest + 1])
    return shown if len(shown) <= longest else shown[:longest] + "..."


def escape_lines(text: str) -> str:
    """Return text of several lines that does nothing to a terminal; tabs are kept."""
    return "\n".join("\t".join(escape(part, len(part)) for part in line.split("\t")) for line in text.split("\n"))
