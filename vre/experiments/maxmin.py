# SPDX-License-Identifier: MIT
"""Figure 5: three identical paths on one core, equally entitled, whose loads grow at different speeds."""

from __future__ import annotations

from statistics import median

from vre.allocation import fill_up
from vre.experiments.bench import FULL, MEASURED, MODELLED, Path, busy_rate, platform, window
from vre.experiments.outcome import Outcome, at_least, at_most

TITLE = "three identical paths on one core, equal entitlements, loads growing unequally (section 3.2, figure 5)"
SAYS = "each path gets the max-min fair rate for its load; what one does not use goes to the others"

NAMES = ("path1", "path2", "path3")
#: Of the paper's 1.3 Mp/s core: all start at 100 Kp/s and grow by 150, 100 and 50 Kp/s a step.
_START, _GROWTH, _CORE = 100.0, (150.0, 100.0, 50.0), 1300.0


def fair(total: float, offered: dict[str, float]) -> dict[str, float]:
    """Return the max-min fair rates for what is offered, where `total` can be forwarded."""
    return fill_up(total, {name: (1.0, load) for name, load in offered.items()})


def _run(setting: str, quick: bool, seconds: float) -> Outcome:
    outcome = Outcome(setting, x="step", y="forwarded (Mp/s)")
    worst, lost, unused = 0.0, 0.0, 1.0
    # A dilated clock jumps where a preemption is found late; the bursts that follow are the host's, not the paths'.
    slots = None if setting == MODELLED else 8192
    with platform(setting, [Path(name, FULL, slots=slots) for name in NAMES]) as box:
        box.tend(seconds)
        capacity = _CORE * 1e3 if setting == MODELLED else busy_rate(box, seconds)
        for step in range(0, 10, 3 if quick else 1):
            loads = [(_START + growth * step) / _CORE * capacity for growth in _GROWTH]
            for name, load in zip(NAMES, loads, strict=True):
                box.set_rate(name, load)
            box.tend(seconds / 2)
            errors: dict[str, list[float]] = {name: [] for name in NAMES}
            drops: dict[str, list[float]] = {name: [] for name in NAMES}
            rates: dict[str, list[float]] = {name: [] for name in NAMES}
            for repeat in range(3):
                found = window(box, seconds)
                offered = {name: found[name].offered_pps for name in NAMES}
                total = sum(found[name].forwarded_pps for name in NAMES)
                wanted = fair(total, offered)
                for name in NAMES:
                    got = found[name].forwarded_pps
                    errors[name].append(abs(got / wanted[name] - 1))
                    below = offered[name] < total / 3 * 0.95
                    drops[name].append(found[name].missed_part if below else 0.0)
                    rates[name].append(got / 1e6)
                    row = {"step": step, "path": name, "repeat": repeat, "offered": offered[name], "forwarded": got}
                    outcome.samples.append(row | {"fair": wanted[name]})
            for name in NAMES:
                outcome.point(name, step, rates[name])
                worst, lost = max(worst, median(errors[name])), max(lost, median(drops[name]))
                outcome.rows.append(
                    {
                        "step": step,
                        "path": name,
                        "offered Mp/s": round(offered[name] / 1e6, 4),
                        "forwarded Mp/s": round(median(rates[name]), 4),
                        "fair Mp/s": round(wanted[name] / 1e6, 4),
                    }
                )
            if sum(offered.values()) > 1.1 * capacity:
                unused = min(unused, total / capacity)
    outcome.criteria.append(at_most("largest error against the max-min fair rate", worst, 0.02))
    outcome.criteria.append(at_most("part lost by a path below its share", lost, 0.001))
    bound = 0.98 if setting == MODELLED else 0.5
    outcome.criteria.append(at_least("part of the core's rate that is used under overload", unused, bound))
    return outcome


def modelled(quick: bool) -> Outcome:
    """Run it on the paper's box."""
    return _run(MODELLED, quick, 0.1 if quick else 0.3)


def measured(quick: bool) -> Outcome:
    """Run it on this host."""
    return _run(MEASURED, quick, 0.3 if quick else 1.0)
