# SPDX-License-Identifier: MIT
"""Values of a platform file: each kind returns the value it takes, or raises ValueError with what would be right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from workers.arguments import ether, prefix, rate

#: Most cores of a platform: a bound for mistakes, not for the design.
MAX_CORES = 256


def anything(value: Any) -> Any:
    """Take any value; its table is read later."""
    return value


def string(value: Any) -> str:
    """Take a string."""
    if not isinstance(value, str):
        raise ValueError(f"must be a string, not {value!r}")
    return value


def boolean(value: Any) -> bool:
    """Take true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, not {value!r}")
    return value


def integer(low: int, high: int) -> Callable[[Any], int]:
    """Return a kind: an integer from `low` to `high`."""

    def kind(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"must be an integer from {low} to {high}, not {value!r}")
        return value

    return kind


def choice(*choices: str) -> Callable[[Any], str]:
    """Return a kind: one of some strings."""

    def kind(value: Any) -> str:
        if value not in choices:
            raise ValueError(f"must be {' or '.join(repr(c) for c in choices)}, not {value!r}")
        return value

    return kind


def sending_rate(value: Any) -> float | None:
    """Take a rate in packets a second; None for as fast as it is taken."""
    if isinstance(value, str):
        return None if value == "max" else rate(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
        return float(value)
    raise ValueError(f'must be a rate, as in 1000000, "1Mpps" or "max", not {value!r}')


def replay_rate(value: Any) -> float | str | None:
    """Take a rate, or "recorded"."""
    return "recorded" if value == "recorded" else sending_rate(value)


def frame_size(value: Any) -> int | str:
    """Take a frame size in bytes, or "imix"."""
    if value == "imix":
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 14 + 28 <= value <= 2048:
        return value
    raise ValueError(f'must be from 42 to 2048, or "imix", not {value!r}')


def destinations(value: Any) -> tuple[str, ...]:
    """Take a list of addresses and prefixes."""
    if not isinstance(value, list) or not value:
        raise ValueError("must be a list of addresses or prefixes")
    for one in value:
        prefix(string(one))
    return tuple(value)


def mac(value: Any) -> int | None:
    """Take a host's Ethernet address; None for "*", whatever nobody else claims."""
    if value == "*":
        return None
    address = ether(string(value))
    if address >> 40 & 1:
        raise ValueError(f"{value} is a group address")
    return address


def entitlement(value: Any) -> float:
    """Take a positive weight, or a share as in "60%"."""
    if isinstance(value, str) and value.endswith("%"):
        try:
            value = float(value[:-1])
        except ValueError:
            raise ValueError(f"'{value}' is not a percentage") from None
    if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
        raise ValueError(f'must be a positive weight, or a share as in "60%", not {value!r}')
    return float(value)


def cores(value: Any) -> tuple[int, ...]:
    """Take a list of core numbers."""
    if not isinstance(value, list) or not value:
        raise ValueError("must be a list of core numbers")
    return tuple(integer(0, MAX_CORES)(core) for core in value)
