# SPDX-License-Identifier: MIT
"""Figure 6: six RFC 1812 paths on three cores, two a core, with unequal weights."""

from __future__ import annotations

from statistics import median

from vre.experiments.bench import FULL, MEASURED, MODELLED, Path, platform, window
from vre.experiments.outcome import Outcome, near

TITLE = "six RFC 1812 paths, two on each of three cores, weights 1:1, 2:1, 3:1, overloaded (section 3.2, figure 6)"
SAYS = "on each core the two split its 1.3 Mp/s by their weights; the three cores' totals are equal"

WEIGHTS = ((1, 1), (2, 1), (3, 1))


def _run(setting: str, quick: bool, seconds: float) -> Outcome:
    outcome = Outcome(setting, x="weight of the first path on its core", y="forwarded (Mp/s)")
    paths = [
        Path(f"core{core}{letter}", FULL, weight, (core,))
        for core, pair in enumerate(WEIGHTS)
        for letter, weight in zip("ab", pair, strict=True)
    ]
    rates: dict[str, list[float]] = {path.name: [] for path in paths}
    shares: dict[str, list[float]] = {path.name: [] for path in paths}
    totals: dict[int, list[float]] = {core: [] for core in range(len(WEIGHTS))}
    with platform(setting, paths, cores=len(WEIGHTS)) as box:
        box.tend(seconds)
        for repeat in range(3 if quick else 5):
            found = window(box, seconds)
            for name, w in found.items():
                rates[name].append(w.forwarded_pps)
                shares[name].append(w.share)
                outcome.samples.append({"path": name, "repeat": repeat, "rate": w.forwarded_pps, "share": w.share})
            for core, sums in totals.items():
                sums.append(found[f"core{core}a"].forwarded_pps + found[f"core{core}b"].forwarded_pps)
    for core, pair in enumerate(WEIGHTS):
        for letter, weight in zip("ab", pair, strict=True):
            name = f"core{core}{letter}"
            outcome.rows.append(
                {
                    "core": core,
                    "path": name,
                    "weight": weight,
                    "Mp/s": round(median(rates[name]) / 1e6, 4),
                    "share of core": round(median(shares[name]), 4),
                }
            )
            outcome.point(f"path {letter}", pair[0], [rate / 1e6 for rate in rates[name]])
            wanted = weight / sum(pair)
            outcome.criteria.append(near(f"{name}'s share of its core", median(shares[name]), wanted, 0.01))
        if setting == MODELLED:
            total = median(totals[core]) / 1e6
            outcome.criteria.append(near(f"core {core}'s total in Mp/s", total, 1.3, 0.1))
    middle = median(rate for sums in totals.values() for rate in sums)
    for core, sums in totals.items():
        outcome.criteria.append(near(f"core {core}'s total against the middle one", median(sums) / middle, 1.0, 0.05))
    return outcome


def modelled(quick: bool) -> Outcome:
    """Run it on the paper's box."""
    return _run(MODELLED, quick, 0.1 if quick else 0.5)


def measured(quick: bool) -> Outcome:
    """Run it on this host."""
    return _run(MEASURED, quick, 1.0 if quick else 5.0)
