# SPDX-License-Identifier: MIT
"""Figure 8: paths that go from dom0 through a domU and back, one of them on a core that it shares with its domU."""

from __future__ import annotations

import os
from pathlib import Path
from statistics import median

from shm.intrinsics import load64
from shm.layout import CORE, TASK
from vre.bench.throughput import RFC1812
from vre.config.model import Domu, Generator
from vre.domu.supervisor import DomuSupervisor
from vre.experiments.outcome import Outcome, at_least, at_most, near
from vre.experiments.precondition import WORK, contested, overload, with_work
from vre.experiments.setup import MEASURED, MODELLED, Flow, platform, progress, window
from vre.platform.platform import Platform

TITLE = "paths split between dom0 and domU over the I/O channel (section 3.4, figure 8)"
SAYS = "90 Kp/s with a core for the domU, about half of that if dom0 and domU share one"

_FILE = Path(__file__).resolve().parent.parent / "demo" / "forward.py"
_CROSSING = f"FromDevice({{0}}) -> Untrusted({_FILE}:Compiled) -> ToDevice({{1}});"
#: dom0 parts of the three paths, and their domUs' cores.
_CORES = ((0, 0), (1, 3), (2, 4))


def modelled(quick: bool) -> Outcome:
    """Run it on the paper's box."""
    outcome = Outcome(MODELLED, x="path", y="forwarded (Kp/s)")
    paths = [
        Flow(f"path{i + 1}", _CROSSING, cores=(dom0,), domu=Domu(core=domu)) for i, (dom0, domu) in enumerate(_CORES)
    ]
    rates: dict[str, list[float]] = {path.name: [] for path in paths}
    with platform(MODELLED, paths, cores=5) as box:
        box.tend(0.1)
        for repeat in range(3):
            for name, w in window(box, 0.1 if quick else 0.5).items():
                rates[name].append(w.forwarded_pps / 1e3)
                outcome.samples.append({"path": name, "repeat": repeat, "Kp/s": w.forwarded_pps / 1e3})
    for i, (path, (dom0, domu)) in enumerate(zip(paths, _CORES, strict=True)):
        rate = outcome.point("forwarded", i + 1, rates[path.name])
        outcome.rows.append({"path": path.name, "dom0 core": dom0, "domU core": domu, "Kp/s": round(rate, 2)})
        if dom0 != domu:
            outcome.criteria.append(near(f"{path.name} in Kp/s", rate, 90, 0.1))
    alone = median(rates["path2"] + rates["path3"])
    outcome.criteria.append(near("path 1 against the others", median(rates["path1"]) / alone, 0.5, 0.1))
    return outcome


def measured(quick: bool) -> Outcome:
    """Measure the channel here: its rate, what it costs on both sides, and its effect on the paths beside it."""
    outcome = Outcome(MEASURED, x="element", y="Mp/s through the domU")
    for at, kind in enumerate(("Compiled", "Interpreted")):
        found = _channel(outcome, kind, 3 if quick else 5, 0.5 if quick else 2.0)
        rate = outcome.point("through the domU", at, [row["Mp/s"] for row in found])
        costs = {key: median(row[key] for row in found) for key in ("domU Mp/s of CPU", "dom0 ns/packet")}
        outcome.rows.append({"element": kind, "Mp/s": round(rate, 3)} | {k: round(v, 3) for k, v in costs.items()})
        if kind == "Compiled":
            outcome.criteria.append(at_least("Mp/s through a compiled element", rate, 1.0))
            outcome.criteria.append(at_most("ns a packet of dom0's", costs["dom0 ns/packet"], 150))
        else:
            least = costs["domU Mp/s of CPU"] * 1e3
            outcome.criteria.append(at_least("Kp/s in a second of an interpreted element's CPU", least, 150))
    shares = _beside(outcome, quick)
    for name in ("second", "third") if shares else ():
        outcome.criteria.append(near(f"the {name} router's share beside it", shares[name], 1 / 3, 0.01))
    return outcome


def _channel(outcome: Outcome, kind: str, repeats: int, seconds: float) -> list[dict[str, float]]:
    rows = []
    with Platform(cores=1, name=f"experiment{os.getpid()}", clock="cpu", idle="poll", say=progress.get()) as box:
        box.nic("eth0")
        config = f"InfiniteSource(LENGTH 60) -> Untrusted({_FILE}:{kind}) -> c :: Counter -> Discard;"
        box.router("red", config, domu=Domu(deadline_ns=500_000_000))
        box.start()
        box.tend(seconds)
        for _ in range(repeats):
            before = _counts(box)
            box.tend(seconds)
            crossed, tried, cpu, clock, ticks = (b - a for a, b in zip(before, _counts(box), strict=True))
            # What the source makes and the full channel drops costs dom0 too, but is no packet that crossed.
            row = {"Mp/s": crossed / clock * 1e3, "domU Mp/s of CPU": crossed / max(cpu, 1) * 1e3}
            row |= {
                "dom0 ns/packet": ticks * box.parts.runtime.ns_per_tick / max(crossed, 1),
                "tried": tried / max(crossed, 1),
            }
            rows.append(row)
            outcome.samples.append({"element": kind, **row})
    return rows


def _counts(box: Platform) -> tuple[int, int, int, int, int]:
    assert isinstance(box.parts.domus, DomuSupervisor)
    domu = box.parts.domus.domus["red"]
    tasks = [task.address for task in box.parts.runtime.manifest.routers[0].tasks]
    made = load64(tasks[0] + TASK["packets"])
    clock = load64(box.parts.runtime.manifest.cores[0].address + CORE["clock_ns"])
    ticks = sum(load64(task + TASK["used_ticks"]) for task in tasks)
    domu.schedstat.look(0.0)
    return int(box.read("red/c.count")), made, domu.schedstat.ran_ns, clock, ticks


def _beside(outcome: Outcome, quick: bool) -> dict[str, float]:
    """Return the shares of a crossing router and of two others on an overloaded core."""
    with Platform(cores=1, name=f"experiment{os.getpid()}", clock="cpu", idle="poll", say=progress.get()) as box:
        for nic in ("eth0", "eth1"):
            box.nic(nic, link=Generator() if nic == "eth0" else None)
        config = f"FromDevice(eth0) -> {WORK} -> Untrusted({_FILE}:Compiled) -> ToDevice(eth1);"
        box.router("crossing", config, domu=Domu(deadline_ns=500_000_000))
        for name in ("second", "third"):
            box.router(name, with_work(RFC1812))
        box.start()
        overload(box, ("crossing", "second", "third"), 0.5, outcome)
        shares: dict[str, list[float]] = {}
        for found in contested(box, 1.0 if quick else 3.0, 3, outcome):
            for name, w in found.items():
                shares.setdefault(name, []).append(w.share)
                outcome.samples.append({"beside": name, "share": w.share, "backlogged": w.backlogged})
    return {name: median(found) for name, found in shares.items()}
