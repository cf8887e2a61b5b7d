# SPDX-License-Identifier: MIT
"""Standard error of the platform's own processes, read by the platform.

They write into a non-blocking pipe: what finds no room in it is lost. It is little: elements' lines go through
:mod:`shm.journal`, so only an interpreter's last messages come here.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

from shm.escape import escape

#: Bytes that are read per poll.
_MOST = 4096
#: Longest line that is passed on, in characters.
_LONGEST = 1000


class StandardError:
    """The reading end of the pipe that is a child process's standard output and error.

    Parameters
    ----------
    say : callable
        Given each line, escaped.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        # The child's end does not block either: that is a property of the end, which its children share.
        self._fd, self.far_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._unread = b""

    def look(self) -> bool:
        """Pass on what has been written, without blocking; return whether there was anything."""
        data = b""
        with contextlib.suppress(OSError):
            data = os.read(self._fd, _MOST)
        *lines, rest = (self._unread + data).split(b"\n")
        self._unread = rest[-_LONGEST:]
        for line in lines:
            self._say(escape(line.decode(errors="replace"), _LONGEST))
        return bool(data)

    def started(self) -> None:
        """Close the child's end: the child has it."""
        os.close(self.far_end)

    def close(self) -> None:
        """Pass on the rest, and close."""
        while self.look():
            pass
        os.close(self._fd)
