# SPDX-License-Identifier: MIT
"""The table of faults that are no rogues, and how one gets into it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vre.platform.platform import Platform


@dataclass(frozen=True)
class Dom0Fault:
    """A fault. `costs`: victims may lose packets by it, as no ring holds that many."""

    group: str
    what: str
    let_loose: Callable[[Platform], str]
    costs: bool = False
    kills: bool = False  #: it ends a worker itself


FAULTS: dict[str, Dom0Fault] = {}


def fault(group: str, what: str, **more: bool) -> Callable[[Callable[[Platform], str]], Callable[[Platform], str]]:
    """Enter a function in :data:`FAULTS`."""

    def enter(function: Callable[[Platform], str]) -> Callable[[Platform], str]:
        FAULTS[function.__name__] = Dom0Fault(group, what, function, **more)
        return function

    return enter
