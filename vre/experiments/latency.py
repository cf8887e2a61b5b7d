# SPDX-License-Identifier: MIT
"""Figure 2: latency of six static paths, each on a core of its own, as the load grows past what they forward."""

from __future__ import annotations

from statistics import median

from vre.config.machines import DELL2950
from vre.config.model import RING_SLOTS
from vre.experiments.outcome import Outcome, at_most
from vre.experiments.setup import MEASURED, MINIMAL, MODELLED, Flow, platform, window

TITLE = "mean latency of six paths on six cores against the load (section 2.1.1, figure 2)"
SAYS = "below 700 us up to 1.2 Mp/s a path, then bounded by the ring: below 1.5 ms"

NAMES = tuple(f"path{i}" for i in range(6))
#: Offered to each path: in Mp/s on the paper's box, in parts of a path's capacity on this host.
_LOADS = {MODELLED: (0.1, 0.4, 0.8, 1.1, 1.2, 1.3, 1.48), MEASURED: (0.05, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2)}


def _run(setting: str, quick: bool, seconds: float) -> Outcome:
    outcome = Outcome(setting, x="offered load a path (Mp/s)", y="mean latency (us)")
    paths = [Flow(name, MINIMAL, cores=(core,)) for core, name in enumerate(NAMES)]
    with platform(setting, paths, cores=len(paths)) as box:
        box.tend(seconds)
        capacity = median(w.forwarded_pps for w in window(box, seconds).values())
        growth = 0.0
        means: dict[float, float] = {}
        for load in _LOADS[setting][:: 2 if quick else 1] + _LOADS[setting][-1:]:
            rate = load * (1e6 if setting == MODELLED else capacity)
            for name in NAMES:
                box.set_rate(name, rate)
            box.tend(seconds)
            found = [window(box, seconds) for _ in range(3)]
            mean = [median(w[name].mean_us for name in NAMES) for w in found]
            outcome.point("mean of six paths", rate / 1e6, mean)
            means[load] = median(mean)
            growth = max(growth, mean[-1] - mean[0])
            middle = found[1][NAMES[0]]
            outcome.rows.append(
                {"offered Mp/s": round(rate / 1e6, 3), "forwarded Mp/s": round(middle.forwarded_pps / 1e6, 3)}
                | {"mean us": round(means[load], 1)}
                | {f"{name} us": round(value, 1) for name, value in middle.percentiles_us.items()}
            )
            outcome.samples += [
                {"load": load, "repeat": i, "path": name, "mean_us": w[name].mean_us} | w[name].percentiles_us
                for i, w in enumerate(found)
                for name in NAMES
            ]
    if setting == MODELLED:
        bound = 1500.0
        flat = max(mean for load, mean in means.items() if load <= 1.2)
        outcome.criteria.append(at_most("largest mean latency up to 1.2 Mp/s a path (us)", flat, 700))
        outcome.criteria.append(at_most("largest mean latency past it (us)", max(means.values()), bound))
        ring = DELL2950.slots() / 1.2
        outcome.notes.append(f"a full NIC buffer is {ring:.0f} us of traffic at 1.2 Mp/s")
    else:
        # Two rings, and what a core waits for another that shares its processor.
        bound = 2 * RING_SLOTS / capacity * 1e6 + 1000
        low = max(mean for load, mean in means.items() if load <= 0.6)
        outcome.criteria.append(at_most("mean latency up to 60 % load, against its bound", low / bound, 0.5))
        outcome.criteria.append(at_most("largest mean latency (us): what the rings hold", max(means.values()), bound))
    # An unbounded queue would grow by far more between windows that are seconds apart.
    outcome.criteria.append(at_most("growth: third window less the first, against the bound", growth / bound, 0.1))
    return outcome


def modelled(quick: bool) -> Outcome:
    """Run it on the paper's box."""
    return _run(MODELLED, quick, 0.02 if quick else 0.1)


def measured(quick: bool) -> Outcome:
    """Run it on this host."""
    return _run(MEASURED, quick, 0.5 if quick else 2.0)
