# SPDX-License-Identifier: MIT
"""Arguments of calls from Python, validated before anything is done, as the socket's fields are.

A kind returns the accepted value, or raises ValueError that says what is accepted: see :mod:`vre.config.fields`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from shm.escape import escape
from vre.config.fields import number
from vre.config.model import Domu, Router
from vre.errors import ConfigError, PlatformError, Problem, VreError

P = ParamSpec("P")
R = TypeVar("R")
Kind = Callable[[Any], Any]

#: Longest time that can be requested, in seconds: three years.
_LONGEST_S = 1e8


def held(
    error: Callable[[str], VreError] = PlatformError, /, **kinds: Kind
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Validate a method's arguments by kind; `error` makes the exception from a message.

    A change cannot be refused after it has committed, so this comes first.
    """

    def around(method: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(method)

        @functools.wraps(method)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            bound = signature.bind(*args, **kwargs)
            for name, kind in kinds.items():
                if name in bound.arguments:
                    try:
                        bound.arguments[name] = kind(bound.arguments[name])
                    except (TypeError, ValueError) as wrong:
                        raise error(f"'{name}' {wrong}") from None
            return method(*bound.args, **bound.kwargs)

        return checked

    return around


def described(text: str) -> ConfigError:
    """Return the error for a wrong description."""
    return ConfigError([Problem(None, text)])


def duration(value: Any) -> float:
    """Take a time in seconds, 0 included."""
    return number(0, _LONGEST_S, "a time in seconds")(value)


def optional(kind: Kind) -> Kind:
    """Return a kind that also takes None."""
    return lambda value: None if value is None else kind(value)


def each(kind: Kind) -> Kind:
    """Return a kind: any number of values of another."""
    return lambda values: tuple(kind(value) for value in values)


def is_a(cls: type, what: str) -> Kind:
    """Return a kind: an object of a class; `what` describes it."""

    def kind(value: Any) -> Any:
        if not isinstance(value, cls):
            raise ValueError(f"must be {what}, not {type(value).__name__}")
        return value

    return kind


def function(value: Any) -> Any:
    """Take a callable."""
    if not callable(value):
        raise ValueError(f"must be a function, not {type(value).__name__}")
    return value


def port_claims(value: Any) -> Any:
    """Take a router's claims: port name to `mac` and `vlan`."""
    example = "must be a table, as in {'eth0': {'mac': '02:00:00:00:00:01', 'vlan': 7}}"
    if not isinstance(value, dict) or not all(isinstance(k, str) and isinstance(v, dict) for k, v in value.items()):
        raise ValueError(example)
    strange = [str(key) for claim in value.values() for key in claim if key not in ("mac", "vlan")]
    if strange:
        raise ValueError(f"{example}; there is no '{escape(strange[0])}'")
    return value


described_router = is_a(Router, "a router's description")
domu_limits = optional(is_a(Domu, "a vre.Domu"))
