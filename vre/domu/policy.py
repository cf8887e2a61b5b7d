# SPDX-License-Identifier: MIT
"""The life cycle of a domU as a pure state machine, and its messages.

| state | event | next |
| --- | --- | --- |
| starting | ready | running |
| starting, running | died, hung, failed, overdue | starting; after MAX_RESTARTS quarantined, for longer each time |
| starting, running | hostile | quarantined until released |
| quarantined | due, released | starting |
| any but ended | stop | ended |

Restarts count if they were in the last WINDOW_S, or if it was not ready in between: a domU that takes its whole start
time fails seldom, but every time.

Every other transition is illegal, and raises. (Restart intensity: Erlang's supervisors.)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from shm.channel import LENT
from vre.supervision.progress import Progress

#: Most restarts of a domU in this many seconds.
MAX_RESTARTS, WINDOW_S = 3, 10.0
#: First and longest quarantine for crashing too often, in seconds.
BACK_OFF_S, LONGEST_S = 5.0, 60.0

STARTING, RUNNING, QUARANTINED, ENDED = "starting", "running", "quarantined", "ended"
READY, DIED, HUNG, FAILED, OVERDUE, HOSTILE = "ready", "died", "hung", "failed", "overdue", "hostile"
DUE, RELEASED, STOP = "due", "released", "stop"
_FAULTS = (DIED, HUNG, FAILED, OVERDUE)
#: The bits of a slot's word that hold its kind, see :mod:`shm.channel`.
KIND_BITS = 3


class IllegalTransition(RuntimeError):
    """An event that cannot happen in this state."""


@dataclass
class Policy:
    """State of one domU.

    `until` is when a quarantine ends, in seconds; infinity if an operator must end it.
    """

    state: str = STARTING
    until: float = 0.0
    restarts: int = 0
    _faults: deque[float] = field(default_factory=deque)
    _false_starts: int = 0  #: failures since it was ready, or was released from quarantine
    _back_off: float = BACK_OFF_S

    def on(self, event: str, now: float) -> str:
        """Apply an event; return the new state."""
        if event == STOP and self.state != ENDED:
            self.state = ENDED
        elif self.state == STARTING and event == READY:
            self.state, self._false_starts = RUNNING, 0
        elif self.state in (STARTING, RUNNING) and event == HOSTILE:
            self.state, self.until = QUARANTINED, float("inf")
        elif self.state in (STARTING, RUNNING) and event in _FAULTS:
            self._fault(now)
        elif self.state == QUARANTINED and event in (DUE, RELEASED):
            self._faults.clear()
            self._false_starts = 0
            if event == RELEASED:
                self._back_off = BACK_OFF_S
            self.state = STARTING
            self.restarts += 1
        else:
            raise IllegalTransition(f"{event} while {self.state}")
        return self.state

    def _fault(self, now: float) -> None:
        self._false_starts += self.state == STARTING
        self._faults.append(now)
        while now - self._faults[0] > WINDOW_S:
            self._faults.popleft()
        if max(len(self._faults), self._false_starts) <= MAX_RESTARTS:
            self.state = STARTING
            self.restarts += 1
            return
        self.state, self.until = QUARANTINED, now + self._back_off
        self._back_off = min(2 * self._back_off, LONGEST_S)


class Loans:
    """Judges whether a domU holds packets back, only by dom0's own tables of slots.

    A domU that returns a packet now and then makes progress, but may hold all others forever. So the tables are
    compared with earlier copies: a slot that was lent before and whose word is unchanged is still out.

    Parameters
    ----------
    deadline : float
        Seconds that a domU may take to return the next packet.
    """

    #: Most deadlines that a packet may stay in a domU; a channel has ten times as many slots.
    MOST = 100
    #: Copies of the tables that are kept at a time.
    COPIES = 4

    def __init__(self, deadline: float) -> None:
        self._limit = self.MOST * deadline
        self._past: deque[tuple[float, float, npt.NDArray[np.int64]]] = deque()

    def overdue(self, words: Callable[[], npt.NDArray[np.int64]], now: float, waited: float) -> bool:
        """Return whether a packet has been out for too long.

        Parameters
        ----------
        words : callable
            Returns a copy of the word of each slot.
        now, waited : float
            As for :class:`Progress`; as there, time that it waited for a processor does not count, up to a limit.
        """
        if not self._past or now - self._past[-1][0] >= self._limit / self.COPIES:
            self._past.append((now, waited, words()))
        at, before, old = self._past[0]
        spent = now - at
        if spent - max(0.0, waited - before) <= self._limit and spent <= Progress.PATIENCE * self._limit:
            return False
        self._past.popleft()
        return bool(((old == words()) & (old & KIND_BITS == LENT)).any())
