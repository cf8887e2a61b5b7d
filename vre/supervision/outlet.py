# SPDX-License-Identifier: MIT
"""Output lines, written by a thread: no writer waits for a reader.

Lines go into a bounded queue. A line that finds no room there, or that cannot be written (a pipe whose reader has
exited), is dropped and counted.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import Any

#: Seconds that readers have at the end of a command.
_LAST_S = 0.5
#: Characters that may wait to be written.
_ROOM = 1 << 20


class Outlet:
    """A bounded queue of lines in front of something that may block.

    Parameters
    ----------
    write : callable
        Called with each line, in the outlet's own thread. What it raises drops the line.
    threaded : bool
        False: lines are written at once by the caller, for callers that may block, as in virtual time.
    """

    def __init__(self, write: Callable[[str], None], threaded: bool = True) -> None:
        self._write, self._threaded = write, threaded
        self._lines: deque[tuple[str, str]] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._waiting = 0  # characters in the queue, and of the line being written
        self._in_hand: str | None = None  # the owner of the line being written
        #: Dropped lines by owner.
        self.dropped: Counter[str] = Counter()

    def say(self, text: str, whose: str = "") -> None:
        """Queue a line; if there is no room, drop and count it. Never waits for a reader."""
        if not self._threaded:
            self._out(text, whose)
            return
        with self._changed:
            if self._waiting + len(text) > _ROOM:
                self.dropped[whose] += 1
                return
            self._lines.append((text, whose))
            self._waiting += len(text)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="vre-outlet", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._lines:
                    self._changed.wait()
                text, whose = self._lines.popleft()
                self._in_hand = whose
            self._out(text, whose)
            with self._changed:
                self._in_hand = None
                self._waiting -= len(text)
                self._changed.notify_all()

    def _out(self, text: str, whose: str) -> None:
        try:
            self._write(text)
        except Exception:  # whatever is wrong with the stream: it costs a line
            self.dropped[whose] += 1

    def finish(self, seconds: float) -> bool:
        """Wait until all lines are written, at most for the timeout; drop and count the rest. Return if all were."""
        with self._changed:
            done = self._changed.wait_for(lambda: self._waiting == 0, seconds)
            if self._in_hand is not None:
                # It is unknown how much of it has been written.
                self.dropped[self._in_hand] += 1
                self._in_hand = None
            while self._lines:
                text, whose = self._lines.popleft()
                self._waiting -= len(text)
                self.dropped[whose] += 1
            return done


@contextlib.contextmanager
def speaking(end: str = "\n") -> Iterator[Callable[[str], None]]:
    """Yield a function that writes a line to standard error without blocking; flush at the block's end, bounded."""
    outlet = Outlet(to_stream(end=end))
    try:
        yield outlet.say
    finally:
        outlet.finish(_LAST_S)


def to_stream(stream: Any = None, end: str = "\n") -> Callable[[str], None]:
    """Return a function that writes a line and `end` to a stream (standard error by default), bypassing its buffer.

    A thread that blocks in a buffered write would hold the buffer's lock, and the interpreter would wait for that at
    its end.
    """

    def write(text: str) -> None:
        target = stream or sys.stderr
        try:
            fd = target.fileno()
        except (AttributeError, OSError, ValueError):  # a notebook's, or a test's replacement
            target.write(text + end)
            return
        data = (text + end).encode(errors="backslashreplace")
        while data:
            data = data[os.write(fd, data) :]

    return write
