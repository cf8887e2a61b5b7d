# SPDX-License-Identifier: MIT
"""What a domU writes to its standard output and error."""

from __future__ import annotations

import contextlib
import os
import time

from shm.escape import LONGEST_LINE, escape

#: Bytes of a log that are read at a look.
_BYTES = 65536
#: Lines of a log that are passed on in a second.
_LINES = 20


class Log:
    """What one domU writes: read in bounded parts, passed on escaped, a few lines a second."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._unread = b""
        self._shown = self._hidden = 0
        self._since = time.monotonic()

    def lines(self, ended: bool = False) -> list[str]:
        """Return the lines to show of what was written since the last call; all if its writer has `ended`."""
        data = b""
        with contextlib.suppress(OSError):
            data = os.read(self.fd, _BYTES)
        *lines, self._unread = (self._unread + data).split(b"\n")
        self._unread = self._unread[-LONGEST_LINE:]
        if ended and self._unread:
            lines, self._unread = [*lines, self._unread], b""
        found = []
        if ended or time.monotonic() - self._since >= 1:
            if self._hidden:
                found.append(f"({self._hidden} more lines are not shown)")
            self._since, self._shown, self._hidden = time.monotonic(), 0, 0
        for line in lines:
            if self._shown < _LINES:
                self._shown += 1
                found.append(escape(line.decode(errors="replace")))
            else:
                self._hidden += 1
        if ended and self._hidden:
            found.append(f"({self._hidden} more lines are not shown)")
            self._hidden = 0
        return found

    def close(self) -> None:
        """Close the log."""
        os.close(self.fd)
