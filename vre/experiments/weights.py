# SPDX-License-Identifier: MIT
"""Figure 6: six RFC 1812 paths on three cores, two a core, with unequal weights."""

from __future__ import annotations

from statistics import median

from vre.experiments.outcome import Outcome, at_most, near
from vre.experiments.precondition import contested, overload, with_work
from vre.experiments.setup import FULL, MEASURED, MODELLED, Flow, platform, window

TITLE = "six RFC 1812 paths, two on each of three cores, weights 1:1, 2:1, 3:1, overloaded (section 3.2, figure 6)"
SAYS = "on each core the two split its 1.3 Mp/s by their weights; the three cores' totals are equal"

WEIGHTS = ((1, 1), (2, 1), (3, 1))


def _paths(turn: int, config: str = FULL) -> list[Flow]:
    """Return the six paths; pair number n is on core n + `turn`, round and round."""
    return [
        Flow(f"pair{n}{letter}", config, weight, ((n + turn) % len(WEIGHTS),))
        for n, pair in enumerate(WEIGHTS)
        for letter, weight in zip("ab", pair, strict=True)
    ]


def _run(setting: str, quick: bool, seconds: float) -> Outcome:
    outcome = Outcome(setting, x="weight of the first path on its core", y="forwarded (Mp/s)")
    rates: dict[str, list[float]] = {path.name: [] for path in _paths(0)}
    shares: dict[str, list[float]] = {path.name: [] for path in _paths(0)}
    totals: dict[int, list[float]] = {n: [] for n in range(len(WEIGHTS))}
    # Where a core's buffers are makes some per cent of difference here: each pair is on each core once.
    for turn in range(1 if setting == MODELLED else len(WEIGHTS)):
        paths = _paths(turn, FULL if setting == MODELLED else with_work(FULL))
        with platform(setting, paths, cores=len(WEIGHTS)) as box:
            if setting == MEASURED:
                overload(box, rates, seconds, outcome)
            box.tend(seconds)
            repeats = 3 if quick else 7
            if setting == MODELLED:
                windows = [window(box, seconds) for _ in range(repeats)]
            else:
                windows = contested(box, seconds, repeats, outcome)
            for repeat, found in enumerate(windows):
                for name, w in found.items():
                    rates[name].append(w.forwarded_pps)
                    shares[name].append(w.share)
                    sample = {"turn": turn, "path": name, "repeat": repeat}
                    outcome.samples.append(sample | {"rate": w.forwarded_pps, "share": w.share})
                for n, sums in totals.items():
                    sums.append(found[f"pair{n}a"].forwarded_pps + found[f"pair{n}b"].forwarded_pps)
    if outcome.unjudged:
        return outcome
    for n, pair in enumerate(WEIGHTS):
        for letter, weight in zip("ab", pair, strict=True):
            name = f"pair{n}{letter}"
            outcome.rows.append(
                {
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
            total = median(totals[n]) / 1e6
            outcome.criteria.append(near(f"total of pair {n}'s core in Mp/s", total, 1.3, 0.1))
    # Window by window: the host's noise is the same for all cores in it.
    apart = [max(window) / min(window) - 1 for window in zip(*totals.values(), strict=True)]
    outcome.criteria.append(at_most("totals of the three cores differ by", median(apart), 0.1))
    return outcome


def modelled(quick: bool) -> Outcome:
    """Run it on the paper's box."""
    return _run(MODELLED, quick, 0.1 if quick else 0.5)


def measured(quick: bool) -> Outcome:
    """Run it on this host."""
    return _run(MEASURED, quick, 0.7 if quick else 1.5)
