# SPDX-License-Identifier: MIT
"""What becomes of a domU: a pure state machine, and the words for it.

| state | event | next |
| --- | --- | --- |
| starting | ready | running |
| starting, running | died, hung, failed, overdue | starting; after MAX_RESTARTS in WINDOW_S quarantined, and longer |
| starting, running | hostile | quarantined until released |
| quarantined | due, released | starting |
| any but ended | stop | ended |

Everything else is not allowed, and raises. (Restart intensity: Erlang's supervisors.)
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

#: A domU may be started again so often in so many seconds.
MAX_RESTARTS, WINDOW_S = 3, 10.0
#: First and longest quarantine for crashing too often, in seconds.
BACK_OFF_S, LONGEST_S = 5.0, 60.0

STARTING, RUNNING, QUARANTINED, ENDED = "starting", "running", "quarantined", "ended"
READY, DIED, HUNG, FAILED, OVERDUE, HOSTILE = "ready", "died", "hung", "failed", "overdue", "hostile"
DUE, RELEASED, STOP = "due", "released", "stop"
_FAULTS = (DIED, HUNG, FAILED, OVERDUE)


class IllegalTransition(RuntimeError):
    """An event that cannot happen in this state."""


@dataclass
class Policy:
    """State of one domU.

    `until` is when a quarantine ends, in seconds; infinity where somebody must end it.
    """

    state: str = STARTING
    until: float = 0.0
    restarts: int = 0
    _faults: deque[float] = field(default_factory=deque)
    _back_off: float = BACK_OFF_S

    def on(self, event: str, now: float) -> str:
        """Take note of an event; return the new state."""
        if event == STOP and self.state != ENDED:
            self.state = ENDED
        elif self.state == STARTING and event == READY:
            self.state = RUNNING
        elif self.state in (STARTING, RUNNING) and event == HOSTILE:
            self.state, self.until = QUARANTINED, float("inf")
        elif self.state in (STARTING, RUNNING) and event in _FAULTS:
            self._fault(now)
        elif self.state == QUARANTINED and event in (DUE, RELEASED):
            self._faults.clear()
            if event == RELEASED:
                self._back_off = BACK_OFF_S
            self.state = STARTING
            self.restarts += 1
        else:
            raise IllegalTransition(f"{event} while {self.state}")
        return self.state

    def _fault(self, now: float) -> None:
        self._faults.append(now)
        while now - self._faults[0] > WINDOW_S:
            self._faults.popleft()
        if len(self._faults) <= MAX_RESTARTS:
            self.state = STARTING
            self.restarts += 1
            return
        self.state, self.until = QUARANTINED, now + self._back_off
        self._back_off = min(2 * self._back_off, LONGEST_S)


@dataclass
class Progress:
    """Judges whether a domU makes progress, by what dom0 sees of it alone.

    Parameters
    ----------
    deadline : float
        Seconds that it may take to return the next packet. Time that it waited for a processor does not count, up to
        `PATIENCE` times as much: all its threads together could keep its first one waiting.
    """

    deadline: float
    _mark: int = -1
    since: float = 0.0  #: when it last made some
    _waited: float = 0.0

    #: How many deadlines it may take at most, whatever the reason.
    PATIENCE = 20

    def hung(self, owed: bool, mark: int, now: float, waited: float) -> bool:
        """Return whether the deadline has passed.

        Parameters
        ----------
        owed : bool
            It has packets that it has not returned.
        mark : int
            Something that grows with each packet that it returns.
        now, waited : float
            The time, and how long it has waited for a processor since it began, in seconds.
        """
        if not owed or mark != self._mark:
            self._mark, self.since, self._waited = mark, now, waited
            return False
        spent = now - self.since
        return spent - max(0.0, waited - self._waited) > self.deadline or spent > self.PATIENCE * self.deadline
