# SPDX-License-Identifier: MIT
"""Values of a platform file: each kind returns the accepted value, or raises ValueError that says what is accepted."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from shm.wire_layout import FCS, SMALLEST
from workers.arguments import BITS, RATES, ether, prefix, rate, scaled, seconds
from workers.datapath.headers import ETHER_SIZE, VLAN_TAG_SIZE
from workers.datapath.packet import LARGE_ROOM
from workers.ranges import shown

#: Most cores of a platform: a bound against mistakes, not of the design.
MAX_CORES = 256
#: Addresses of one port.
_ADDRESSES = 8
#: Weights that an entitlement can be, and shares in percent: strides keep their digits over such a ratio.
WEIGHTS, PERCENT = (1e-3, 1e6), (1e-3, 100.0)
#: Bits a second of a port; memory accesses a second; cycles a packet; bytes of a domU.
SPEEDS, ACCESSES, CYCLES, MEMORY = (1e3, 1e12), (1e3, 1e12), (1.0, 1e9), (64 << 20, 1 << 40)

#: Least MTU of a link (RFC 791), and the longest name of an interface (IFNAMSIZ, less a NUL).
LEAST_MTU, LONGEST_INTERFACE = 68, 15


def anything(value: Any) -> Any:
    """Take any value; its table is read later."""
    return value


def string(value: Any) -> str:
    """Take a string."""
    if not isinstance(value, str):
        raise ValueError(f"must be a string, not {shown(repr(value))}")
    if "\0" in value:
        raise ValueError("must be text without a NUL")
    return value


def boolean(value: Any) -> bool:
    """Take true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, not {shown(repr(value))}")
    return value


def integer(low: int, high: int) -> Callable[[Any], int]:
    """Return a kind: an integer from `low` to `high`."""

    def kind(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"must be an integer from {low} to {high}, not {shown(repr(value))}")
        return value

    return kind


def choice(*choices: str) -> Callable[[Any], str]:
    """Return a kind: one of some strings."""

    def kind(value: Any) -> str:
        if value not in choices:
            raise ValueError(f"must be {' or '.join(repr(c) for c in choices)}, not {shown(repr(value))}")
        return value

    return kind


def number(low: float, high: float, what: str = "a number") -> Callable[[Any], float]:
    """Return a kind: a number from `low` to `high`; `what` describes what is accepted."""

    def kind(value: Any) -> float:
        # In this order, so that a NaN fails the test.
        if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"must be {what} from {low:g} to {high:g}, not {shown(repr(value))}")
        return float(value)

    return kind


def sending_rate(value: Any) -> float | None:
    """Take a rate in packets a second; None for as fast as the rings take them."""
    if isinstance(value, str):
        return None if value == "max" else rate(value)
    return number(*RATES, 'a rate (as in 1000000, "1Mpps" or "max")')(value)


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
        f'must be from {SMALLEST} to {LARGE_ROOM + FCS} (check sequence included), or "imix", not {shown(repr(value))}'
    )


def destinations(value: Any) -> tuple[str, ...]:
    """Take a list of addresses and prefixes."""
    if not isinstance(value, list) or not value:
        raise ValueError("must be a list of addresses or prefixes")
    for one in value:
        prefix(string(one))
    return tuple(value)


def mtu(value: Any) -> int:
    """Take the length of the largest packet of a link: at least what IPv4 needs, at most what a buffer holds."""
    return integer(LEAST_MTU, LARGE_ROOM - ETHER_SIZE - VLAN_TAG_SIZE)(value)


def vni(value: Any) -> int:
    """Take the number of a VXLAN network (RFC 7348)."""
    return integer(0, (1 << 24) - 1)(value)


def address(value: Any) -> str:
    """Take the address of a host."""
    try:
        return str(ip_address(string(value)))
    except ValueError:
        raise ValueError(f"must be an IP address, not {shown(repr(value))}") from None


def sending(value: Any) -> str:
    """Take how frames are sent."""
    return choice("auto", "xdp", "messages")(value)


def interface(value: Any) -> str:
    """Take the name of an interface, as Linux does: up to 15 bytes, no white space, no "/" and no ":"."""
    name = string(value)
    if not 0 < len(name.encode()) <= LONGEST_INTERFACE or set(name) & set("/: \t\n") or name in (".", ".."):
        raise ValueError(f'must be the name of an interface, as in "eth1", not {shown(repr(value))}')
    return name


def mac(value: Any) -> int | None:
    """Take a host's Ethernet address; None for "*", all unclaimed frames."""
    if value == "*":
        return None
    address = ether(string(value))
    if address >> 40 & 1:
        raise ValueError(f"{value} is a group address")
    return address


class Percent(float):
    """An entitlement given as a share of the platform."""


