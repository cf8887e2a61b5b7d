# SPDX-License-Identifier: MIT
"""Signals that ask a command to end: the first is handled, once, and no reader or file can delay the end.

`timeout` sends SIGTERM to the command and to its group, a closing terminal SIGHUP, Ctrl-C twice is common: while a
platform ends, which is bounded in time, further signals change nothing, so that its account is complete.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

#: Signals that ask a command to end, and its exit status then: 128 plus the signal's number, as shells have it.
_ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ASKED = tuple(128 + number for number in _ASKING)
#: Seconds after which a command that has not ended exits without clean-up; ending takes a second or two.
_BACKSTOP_S = 20.0
#: Seconds that the account's reader may take once a signal has asked for the end.
PATIENCE_S = 2.0


def _raise(number: int, _: Any) -> None:
    for other in _ASKING:
        signal.signal(other, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, lambda *_: os._exit(128 + number))
    signal.setitimer(signal.ITIMER_REAL, _BACKSTOP_S)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + number)


def install(again: bool = False) -> None:
    """Let signals end the command through every clean-up; one that the command's parent has it ignore stays so.

    `again`: one has been taken, and the rest were ignored.
    """
    for number in _ASKING:
        if again or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _raise)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Let no signal interrupt the block; the block is bounded in time."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _ASKING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def patient(limited: bool) -> Iterator[None]:
    """If `limited`, give up the block after PATIENCE_S: it writes to a reader that may not read.

    Any signal meanwhile ends it at once.
    """
    install(again=limited)

    def give_up(*_: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE_S if limited else 0.0)
    try:
        with contextlib.suppress(TimeoutError):
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def leave(status: Any) -> None:
    """End the command; discard standard output's buffer, since what came before it was not read either."""
    with contextlib.suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        for number in (1, 2):
            os.dup2(null, number)
    sys.exit(status)
