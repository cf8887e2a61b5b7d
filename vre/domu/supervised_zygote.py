# SPDX-License-Identifier: MIT
"""The zygote of domUs, started again when it has ended."""

from __future__ import annotations

from collections.abc import Callable

from vre.domu.zygote import DomuZygote
from vre.errors import PlatformError
from workers.domu.spec import DomuSpec
from workers.zygote.domu_messages import FromZygote

#: A zygote that ends again and again is started after pauses of at most this many seconds.
_LONGEST_PAUSE_S = 60.0


class SupervisedZygote:
    """One platform's zygote of domUs. All domUs that were forked from it end when it ends.

    Parameters
    ----------
    tier : str
        The jail that its domUs need.
    say, report : callable
        Told of progress, and of events.
    """

    def __init__(self, tier: str, say: Callable[[str], None], report: Callable[[str], None]) -> None:
        self._tier, self._say, self._report = tier, say, report
        self._zygote: DomuZygote | None = None
        self.ready = False
        #: When one that was lost is started again, 0 if none was; and how many were.
        self._again_at, self._losses = 0.0, 0

    def prepare(self) -> DomuZygote:
        """Start it unless it has been started. It takes a second to be ready, more if it has to compile."""
        if self._zygote is None:
            self._zygote = DomuZygote(self._say)
        return self._zygote

    def await_ready(self, wait: Callable[[float], None]) -> None:
        """Start it unless it has been started; return when it is ready. Raises PlatformError."""
        if not self.ready:
            self._say("waiting for the zygote of domUs")
            self.prepare().await_ready(self._tier, wait)
            self.ready = True

    def send(self, spec: DomuSpec, descriptors: list[int]) -> None:
        """Ask for a domU. Raises PlatformError."""
        assert self._zygote
        self._zygote.send(spec, descriptors)

    def look(self, now: float) -> tuple[list[FromZygote], bool]:
        """Return what it has said since the last look, and whether it has been found to have ended."""
        messages: list[FromZygote] = []
        try:
            if self._again_at and now >= self._again_at and self.prepare().ready(self._tier):
                self.ready, self._again_at = True, 0.0
            if self.ready:
                messages.extend(self.prepare().messages())
        except PlatformError as error:
            self._lose(now, error)
            return messages, True
        return messages, False

    def _lose(self, now: float, error: PlatformError) -> None:
        self.end()
        self._losses += 1
        self._again_at = now + min(_LONGEST_PAUSE_S, 2.0 ** (self._losses - 1))
        self._report(f"{error}: it is started again")

    def end(self) -> None:
        """Kill it."""
        if self._zygote:
            self._zygote.end()
        self._zygote, self.ready = None, False
