# SPDX-License-Identifier: MIT
"""What an experiment yields: rows of figures, criteria with their verdicts, curves to plot."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Criterion:
    """One thing that an experiment must show: `value` compared with `bound`."""

    name: str
    value: float
    bound: str
    passed: bool

    def as_dict(self) -> dict[str, Any]:
        """Return it as the command prints it."""
        return {"name": self.name, "value": self.value, "bound": self.bound, "pass": self.passed}


def at_most(name: str, value: float, bound: float) -> Criterion:
    """Return the criterion that a value is no more than a bound."""
    return Criterion(name, value, f"<= {bound:g}", value <= bound)


def at_least(name: str, value: float, bound: float) -> Criterion:
    """Return the criterion that a value is no less than a bound."""
    return Criterion(name, value, f">= {bound:g}", value >= bound)


def near(name: str, value: float, wanted: float, part: float) -> Criterion:
    """Return the criterion that a value is within a fraction of the wanted one."""
    return Criterion(name, value, f"{wanted:g} +- {part:.0%}", abs(value - wanted) <= part * abs(wanted))


@dataclass
class Outcome:
    """One experiment in one setting.

    `rows` are the table; `curves` label to (x, median, spread) for the plot, whose axes are `x` and `y`;
    `samples` the data that the rows were made from.
    """

    setting: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    criteria: list[Criterion] = field(default_factory=list)
    curves: dict[str, list[tuple[float, float, float]]] = field(default_factory=dict)
    x: str = ""
    y: str = ""
    samples: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unjudged: str = ""  #: why this host cannot judge, "" if it can

    @property
    def passed(self) -> bool:
        """Whether all criteria hold, and could be judged."""
        return not self.unjudged and all(criterion.passed for criterion in self.criteria)

    def point(self, curve: str, x: float, values: list[float]) -> float:
        """Add the median of some samples to a curve, with their spread; return the median."""
        middle = statistics.median(values)
        self.curves.setdefault(curve, []).append((x, middle, (max(values) - min(values)) / 2))
        return middle

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return asdict(self) | {"criteria": [c.as_dict() for c in self.criteria], "pass": self.passed}
