# SPDX-License-Identifier: MIT
"""What a link does to frames besides carrying them: keys of its table, with the terms of netem (tc-netem(8))."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from vre.config import fields
from vre.config.distributions import DISTRIBUTIONS
from vre.errors import nearest
from workers.arguments import BITS, integer, scaled, seconds
from workers.ranges import shown

#: Longest delay in ns, and most frames that may wait on a link.
LONGEST_NS, MOST_WAITING = 60_000_000_000, 100_000
_CHANCE = 'a chance (as in "1%" or 0.01)'


@dataclass(frozen=True)
class Impairment:
    """A link's impairments in one direction; what is left out does nothing.

    Parameters
    ----------
    delay, jitter : int
        In ns. A frame is late by `delay` and a random part of `jitter`, which is the most if `distribution` is
        "uniform", else the standard deviation.
    distribution : str
        One of :data:`vre.config.distributions.DISTRIBUTIONS`.
    correlation : float
        Chance that a frame's jitter is that of the one before; the other correlations likewise.
    loss, loss_correlation : float
        Chance of a loss.
    loss_r, loss_h, loss_k : float
        With `loss_r` losses follow Gilbert and Elliott: `loss` is the chance of going from the good state to the bad
        one, `loss_r` of going back, `loss_h` of getting through in the bad state, `loss_k` in the good one.
    duplicate, duplicate_correlation : float
    reorder, reorder_correlation : float
        Chance that a frame overtakes those that wait.
    gap : int
        Of so many frames one at most is reordered.
    corrupt, corrupt_correlation : float
        Chance that one bit is inverted.
    rate : float, optional
        Bits a second of frames as netem counts them: with their header, without check sequence and preamble.
    burst : int
        Bytes that a pause in the traffic saves up: the depth of the token bucket.
    overhead : int
        Bytes that each frame takes besides its own.
    limit : int
        Frames that may wait; those that find no room are dropped.
    """

    delay: int = 0
    jitter: int = 0
    distribution: str = "uniform"
    correlation: float = 0.0
    loss: float = 0.0
    loss_correlation: float = 0.0
    loss_r: float | None = None
    loss_h: float = 0.0
    loss_k: float = 1.0
    duplicate: float = 0.0
    duplicate_correlation: float = 0.0
    reorder: float = 0.0
    reorder_correlation: float = 0.0
    gap: int = 1
    corrupt: float = 0.0
    corrupt_correlation: float = 0.0
    rate: float | None = None
    burst: int = 0
    overhead: int = 0
    limit: int = 1000

    def as_dict(self) -> dict[str, Any]:
        """Return what is not as by default, by the names of a link's table; times are in ns."""
        usual = asdict(Impairment())
        return {_NAMES[name]: value for name, value in asdict(self).items() if value != usual[name]}


def time_ns(value: Any) -> int:
    """Take a time up to a minute, as in "5ms"; return ns."""
    found = round(seconds(fields.string(value)) * 1e9)
    if found > LONGEST_NS:
        raise ValueError(f"must be at most 60s, not {shown(repr(value))}")
    return found


def chance(value: Any) -> float:
    """Take a chance, as in "1%" or 0.01."""
    if isinstance(value, str):
        text = value.strip()
        most, unit = (100.0, 0.01) if text.endswith("%") else (1.0, 1.0)
        return scaled(text.removesuffix("%").strip(), {"": 1.0}, _CHANCE, 0.0, most) * unit
    return fields.number(0.0, 1.0, _CHANCE)(value)


def _optional_chance(value: Any) -> float | None:
    return None if value == "none" else chance(value)


def _bit_rate(value: Any) -> float | None:
    """Take bits a second, 0 for no limit."""
    if value in (0, "0", "none") and value is not False:
        return None
    if isinstance(value, str):
        return scaled(value, BITS, "bits a second (as in 10Mbps)", *fields.SPEEDS)
    return fields.bit_rate(value)


def _whole(low: int, high: int) -> Callable[[Any], int]:
    """Return a kind: an integer, which may be given as text."""
    return lambda value: fields.integer(low, high)(integer(value) if isinstance(value, str) else value)


