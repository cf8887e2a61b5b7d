# SPDX-License-Identifier: MIT
"""Transactions: a change is all or nothing. Steps that undo it, steps that finish it, and a finisher that takes them.

A change registers the undo of a step *before* it takes the step, so nothing can happen between the two. If it fails,
the registered steps are taken, the last first; once it has committed, its finishing steps are taken, in order. These
steps are idempotent: a step that fails is retried at the next look, and those behind it wait. Memory is freed only
after its users have stopped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

from vre.errors import PlatformEnded, PlatformError

Step = Callable[[], object]
#: Pause before a failed step is retried, in seconds.
_PAUSE_S = 0.05


class Later(PlatformError):
    """A step cannot be taken yet: another process has to act first."""


class Sequel:
    """Pending steps of a change of `about`, in order."""

    def __init__(self, about: str, steps: list[Step]) -> None:
        self.about, self.steps = about, deque(steps)
        self.due = 0.0

    def go_on(self) -> None:
        """Take the steps until one fails; raise its exception."""
        while self.steps:
            self.steps[0]()
            self.steps.popleft()


class Finisher:
    """Takes the steps that changes have left over.

    Parameters
    ----------
    now : callable
        Returns the time in seconds.
    note : callable
        Given an exception: what failed, for which party, the exception.
    """

    def __init__(self, now: Callable[[], float], note: Callable[[str, str, Exception], object]) -> None:
        self._now, self._note = now, note
        self._sequels: list[Sequel] = []

    def take(self, about: str, steps: list[Step]) -> None:
        """Take over the pending steps of a change of `about`."""
        self._sequels.append(Sequel(about, steps))

    def anew(self, about: str, step: Step) -> None:
        """Take one step, now or when it succeeds; it replaces a pending one of the same name."""
        self._sequels = [sequel for sequel in self._sequels if sequel.about != about]
        self.take(about, [step])
        self.look()

    def look(self) -> None:
        """Take all due steps that can be taken now."""
        for sequel in [s for s in self._sequels if s.due <= self._now()]:
            try:
                sequel.go_on()
            except PlatformEnded:
                raise
            except Exception as error:
                sequel.due = self._now() + _PAUSE_S
                if not isinstance(error, Later):
                    self._note("a step of a change", sequel.about, error)
        self._sequels = [sequel for sequel in self._sequels if sequel.steps]

    def require(self, about: str) -> None:
        """Raise PlatformError while an earlier change of `about` is not finished."""
        for sequel in self._sequels:
            if sequel.about == about:
                sequel.due = 0.0
        self.look()
        if any(sequel.about == about for sequel in self._sequels):
            raise PlatformError(f"an earlier change of '{about}' is not finished yet: try again in a moment")

    @property
    def unfinished(self) -> list[str]:
        """What changes are not finished yet."""
        return [sequel.about for sequel in self._sequels]


class Transaction:
    """One change of `about`, as a context manager: left before :meth:`commit`, it has not happened."""

    def __init__(self, about: str, finisher: Finisher) -> None:
        self._about, self._finisher = about, finisher
        self._undo: list[list[Step]] = []
        self._then: list[Step] = []
        self._committed = False

    def undo(self, *steps: Step) -> None:
        """Register, before something is done, how it is undone: by these steps, in this order."""
        self._undo.append(list(steps))

    def commit(self, *steps: Step) -> None:
        """Let the change be true: what is left to be done are these steps, in this order."""
        self._then, self._committed = list(steps), True

    def __enter__(self) -> Self:
        self._finisher.require(self._about)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> None:
        steps = self._then if self._committed else [step for group in reversed(self._undo) for step in group]
        self._finisher.take(self._about, steps)
        # If the platform or the user's patience ends, do not wait for anything.
        if error is None or (isinstance(error, Exception) and not isinstance(error, PlatformEnded)):
            self._finisher.look()
