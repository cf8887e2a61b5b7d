# SPDX-License-Identifier: MIT
"""Whether a process that owes something makes progress."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Progress:
    """Judges whether a process makes progress, only by what dom0 sees of it.

    Parameters
    ----------
    deadline : float
        Seconds that it may take to return the next packet. Time that it waited for a processor does not count, up to
        `PATIENCE` deadlines: its other threads together could keep its first one waiting.
    """

    deadline: float
    _mark: int = -1
    since: float = 0.0  #: when it last made progress
    _waited: float = 0.0

    #: Most deadlines that it may take, whatever the reason.
    PATIENCE = 20

    def hung(self, owed: bool, mark: int, now: float, waited: float, untaken: bool = False) -> bool:
        """Return whether the deadline has passed.

        Parameters
        ----------
        owed : bool
            It has packets that it has not returned.
        mark : int
            A count that grows with each packet that it returns and that is accepted.
        now, waited : float
            The time, and how long it has waited for a processor since it began, in seconds.
        untaken : bool
            It has returned something that dom0 has not read yet: it is not late, but this may be no progress.
        """
        if not owed or mark != self._mark:
            self._mark, self.since, self._waited = mark, now, waited
            return False
        if untaken:
            return False
        spent = now - self.since
        return spent - max(0.0, waited - self._waited) > self.deadline or spent > self.PATIENCE * self.deadline
