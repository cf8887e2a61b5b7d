# SPDX-License-Identifier: MIT
"""What fits into a field of shared memory: known from the field's format, so no element can leave it out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Two of them can be added without leaving 64 bits.
WIDE = 1 << 62

Range = tuple[float, float]

_RANGES: dict[str, Range] = {
    "u1": (0, 0xFF),
    "u2": (0, 0xFFFF),
    "u4": (0, 0xFFFFFFFF),
    "i4": (-(1 << 31), (1 << 31) - 1),
    "i8": (-WIDE, WIDE),
    "f8": (-1e300, 1e300),
}


def ranges(fields: Mapping[str, Any]) -> dict[str, Range]:
    """Return least and most of each field that holds one number; `fields` are a layout's: name to format."""
    forms = {name: form[0] if isinstance(form, tuple) else form for name, form in fields.items()}
    return {name: _RANGES[form] for name, form in forms.items() if form in _RANGES}


def misfit(value: Any, bounds: Range) -> str:
    """Return why a number does not fit, "" where it does, or is none and so is not what the field gets."""
    low, high = bounds
    if not isinstance(value, int | float):
        return ""
    if isinstance(low, int) and not isinstance(value, int):
        return f"{value} is not a whole number"
    # Written so that a NaN is not between them.
    return "" if low <= value <= high else f"{shown(value)} is not from {low} to {high}"


def shown(value: Any) -> str:
    """Return a value as part of a message, cut where it is long."""
    text = f"{value:#x}" if isinstance(value, int) and abs(value) >> 200 else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


class Bounded:
    """A state record as write handlers get it: a value that does not fit its field is refused with a ValueError."""

    def __init__(self, state: Any, fields: Mapping[str, Any]) -> None:
        self._state, self._ranges = state, ranges(fields)

    def __getitem__(self, name: str) -> Any:
        return self._state[name]

    def __setitem__(self, name: str, value: Any) -> None:
        if name in self._ranges and (why := misfit(value, self._ranges[name])):
            raise ValueError(why)
        self._state[name] = value
