# SPDX-License-Identifier: MIT
"""Figure 7: an expensive path beside two others, with Click's own scheduler and with measured costs."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import Any

from vre.experiments.outcome import Outcome, at_least, at_most, near
from vre.experiments.precondition import WORK
from vre.experiments.setup import MEASURED, MODELLED, Flow, Window, platform, window
from vre.platform.platform import Platform

TITLE = "three paths on one core, the first one 1.4 times as expensive (section 3.3, figure 7)"
SAYS = "plain stride: equal packet rates, about 440 Kp/s each; measured cost: equal CPU, so fewer costly packets"

#: Some 1,780 cycles on the paper's box: three such paths, one of them 1.4 times as expensive, get 440 Kp/s each.
_LIGHT = """
FromDevice({0}) -> Paint(1) -> c :: Classifier(12/0800, -); c[1] -> Discard;
c[0] -> Strip(14) -> CheckIPHeader -> DirectIPLookup(198.18.0.0/16 0, 198.19.0.0/16 0)
  -> EXTRA DecIPTTL -> EtherEncap(0x0800, 02:00:00:00:00:01, 02:00:00:00:00:02) -> Queue(1000) -> ToDevice({1});
"""
#: Additional elements of the expensive path, on the paper's box and here.
_EXTRA = {MODELLED: "CheckIPHeader -> " * 3, MEASURED: f"{WORK} -> "}
_RATIO = 1.4
#: How often a path's cost is adjusted, and the accepted distance from the ratio.
_TRIES, _NEAR = 8, 0.03


def _paths(setting: str) -> list[Flow]:
    costly, plain = _LIGHT.replace("EXTRA", _EXTRA[setting]), _LIGHT.replace("EXTRA", "")
    return [Flow("path1", costly), Flow("path2", plain), Flow("path3", plain)]


def _calibrate(outcome: Outcome, box: Platform, discipline: str) -> None:
    """Make path 1 about 1.4 times as expensive as path 2, in the platform that is going to be measured."""
    rounds, ratio = 8.0, 0.0
    for _ in range(_TRIES):
        box.write("path1/work.rounds", str(round(rounds)))
        box.tend(0.1)
        ratio = median(w["path1"].ticks_per_packet / w["path2"].ticks_per_packet for w in _windows(box, 3, 0.1))
        if abs(ratio / _RATIO - 1) <= _NEAR:
            break
        # The extra cost grows with the rounds; a step of more than a factor of 2 is no measurement.
        rounds = max(1.0, rounds * min(2.0, max(0.5, (_RATIO - 1) / max(ratio - 1, 0.01))))
    outcome.notes.append(
        f"{discipline}: path 1 has {round(rounds)} rounds of work more, and costs {ratio:.2f} times as much"
    )


def _windows(box: Platform, count: int, seconds: float) -> Iterator[dict[str, Window]]:
    for _ in range(count):
        yield window(box, seconds)


def _run(setting: str, quick: bool, seconds: float) -> Outcome:
    outcome = Outcome(setting, x="offered load a path (Mp/s)", y="forwarded (Mp/s)")
    settled: dict[str, dict[str, list[float]]] = {}
    repeats = 3 if quick or setting == MODELLED else 7
    for discipline in ("stride", "measured", "exact"):
        with platform(setting, _paths(setting), discipline=discipline) as box:
            if setting == MEASURED:
                _calibrate(outcome, box, discipline)
            box.tend(seconds)
            shares: dict[str, list[float]] = {}
            for i, found in enumerate(_windows(box, repeats, seconds)):
                total = sum(w.forwarded_pps for w in found.values())
                for name, w in found.items():
                    row: dict[str, Any] = {"discipline": discipline, "path": name, "repeat": i, "share": w.share}
                    row |= {"rate": w.forwarded_pps, "part": w.forwarded_pps / total, "ticks": w.ticks_per_packet}
                    outcome.samples.append(row)
                    for key in ("share", "rate", "part", "ticks"):
                        shares.setdefault(f"{name} {key}", []).append(row[key])
            settled[discipline] = shares
            _sweep(outcome, box, discipline, seconds / 2, setting, quick)
    _judge(outcome, settled, setting)
    return outcome


def _sweep(outcome: Outcome, box: Platform, discipline: str, seconds: float, setting: str, quick: bool) -> None:
    top = 3 * max(s["rate"] for s in outcome.samples if s["discipline"] == discipline)
    steps = 4 if quick else 10
    for step in range(1, steps + 1):
        load = min(top, 1.488e6 if setting == MODELLED else top) * step / steps
        for name in ("path1", "path2", "path3"):
            box.set_rate(name, load)
        box.tend(seconds / 4)
        for name, w in window(box, seconds).items():
            outcome.point(f"{name}, {discipline}", load / 1e6, [w.forwarded_pps / 1e6])


def _ratios(found: dict[str, list[float]], what: str) -> list[float]:
    """Return, window by window, the ratio of path 1 to path 2: the host's noise is the same for both."""
    return [one / two for one, two in zip(found[f"path1 {what}"], found[f"path2 {what}"], strict=True)]


def _judge(outcome: Outcome, settled: dict[str, dict[str, list[float]]], setting: str) -> None:
    def middle(discipline: str, key: str) -> float:
        return median(settled[discipline][key])

    for discipline, found in settled.items():
        for name in ("path1", "path2", "path3"):
            outcome.rows.append(
                {
                    "discipline": discipline,
                    "path": name,
                    "Mp/s": round(median(found[f"{name} rate"]) / 1e6, 4),
                    "share of CPU": round(median(found[f"{name} share"]), 4),
                    "cycles/packet": round(median(found[f"{name} ticks"])),
                }
            )
    ratio = median(ratio for found in settled.values() for ratio in _ratios(found, "ticks"))
    outcome.criteria.append(near("path 1 costs 1.4 times as much", ratio, _RATIO, 0.15))
    parts = [middle("stride", f"{p} part") for p in ("path1", "path2", "path3")]
    outcome.criteria.append(at_most("plain stride: packet rates differ by", max(parts) / min(parts) - 1, 0.02))
    if setting == MODELLED:
        for p in ("path1", "path2", "path3"):
            outcome.criteria.append(near(f"plain stride: {p} in Kp/s", middle("stride", f"{p} rate") / 1e3, 440, 0.1))
    stride_share = middle("stride", "path1 share")
    outcome.criteria.append(at_least("plain stride: path 1's share of the CPU", stride_share, 0.36))
    for discipline in ("measured", "exact"):
        for p in ("path1", "path2", "path3"):
            share = middle(discipline, f"{p} share")
            outcome.criteria.append(near(f"{discipline} cost: {p}'s share of the CPU", share, 1 / 3, 0.01))
        both = zip(_ratios(settled[discipline], "part"), _ratios(settled[discipline], "ticks"), strict=True)
        lower = median(part * cost for part, cost in both)
        outcome.criteria.append(near(f"{discipline} cost: path 1's rate is lower by the cost ratio", lower, 1.0, 0.03))
        gain = middle(discipline, "path2 part") / middle("stride", "path2 part")
        outcome.criteria.append(at_least(f"{discipline} cost: path 2's part of packets, against stride", gain, 1.02))


def modelled(quick: bool) -> Outcome:
    """Run it on the paper's box."""
    return _run(MODELLED, quick, 0.1 if quick else 0.5)


def measured(quick: bool) -> Outcome:
    """Run it on this host."""
    return _run(MEASURED, quick, 0.5 if quick else 2.0)
