# SPDX-License-Identifier: MIT
"""Figure 3: a port with a single queue, sorted in software, against one with a queue for each router."""

from __future__ import annotations

from statistics import median
from typing import Any

from vre.config.model import Generator
from vre.experiments.outcome import Outcome, at_least, near
from vre.experiments.precondition import contested, overload, with_work
from vre.experiments.setup import FULL, MEASURED, MODELLED, Window, window
from vre.platform.platform import Platform

TITLE = "one port, two paths with 67 % and 33 % of a core, the second offered twice as much (section 2.1.3, figure 3)"
SAYS = "single queue: past overload rates follow arrivals; multi-queue: they follow the promised shares"

PATHS = ("high", "low")
#: Of the core's capacity; the low path gets two thirds of each.
LOADS = (0.3, 0.6, 0.9, 1.2, 1.6, 2.2, 3.0)


def _platform(setting: str, queues: str, rate: float | None) -> Platform:
    options: dict[str, Any] = (
        {"machine": "dell2950", "clock": "virtual"} if setting == MODELLED else {"clock": "cpu", "idle": "poll"}
    )
    box = Platform(cores=1, rebalance=False, **options)
    rates = {"high": rate / 3, "low": rate * 2 / 3} if rate else None
    # Two ports' traffic on one: the emulated port is as fast as the two gigabit ports of the paper's emulation.
    box.nic("eth0", link=Generator(rates=rates), queues=queues, speed=3e9 if setting == MODELLED else None)
    box.nic("eth1", speed=3e9 if setting == MODELLED else None)
    config = (FULL if setting == MODELLED else with_work(FULL)).format("eth0", "eth1")
    box.router("high", config, entitlement=2)
    box.router("low", config)
    return box


def _end(box: Platform) -> None:
    """Stop all traffic, and check that no packet is missing."""
    box.pause()
    box.halt()
    if any(stats.balance for stats in box.reader.routers()):
        raise AssertionError("packets unaccounted for")


def _run(setting: str, quick: bool, seconds: float) -> Outcome:
    outcome = Outcome(setting, x="offered (Mp/s)", y="forwarded (Mp/s)")
    #: The windows at the highest load, by kind of port.
    last: dict[str, list[dict[str, Window]]] = {}
    rounds = ""
    # First the one that shows whether packets wait for both paths: in the other they are as expensive.
    for queues in ("multi", "single"):
        with _platform(setting, queues, None) as box:
            box.start()
            if setting == MEASURED and queues == "multi":
                overload(box, PATHS, seconds, outcome)
                rounds = box.read("high/work.rounds")
            elif setting == MEASURED:
                for name in PATHS:
                    box.write(f"{name}/work.rounds", rounds)
            box.tend(seconds)
            capacity = sum(w.forwarded_pps for w in window(box, seconds).values())
            for load in LOADS[1::2] if quick else LOADS:
                # Surely overloaded at the end, whatever the host's noise.
                load = load * (1.5 if setting == MEASURED and load > 2 else 1.0)
                box.set_rate("high", load * capacity / 3)
                box.set_rate("low", load * capacity * 2 / 3)
                box.tend(seconds / 2)
                judged = setting == MEASURED and queues == "multi" and load > 2
                found = contested(box, seconds, 3, outcome) if judged else [window(box, seconds) for _ in range(3)]
                if outcome.unjudged:
                    break
                _record(outcome, queues, load, capacity, found)
                last[queues] = found
            _end(box)
        if outcome.unjudged:
            return outcome
    _judge(outcome, last["single"], last["multi"])
    return outcome


def _record(outcome: Outcome, queues: str, load: float, capacity: float, found: list[dict[str, Window]]) -> None:
    """Enter what was forwarded at a load into the outcome."""
    for name in PATHS:
        windows = [one[name] for one in found]
        rates = [w.forwarded_pps / 1e6 for w in windows]
        outcome.point(f"{name}, {queues}", load * capacity / 1e6, rates)
        for w in windows:
            sample = {"queues": queues, "load": load, "path": name, "rate": w.forwarded_pps}
            outcome.samples.append(sample | {"share": w.share, "backlogged": w.backlogged})
        outcome.rows.append(
            {
                "queues": queues,
                "offered Mp/s": round(load * capacity / 1e6, 3),
                "path": name,
                "Mp/s": round(median(rates), 4),
                "share of CPU": round(median(w.share for w in windows), 4),
            }
        )


def _judge(outcome: Outcome, single: list[dict[str, Window]], multi: list[dict[str, Window]]) -> None:
    """Compare what was forwarded at the highest load with what was promised."""
    ratio = median(w["low"].forwarded_pps / w["high"].forwarded_pps for w in single)
    outcome.criteria.append(near("single queue, overload: low to high, as they arrive", ratio, 2.0, 0.05))
    share = median(w["high"].share / (w["high"].share + w["low"].share) for w in multi)
    outcome.criteria.append(near("multi-queue, overload: the high path's share of CPU", share, 2 / 3, 0.02))
    better = median(w["high"].forwarded_pps for w in multi) / median(w["high"].forwarded_pps for w in single)
    outcome.criteria.append(at_least("the high path's rate, multi-queue against single", better, 1.3))


def modelled(quick: bool) -> Outcome:
    """Run it on the paper's box."""
    return _run(MODELLED, quick, 0.1 if quick else 0.3)


def measured(quick: bool) -> Outcome:
    """Run it on this host."""
    return _run(MEASURED, quick, 0.3 if quick else 1.0)
