# SPDX-License-Identifier: MIT
"""Section 2.1.1: minimal forwarding over all ports and cores, by frame size."""

from __future__ import annotations

from vre.config.model import FRAME_SIZES
from vre.experiments.outcome import Outcome, at_least, near
from vre.experiments.setup import MEASURED, MINIMAL, MODELLED, Flow, platform, window
from vre.supervision.cpus import cpus

TITLE = "minimal forwarding over all ports and cores, frames of 64 to 1,518 bytes (section 2.1.1)"
SAYS = "7.1 Mp/s of 64-byte frames, bound by memory; 1.43 Mp/s of 1,024-byte frames, the line rate of 12 ports"

#: Ports of the paper's box: six bridges, each of a pair of ports, both ways.
_PORTS = 12


def _run(setting: str, quick: bool, seconds: float) -> Outcome:
    outcome = Outcome(setting, x="frame (bytes)", y="forwarded (Mp/s)")
    cores = 8 if setting == MODELLED else max(1, len(cpus()) - 1)
    count = _PORTS if setting == MODELLED else cores
    totals: dict[int, float] = {}
    for size in (64, 1024, 1518) if quick else FRAME_SIZES:
        paths = [Flow(f"port{i}", MINIMAL, size=size) for i in range(count)]
        with platform(setting, paths, cores=cores) as box:
            box.tend(seconds)
            found = [sum(w.forwarded_pps for w in window(box, seconds).values()) / 1e6 for _ in range(3)]
        totals[size] = outcome.point("all cores", size, found)
        outcome.samples += [{"size": size, "repeat": i, "mpps": rate} for i, rate in enumerate(found)]
        outcome.rows.append(
            {
                "bytes": size,
                "Mp/s": round(totals[size], 3),
                "Gb/s": round(totals[size] * size * 8 / 1e3, 3),
                "Mp/s a core": round(totals[size] / cores, 3),
            }
        )
    if setting == MODELLED:
        outcome.criteria.append(near("64 bytes: Mp/s, bound by memory", totals[64], 7.1, 0.1))
        outcome.criteria.append(near("1,024 bytes: Mp/s, line rate of 12 ports", totals[1024], 1.43, 0.1))
    else:
        more = totals[1518] * 1518 / (totals[64] * 64)
        outcome.criteria.append(at_least("Gb/s with the largest frames, against the smallest", more, 2.0))
    return outcome


def modelled(quick: bool) -> Outcome:
    """Run it on the paper's box."""
    return _run(MODELLED, quick, 0.02 if quick else 0.1)


def measured(quick: bool) -> Outcome:
    """Run it on this host."""
    return _run(MEASURED, quick, 0.5 if quick else 2.0)
