# SPDX-License-Identifier: MIT
"""Values of a platform file: each kind returns the value it takes, or raises ValueError with what would be right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shm.outside import FCS, SMALLEST
from workers.arguments import BITS, ether, prefix, rate, scaled, seconds
from workers.packet import LARGE_ROOM

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
    """Take a frame size in bytes, check sequence included, or "imix"."""
    if value == "imix":
        return value
    if isinstance(value, int) and not isinstance(value, bool) and SMALLEST <= value <= LARGE_ROOM + FCS:
        return value
    raise ValueError(
        f'must be from {SMALLEST} to {LARGE_ROOM + FCS} (check sequence included), or "imix", not {value!r}'
    )


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


class Percent(float):
    """An entitlement given as a share of the platform."""


def entitlement(value: Any) -> float:
    """Take a positive weight, or a share as in "60%", which becomes a Percent."""
    kind: type[float] = float
    if isinstance(value, str) and value.endswith("%"):
        kind = Percent
        try:
            value = float(value[:-1])
        except ValueError:
            raise ValueError(f"'{value}' is not a percentage") from None
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < float("inf"):
        raise ValueError(f'must be a positive weight, or a share as in "60%", not {value!r}')
    return kind(value)


def positive(value: Any) -> float:
    """Take a positive number."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < float("inf"):
        raise ValueError(f"must be a positive number, not {value!r}")
    return float(value)


def duration_ns(value: Any) -> int:
    """Take a time from 1 us to 1 s, as in "100us"; return ns."""
    found = round(seconds(string(value)) * 1e9)
    if not 1_000 <= found <= 1_000_000_000:
        raise ValueError(f"must be from 1us to 1s, not {value!r}")
    return found


def bit_rate(value: Any) -> float:
    """Take a speed in bits a second, as in "1Gbps"."""
    if isinstance(value, str):
        return scaled(value, BITS, "a speed (as in 1Gbps or 100Mbps)")
    return positive(value)


def line_rate(value: Any) -> float:
    """Take memory accesses a second, as in "58M"."""
    if isinstance(value, str):
        return scaled(value, {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}, "a number of accesses a second (as in 58M)")
    return positive(value)


def router_rates(value: Any) -> dict[str, float]:
    """Take a table of router names and rates."""
    if not isinstance(value, dict):
        raise ValueError('must be a table, as in { red = "1Mpps" }')
    return {name: positive(sending_rate(one)) for name, one in value.items()}


def cores(value: Any) -> tuple[int, ...]:
    """Take a list of core numbers."""
    if not isinstance(value, list) or not value:
        raise ValueError("must be a list of core numbers")
    return tuple(integer(0, MAX_CORES)(core) for core in value)


def memory(value: Any) -> int:
    """Take an amount of memory of at least 64 MiB, as in "256M"; return bytes."""
    units = {"": 1.0, "k": 2.0**10, "m": 2.0**20, "g": 2.0**30}
    found = round(scaled(string(value), units, "an amount of memory (as in 256M or 1G)"))
    if found < 64 << 20:
        raise ValueError(f"must be at least 64M, which NumPy and an element need, not {value!r}")
    return found


def start_time(value: Any) -> float:
    """Take a time of at least 0.1 s, as in "20s"; return seconds."""
    found = seconds(string(value))
    if not 0.1 <= found <= 600:
        raise ValueError(f"must be from 100ms to 10min, not {value!r}")
    return found


def deadline_ns(value: Any) -> int:
    """Take a time from 1 ms to 10 s, as in "50ms"; return ns."""
    found = round(seconds(string(value)) * 1e9)
    if not 1_000_000 <= found <= 10_000_000_000:
        raise ValueError(f"must be from 1ms to 10s, not {value!r}")
    return found
