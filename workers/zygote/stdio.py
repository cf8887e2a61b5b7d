# SPDX-License-Identifier: MIT
"""Standard output and error of a worker or the wire: lines that go into its journal, without blocking."""

from __future__ import annotations

import io
import sys

from shm.journal import LINE, LONGEST, NOBODY, put


class Said(io.TextIOBase):
    """A text stream whose lines become records of a journal; see :mod:`shm.journal`."""

    def __init__(self, journal: int) -> None:
        self._journal, self._begun = journal, ""

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, text: str) -> int:
        """Put the lines that this completes into the journal; what finds no room is counted there."""
        *lines, begun = (self._begun + text).split("\n")
        # A line without an end is shown in parts.
        while len(begun) > LONGEST[LINE]:
            lines.append(begun[: LONGEST[LINE]])
            begun = begun[LONGEST[LINE] :]
        self._begun = begun
        for line in lines:
            put(self._journal, LINE, NOBODY, -1, line)
        return len(text)


def speak_into(journal: int) -> None:
    """Let all that this process prints go into a journal of which it is the only writer."""
    sys.stdout = sys.stderr = Said(journal)
