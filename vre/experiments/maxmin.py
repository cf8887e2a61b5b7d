# SPDX-License-Identifier: MIT
"""Figure 5: three identical paths on one core, equally entitled, whose loads grow at different speeds."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean, median

from vre.experiments.outcome import Outcome, at_least, at_most
from vre.experiments.setup import FULL, MEASURED, MODELLED, Flow, Window, busy_rate, platform, window
from vre.placement.allocate import fill_up
from vre.platform.platform import Platform

TITLE = "three identical paths on one core, equal entitlements, loads growing unequally (section 3.2, figure 5)"
SAYS = "each path gets the max-min fair rate for its load; what one does not use goes to the others"

NAMES = ("path1", "path2", "path3")
#: Of the paper's 1.3 Mp/s core: all start at 100 Kp/s and grow by 150, 100 and 50 Kp/s a step.
_START, _GROWTH, _CORE = 100.0, (150.0, 100.0, 50.0), 1300.0


#: Length of the parts of a measured window, in seconds.
_PART_S = 0.05
#: How much more a packet may cost in one part than in the next, if nothing has changed.
_CALM = 0.2


def fair(total: float, offered: dict[str, float], costs: dict[str, float] | None = None) -> dict[str, float]:
    """Return the max-min fair rates for what is offered, where `total` can be forwarded.

    With `costs`, what a packet of each path takes, it is time that is shared: `total` is in their unit then.
    """
    costs = costs or dict.fromkeys(offered, 1.0)
    shares = fill_up(total, {name: (1.0, load * costs[name]) for name, load in offered.items()})
    return {name: share / costs[name] for name, share in shares.items()}


@dataclass
class _Sums:
    """What was offered, forwarded, fair, and lost below the share, by path in packets; and the core's busy time.

    `calm` is the part of the time in which what a packet costs did not change.
    """

    offered: dict[str, float]
    got: dict[str, float]
    fair: dict[str, float]
    lost: dict[str, float]
    busy: float
    calm: float


def _calm(windows: list[dict[str, Window]]) -> list[bool]:
    """Return for each part whether packets cost as much in it as in the parts around it.

    If that changes within a part, it is unknown what was below a path's share there.
    """
    costs = [sum(w.ticks_per_packet for w in found.values()) for found in windows]
    around = zip(costs, costs[:1] + costs, costs[1:] + costs[-1:], strict=False)
    return [max(three) < (1 + _CALM) * min(three) for three in around]


def _fairness(box: Platform, seconds: float, parts: int) -> _Sums:
    """Return the rates of a window, summed up over its parts; the core's time is a part of 1."""
    sums: list[dict[str, float]] = [dict.fromkeys(NAMES, 0.0) for _ in range(4)]
    elapsed = busy = 0.0
    windows = [window(box, seconds / parts) for _ in range(parts)]
    for found, calm in zip(windows, _calm(windows), strict=True):
        costs = {name: w.ticks_per_packet for name, w in found.items()}
        spent = sum(w.forwarded_pps * costs[name] for name, w in found.items())
        wanted = fair(spent, {name: w.offered_pps for name, w in found.items()}, costs)
        for name, w in found.items():
            below = calm and w.offered_pps * costs[name] < 0.95 * spent / len(NAMES)
            rates = (w.offered_pps, w.forwarded_pps, wanted[name], w.missed_part * w.offered_pps * below)
            for total, rate in zip(sums, rates, strict=True):
                total[name] += rate * w.seconds
        elapsed += found[NAMES[0]].seconds
        busy += found[NAMES[0]].busy * found[NAMES[0]].seconds
    offered, got, wanted, lost = ({name: count / elapsed for name, count in total.items()} for total in sums)
    return _Sums(offered, got, wanted, lost, busy / elapsed, sum(_calm(windows)) / parts)


def _run(setting: str, quick: bool, seconds: float) -> Outcome:
    outcome = Outcome(setting, x="step", y="forwarded (Mp/s)")
    worst, lost, used = 0.0, 0.0, 1.0
    calm: list[float] = []
    # A dilated clock jumps where a preemption is found late; the bursts that follow are the host's, not the paths'.
    slots = None if setting == MODELLED else 8192
    # So does a core's rate, for tenths of a second: fair rates are computed for each part of a window.
    parts = 1 if setting == MODELLED else round(seconds / _PART_S)
    with platform(setting, [Flow(name, FULL, slots=slots) for name in NAMES]) as box:
        box.tend(seconds)
        capacity = _CORE * 1e3 if setting == MODELLED else busy_rate(box, seconds)
        for step in range(0, 10, 3 if quick else 1):
            for name, growth in zip(NAMES, _GROWTH, strict=True):
                box.set_rate(name, (_START + growth * step) / _CORE * capacity)
            box.tend(seconds / 2)
            repeats = [_fairness(box, seconds, parts) for _ in range(3)]
            _record(outcome, step, repeats)
            calm += [sums.calm for sums in repeats]
            for name in NAMES:
                worst = max(worst, median(abs(sums.got[name] / sums.fair[name] - 1) for sums in repeats))
                lost = max(lost, median(sums.lost[name] / max(1.0, sums.offered[name]) for sums in repeats))
            last = repeats[-1]
            if sum(last.offered.values()) > 1.1 * sum(last.got.values()):
                used = min(used, last.busy)
    outcome.criteria.append(at_most("largest error against the max-min fair rate", worst, 0.02))
    outcome.criteria.append(at_most("part lost by a path below its share", lost, 0.001))
    outcome.criteria.append(at_least("part of the core's time that is used under overload", used, 0.95))
    if setting == MEASURED:
        outcome.notes.append(
            "what is fair is time: packets of paths that are the same cost more where their rings are cold"
        )
        outcome.notes.append(f"what they cost was the same from one part to the next in {fmean(calm):.0%} of the time")
    return outcome


def _record(outcome: Outcome, step: int, repeats: list[_Sums]) -> None:
    """Enter what was forwarded at a step into the outcome."""
    for repeat, sums in enumerate(repeats):
        for name in NAMES:
            row = {"step": step, "path": name, "repeat": repeat, "offered": sums.offered[name]}
            outcome.samples.append(row | {"forwarded": sums.got[name], "fair": sums.fair[name]})
    last = repeats[-1]
    for name in NAMES:
        rates = [sums.got[name] / 1e6 for sums in repeats]
        outcome.point(name, step, rates)
        outcome.rows.append(
            {
                "step": step,
                "path": name,
                "offered Mp/s": round(last.offered[name] / 1e6, 4),
                "forwarded Mp/s": round(median(rates), 4),
                "fair Mp/s": round(last.fair[name] / 1e6, 4),
            }
        )


def modelled(quick: bool) -> Outcome:
    """Run it on the paper's box."""
    return _run(MODELLED, quick, 0.1 if quick else 0.3)


def measured(quick: bool) -> Outcome:
    """Run it on this host."""
    return _run(MEASURED, quick, 0.5 if quick else 1.0)
