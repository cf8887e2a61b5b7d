# SPDX-License-Identifier: MIT
"""Section 2.1.2: a path whole on one core, or its halves on two cores, near each other or far."""

from __future__ import annotations

from statistics import median

from shm.intrinsics import load64
from shm.layout import TASK
from vre.experiments.outcome import Outcome, at_least, near
from vre.experiments.setup import MEASURED, MODELLED, Flow, platform, window
from vre.platform.platform import Platform

TITLE = "two paths, whole on a core each, or cut between cores with and without a shared cache (section 2.1.2)"
SAYS = "2.9 Mp/s whole, 1.9 Mp/s cut between cores that share a cache, 1.2 Mp/s between others"

_CUT = (
    "StaticThreadSched(in FIRST, out SECOND); in :: FromDevice({0}) -> Queue(1000) -> out :: Unqueue -> ToDevice({1});"
)
#: Cores of the first and the second half of each path.
PLACES = {"whole": ((0, 0), (2, 2)), "near": ((0, 1), (2, 3)), "far": ((0, 2), (1, 3))}
_PAPER = {"whole": 2.9, "near": 1.9, "far": 1.2}


def _paths(place: str) -> list[Flow]:
    return [
        Flow(f"path{i}", _CUT.replace("FIRST", str(first)).replace("SECOND", str(second)))
        for i, (first, second) in enumerate(PLACES[place])
    ]


def _counters(box: Platform) -> dict[str, tuple[int, int]]:
    """Return every task's ticks and packets."""
    tasks = {f"{r.name}/{t.name}": t.address for r in box.parts.runtime.manifest.routers for t in r.tasks}
    return {name: (load64(at + TASK["used_ticks"]), load64(at + TASK["packets"])) for name, at in tasks.items()}


def _ns_a_packet(box: Platform, before: dict[str, tuple[int, int]]) -> float:
    """Return what a packet has cost since, in ns: in its first half and in its second, over both paths."""
    total = 0.0
    for name, (ticks, packets) in _counters(box).items():
        moved = packets - before[name][1]
        if moved > 1000:
            total += (ticks - before[name][0]) / moved
    return total * box.parts.runtime.ns_per_tick / len(PLACES["whole"])


def _run(setting: str, quick: bool, seconds: float) -> Outcome:
    outcome = Outcome(setting, x="place", y="forwarded, both paths (Mp/s)")
    rates: dict[str, float] = {}
    costs: dict[str, float] = {}
    shared = False
    for x, place in enumerate(PLACES):
        if setting == MEASURED and place == "far":
            continue  # which of this host's processors are far from each other is not ours to choose
        with platform(setting, _paths(place), cores=4, wire="shared") as box:
            shared = len(set(box.parts.runtime.plan.cpus)) == 1
            box.tend(seconds)
            found, spent = [], []
            for _ in range(3 if quick else 5):
                before = _counters(box)
                found.append(sum(w.forwarded_pps for w in window(box, seconds).values()) / 1e6)
                spent.append(_ns_a_packet(box, before))
        rates[place], costs[place] = outcome.point("both paths", x, found), median(spent)
        outcome.samples += [{"place": place, "mpps": f, "ns": c} for f, c in zip(found, spent, strict=True)]
        row = {"place": place, "Mp/s": round(rates[place], 3), "ns of cores/packet": round(costs[place], 1)}
        outcome.rows.append(row | {"paper Mp/s": _PAPER[place]})
        if setting == MODELLED:
            outcome.criteria.append(near(f"{place}: Mp/s", rates[place], _PAPER[place], 0.1))
    if setting == MEASURED:
        extra = costs["near"] - costs["whole"]
        outcome.notes.append(f"handing a packet over takes {extra:.1f} ns of cores' time more than keeping it")
        least = 1.0
        if shared:
            # Then nothing passes between caches: what is seen is the queue, a few ns of some 60.
            outcome.notes.append("all emulated cores share one processor here: no packet passes between caches")
            least = 0.9
        ratio = costs["near"] / costs["whole"]
        outcome.criteria.append(at_least("cut: ns of cores' time a packet, against whole", ratio, least))
    return outcome


def modelled(quick: bool) -> Outcome:
    """Run it on the paper's box."""
    return _run(MODELLED, quick, 0.05 if quick else 0.3)


def measured(quick: bool) -> Outcome:
    """Run it on this host."""
    return _run(MEASURED, quick, 0.5 if quick else 2.0)
