# SPDX-License-Identifier: MIT
"""Events of a platform: reported as they happen; the last ones are kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from shm.escape import escape

#: Longest event, in characters; how many are kept.
_LONGEST, _KEPT = 1000, 1000


class Events:
    """One platform's events.

    Parameters
    ----------
    say : callable
        Given each event; must not block.

    Attributes
    ----------
    texts : deque of str
        The last events.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._now: Callable[[], float] = lambda: 0.0
        self._began = 0.0
        self.texts: deque[str] = deque(maxlen=_KEPT)
        self._rows: deque[dict[str, Any]] = deque(maxlen=_KEPT)

    def begin(self, now: Callable[[], float]) -> None:
        """Count times from now on, by this clock."""
        self._now, self._began = now, now()

    def end(self) -> None:
        """Stop the time: the clock goes away."""
        last = self._now()
        self._now = lambda: last

    def elapsed(self) -> float:
        """Return the seconds since the start; after the end, those until then."""
        return self._now() - self._began

    def report(self, event: str) -> None:
        """Record an event."""
        event = escape(event, _LONGEST)
        self.texts.append(event)
        self._rows.append({"s": round(self.elapsed(), 3), "event": event})
        self._say(event)

    def rows(self) -> list[dict[str, Any]]:
        """Return the last events, each with its time in seconds since the start."""
        return list(self._rows)