def entitlement(value: Any) -> float:
    """Take a weight, or a share as in "60%", which becomes a Percent."""
    if isinstance(value, str) and value.endswith("%"):
        return Percent(scaled(value[:-1], {"": 1.0}, 'a share (as in "60%")', *PERCENT))
    return number(*WEIGHTS, 'a positive weight (as in 2), or a share (as in "60%"),')(value)


def entitlement_text(text: str) -> float:
    """Take an entitlement as it is written to a handler: `2`, `0.5`, `60%`."""
    if text.endswith("%"):
        return entitlement(text)
    try:
        return scaled(text, {"": 1.0}, 'a weight (as in 2), or a share (as in "60%")', *WEIGHTS)
    except ValueError as error:
        raise ValueError(f"must be a positive weight: {error}") from None


def duration_ns(value: Any) -> int:
    """Take a time from 1 us to 1 s, as in "100us"; return ns."""
    found = round(seconds(string(value)) * 1e9)
    if not 1_000 <= found <= 1_000_000_000:
        raise ValueError(f"must be from 1us to 1s, not {shown(repr(value))}")
    return found


def bit_rate(value: Any) -> float:
    """Take a speed in bits a second, as in "1Gbps"."""
    what = "a speed (as in 1Gbps or 100Mbps)"
    return scaled(value, BITS, what, *SPEEDS) if isinstance(value, str) else number(*SPEEDS, what)(value)


def line_rate(value: Any) -> float:
    """Take memory accesses a second, as in "58M"."""
    what = "a number of accesses a second (as in 58M)"
    units = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
    return scaled(value, units, what, *ACCESSES) if isinstance(value, str) else number(*ACCESSES, what)(value)


def router_rates(value: Any) -> dict[str, float]:
    """Take a table of router names and rates."""
    if not isinstance(value, dict):
        raise ValueError('must be a table, as in { red = "1Mpps" }')
    return {name: number(*RATES, "a rate")(sending_rate(one)) for name, one in value.items()}


def variables(value: Any) -> dict[str, str]:
    """Take a table of a Click configuration's variables."""
    if not isinstance(value, dict) or not all(isinstance(one, str | int | float) for one in value.values()):
        raise ValueError('must be a table of strings and numbers, as in { RATE = "10kpps" }')
    return {name: str(one) for name, one in value.items()}


def cores(value: Any) -> tuple[int, ...]:
    """Take a list of core numbers."""
    if not isinstance(value, list) or not value:
        raise ValueError("must be a list of core numbers")
    return tuple(integer(0, MAX_CORES)(core) for core in value)


def memory(value: Any) -> int:
    """Take an amount of memory of at least 64 MiB, which NumPy and an element need, as in "256M"; return bytes."""
    units = {"": 1.0, "k": 2.0**10, "m": 2.0**20, "g": 2.0**30}
    found = scaled(string(value), units, "an amount of memory (as in 256M or 1G)", 0, float("inf"))
    if not MEMORY[0] <= found <= MEMORY[1]:
        raise ValueError(f"must be from 64M to 1024G, not {shown(repr(value))}")
    return round(found)


def start_time(value: Any) -> float:
    """Take a time of at least 0.1 s, as in "20s"; return seconds."""
    found = seconds(string(value))
    if not 0.1 <= found <= 600:
        raise ValueError(f"must be from 100ms to 10min, not {shown(repr(value))}")
    return found


def deadline_ns(value: Any) -> int:
    """Take a time from 1 ms to 10 s, as in "50ms"; return ns."""
    found = round(seconds(string(value)) * 1e9)
    if not 1_000_000 <= found <= 10_000_000_000:
        raise ValueError(f"must be from 1ms to 10s, not {shown(repr(value))}")
    return found


def addresses(value: Any) -> tuple[str, ...]:
    """Return addresses of a port, IPv4 or IPv6, each with its network's length."""
    listed = value if isinstance(value, list) else [value]
    if len(listed) > _ADDRESSES:
        raise ValueError(f"at most {_ADDRESSES} addresses")
    for one in listed:
        text = string(one)
        if "/" not in text:
            raise ValueError(f"'{text}' has no length, as in \"10.0.0.1/24\"")
        try:
            ip_interface(text)
        except ValueError:
            raise ValueError(f'\'{text}\' is not ADDRESS/LENGTH, as in "10.0.0.1/24" or "fd00::1/64"') from None
    return tuple(listed)


def static_routes(value: Any) -> tuple[str, ...]:
    """Return routes of the form "NETWORK via GATEWAY"."""
    if not isinstance(value, list):
        raise ValueError('must be a list, as in ["20.0.0.0/8 via 10.0.0.2"]')
    for one in value:
        parts = string(one).split()
        try:
            if len(parts) != 3 or parts[1] != "via":
                raise ValueError
            ip_network(parts[0])
            ip_address(parts[2])
        except ValueError:
            raise ValueError(f"'{one}' is not NETWORK via GATEWAY, as in \"20.0.0.0/8 via 10.0.0.2\"") from None
    return tuple(value)
