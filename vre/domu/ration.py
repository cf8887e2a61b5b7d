# SPDX-License-Identifier: MIT
"""How much of the platform's own time domUs' requests may take: a fifth, however many domUs ask for whatever."""

from __future__ import annotations

#: The part of the platform's time that the requests of all domUs together may take.
SHARE = 0.2


class Ration:
    """When a domU's next request is handled: the more its last one cost, the later. It waits in the domU's socket."""

    def __init__(self) -> None:
        self._until = 0.0

    def due(self, now: float) -> bool:
        """Return whether a request may be handled at `now`, in seconds of any steady clock."""
        return now >= self._until

    def spent(self, seconds: float, now: float, domus: int) -> None:
        """Record that a request, one of so many `domus`, has taken `seconds` of processor time until `now`."""
        self._until = now + seconds * (domus / SHARE - 1)
