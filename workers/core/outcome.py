# SPDX-License-Identifier: MIT
"""The results of a packet on the slow path: collected from its element and checked before any is published.

An element may raise, yield without end, or yield what fits no buffer or field. In each case all of its results are
discarded, and its packet is dropped as `raised`. The only way out of here is :class:`Raised`.
"""

from __future__ import annotations

import operator
import traceback
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, Generic, NamedTuple, TypeVar

from workers.element import Drop, SlowPacket, port_range
from workers.graph.shape import reasons

#: Most packets that come of one, besides those that its element held: a frame of 2,048 bytes has 247 fragments when
#: the MTU is 68 and its header 60 bytes long.
MOST = 256
#: Most characters of an exception's text that are reported.
_TOLD = 200

F = TypeVar("F")


class Raised(Exception):
    """An element yielded an invalid result, or raised; the text is one line about it."""


class Outcome(NamedTuple, Generic[F]):
    """The results of a packet: frames, and drops by reason."""

    frames: list[F]
    dropped: dict[str, int]

    @property
    def packets(self) -> int:
        """The number of packets."""
        return len(self.frames) + sum(self.dropped.values())


def settled(
    cls: Any, results: Callable[[], Iterable[Any]], frame: Callable[[int, SlowPacket], F], bad_port: int, most: int
) -> Outcome[F]:
    """Return what an element yields.

    Parameters
    ----------
    cls : type of Element
    results : callable
        Returns an iterable of `(output, SlowPacket)` and Drops.
    frame : callable
        Converts an output and a packet to what is published; raises if the packet does not fit.
    bad_port : int
        Output that takes dropped packets, 0 for none.
    most : int
        Most results.

    Raises
    ------
    Raised
        The element does anything else.
    """
    try:
        return _collect(cls, results(), frame, bad_port, most)
    # This includes SystemExit and MemoryError, which cost only the packet.
    except BaseException as error:
        raise Raised(told(error)) from None


def _collect(
    cls: Any, results: Iterable[Any], frame: Callable[[int, SlowPacket], F], bad_port: int, most: int
) -> Outcome[F]:
    outputs, why = most_outputs(cls), reasons(cls)
    outcome: Outcome[F] = Outcome([], {})
    for count, result in enumerate(results):
        if count == most:
            raise ValueError(f"more than {most} packets come of one")
        if isinstance(result, Drop):
            if result.reason not in why:
                raise ValueError(f"{result.reason!r} is none of its reasons")
            if result.packet is None or not bad_port:
                outcome.dropped[result.reason] = outcome.dropped.get(result.reason, 0) + 1
                continue
            result = bad_port, result.packet
        output, packet = result
        output = operator.index(output)
        if not 0 <= output < outputs:
            raise ValueError(f"there is no output {output}")
        if not isinstance(packet, SlowPacket):
            raise TypeError(f"{type(packet).__name__} is no packet")
        outcome.frames.append(frame(output, packet))
    return outcome


@cache
def most_outputs(cls: Any) -> int:
    """Return how many outputs an element may have."""
    return port_range(cls.ports.partition("/")[2])[1]


def told(error: BaseException) -> str:
    """Return one line about an exception: its type, its text and where it was raised."""
    try:
        text = " ".join(str(error).split())[:_TOLD]
    except BaseException:  # its text is made by the element, too
        text = "?"
    frames = traceback.extract_tb(error.__traceback__)[-1:]
    place = f" ({frames[0].filename.rpartition('/')[2]}:{frames[0].lineno})" if frames else ""
    return f"{type(error).__name__}{': ' if text else ''}{text}{place}"
