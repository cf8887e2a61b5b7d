# SPDX-License-Identifier: MIT
"""Distributions of jitter, with the names of netem, as tables of their inverse: mean 0, and a spread of 1.

The spread of `uniform` is what a frame is early or late by at most; that of the others is the standard deviation.
"""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import NormalDist

DISTRIBUTIONS = ("uniform", "normal", "pareto", "paretonormal")
#: Pareto's shape, and how many standard deviations a value is at most: netem's, whose tables end there too.
_SHAPE, _MOST = 3.0, 4.0


def _normal(u: float) -> float:
    return 0.0 if u == 0.5 else NormalDist().inv_cdf(u) if 0 < u < 1 else math.copysign(_MOST, u - 0.5)


def _pareto(u: float) -> float:
    mean, deviation = _SHAPE / (_SHAPE - 1), math.sqrt(_SHAPE / (_SHAPE - 2)) / (_SHAPE - 1)
    return min(_MOST, ((1 - u) ** (-1 / _SHAPE) - mean) / deviation) if u < 1 else _MOST


def _pareto_normal(u: float) -> float:
    """Three parts of one to one of the other, as in netem's table."""
    return 0.75 * _pareto(u) + 0.25 * _normal(u)


_INVERSES = {"uniform": lambda u: 2 * u - 1, "normal": _normal, "pareto": _pareto, "paretonormal": _pareto_normal}


def inverse(name: str, steps: int) -> list[float]:
    """Return a distribution's inverse at 0, 1 / steps, ... 1, to be interpolated linearly between.

    What is interpolated has a mean of exactly 0, and but for `uniform` a standard deviation of exactly 1.
    """
    points = [_INVERSES[name](i / steps) for i in range(steps + 1)]
    if name == "uniform":
        return points
    pairs = list(pairwise(points))
    mean = sum(a + b for a, b in pairs) / 2 / steps
    square = sum(a * a + a * b + b * b for a, b in pairs) / 3 / steps
    return [(point - mean) / math.sqrt(square - mean * mean) for point in points]