#: The names of a link's table to a field and its kind. A dot is for a table in it: `loss = { p = "1%", r = "30%" }`.
KINDS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "delay": ("delay", time_ns),
    "jitter": ("jitter", time_ns),
    "distribution": ("distribution", fields.choice(*DISTRIBUTIONS)),
    "correlation": ("correlation", chance),
    "loss.p": ("loss", chance),
    "loss.correlation": ("loss_correlation", chance),
    "loss.r": ("loss_r", _optional_chance),
    "loss.h": ("loss_h", chance),
    "loss.k": ("loss_k", chance),
    "duplicate.p": ("duplicate", chance),
    "duplicate.correlation": ("duplicate_correlation", chance),
    "reorder.p": ("reorder", chance),
    "reorder.correlation": ("reorder_correlation", chance),
    "reorder.gap": ("gap", _whole(1, 1 << 30)),
    "corrupt.p": ("corrupt", chance),
    "corrupt.correlation": ("corrupt_correlation", chance),
    "rate": ("rate", _bit_rate),
    "burst": ("burst", _whole(0, 1 << 30)),
    "overhead": ("overhead", _whole(-2048, 2048)),
    "limit": ("limit", _whole(1, MOST_WAITING)),
}
_NAMES = {name: key for key, (name, _) in KINDS.items()}
#: Names in a link's table, without what is in tables there.
KEYS = tuple(dict.fromkeys(key.partition(".")[0] for key in KINDS))
_USUAL = asdict(Impairment())

#: Path to a key below a link's table, and what is wrong with it.
Wrong = tuple[tuple[str, ...], str]


def changed(before: Impairment, given: Mapping[str, Any]) -> tuple[Impairment, list[Wrong]]:
    """Return an impairment with some values changed, and everything that is wrong with these.

    A value in place of a table is its `p`, and the rest of the table becomes as by default: `loss = "1%"` is uniform.
    """
    values: dict[str, Any] = {}
    wrong: list[Wrong] = []
    for path, key, value in _flat(given):
        if key not in KINDS:
            hint = nearest(key, KINDS) or f"; there are {', '.join(KEYS)}"
            wrong.append((path, f"unknown key '{key}'{hint}"))
            continue
        field, kind = KINDS[key]
        try:
            values[field] = kind(value)
        except (TypeError, ValueError) as error:
            wrong.append((path, f"{'.'.join(path)}: {error}"))
    for key in given:
        if f"{key}.p" in KINDS and not isinstance(given[key], Mapping):
            rest = [name for other, (name, _) in KINDS.items() if other.startswith(f"{key}.") and other != f"{key}.p"]
            values = {name: _USUAL[name] for name in rest} | values
    if wrong:
        return before, wrong
    after = replace(before, **values)
    return after, list(_clashes(after))


def _flat(given: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str, Any]]:
    """Yield the path of each value, its name among KINDS, and the value."""
    for key, value in given.items():
        if f"{key}.p" not in KINDS:
            yield tuple(str(key).split(".")), str(key), value
        elif isinstance(value, Mapping):
            yield from (((key, str(inner)), f"{key}.{inner}", one) for inner, one in value.items())
        else:
            yield (key,), f"{key}.p", value


def _clashes(one: Impairment) -> Iterator[Wrong]:
    """Yield what does not go together."""
    if one.reorder and not one.delay:
        yield ("reorder",), "reorder: a frame can overtake others only where they wait: set 'delay', too"
    if one.loss_r is not None and one.loss_correlation:
        yield ("loss", "correlation"), "loss: with 'r' its states say how losses are related: leave out 'correlation'"
    if one.loss_r is None and (one.loss_h != _USUAL["loss_h"] or one.loss_k != _USUAL["loss_k"]):
        yield ("loss",), "loss: 'h' and 'k' are of the states of Gilbert and Elliott: set 'r', too"
    if one.loss_r == 0:
        yield ("loss", "r"), "loss.r: must be more than 0: a link that is in the bad state once would never leave it"
