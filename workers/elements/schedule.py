# SPDX-License-Identifier: MIT
"""What a configuration says of scheduling: elements that no packet passes."""

from __future__ import annotations

from collections.abc import Callable

from workers.arguments import Argument, between, words
from workers.element import Element


def _said(low: int, high: int) -> Callable[[str], tuple[str, int]]:
    """Return a kind: `ELEMENT NUMBER`."""
    number = between(low, high)

    def kind(text: str) -> tuple[str, int]:
        parts = words(text)
        if len(parts) != 2:
            raise ValueError(f"'{text}' is not ELEMENT NUMBER")
        return parts[0], number(parts[1])

    return kind


class StaticThreadSched(Element):
    """Puts tasks on cores, by the element that drives them.

    Syntax: `StaticThreadSched(ELEMENT CORE, ...)`

    All tasks that share elements with one of them go with it.
    """

    ports = "0/0"
    arguments = (Argument("ELEMENT", _said(0, 255), rest=True),)


class ScheduleInfo(Element):
    """Gives tasks tickets, by the element that drives them.

    Syntax: `ScheduleInfo(ELEMENT TICKETS, ...)`, 1024 for those not named.

    Only the discipline `stride` goes by tickets; the others by the router's entitlement.
    """

    ports = "0/0"
    arguments = (Argument("ELEMENT", _said(1, 1 << 20), rest=True),)
