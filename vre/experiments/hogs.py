# SPDX-License-Identifier: MIT
"""Figure 10: forwarding in domUs with NIC rings of their own, beside domains that hog the memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from statistics import median

from vre.config.model import Domu, Generator
from vre.domu.supervisor import DomuSupervisor
from vre.experiments.outcome import Outcome, at_least, at_most, near
from vre.experiments.setup import MEASURED, MINIMAL, MODELLED, progress
from vre.platform.platform import Platform
from vre.supervision.cpus import cpus

TITLE = "domUs with directly mapped interfaces, beside memory-intensive domains (section 3.4, figure 10)"
SAYS = "7.3 Mp/s in all with no hog, less with each one, and the same where dom0 forwards"

_HOG = "InfiniteSource(LENGTH 60) -> MemoryHog(1) -> Discard;"
_BIG_HOG = _HOG.replace("(1)", "(32)")
_HOGS = 3


@contextmanager
def _platform(count: int, hogs: int, direct: bool, memory_shares: bool) -> Iterator[Platform]:
    """Run forwarding domains and hogs on the paper's box, each on a core of its own."""
    say = progress.get()
    say(f"{'domUs' if direct else 'dom0'}, {hogs} hog(s), memory {'divided' if memory_shares else 'not divided'}")
    with Platform(
        cores=count + hogs,
        name=f"experiment{os.getpid()}",
        machine="dell2950",
        clock="virtual",
        rebalance=False,
        memory_shares=memory_shares,
        say=say,
    ) as box:
        for i in range(count):
            here, there = f"in{i}", f"out{i}"
            box.nic(here, link=Generator())
            box.nic(there)
            where = {"direct": True, "domu": Domu(core=i)} if direct else {"cores": (i,)}
            box.router(f"path{i}", MINIMAL.format(here, there), **where)
        for i in range(hogs):
            box.router(f"hog{i}", _HOG, cores=(count + i,))
        box.start()
        yield box
        box.pause()
        box.halt()
        if any(stats.balance for stats in box.reader.routers()):
            raise AssertionError("packets unaccounted for")


def _window(box: Platform, seconds: float) -> tuple[float, float]:
    """Return what all paths forward, in Mp/s, and the least one's part of all memory accesses."""
    before = box.reader.routers()
    box.tend(seconds)
    after = box.reader.routers()
    rate, lines = 0.0, {}
    for then, now in zip(before, after, strict=True):
        rate += (now.forwarded - then.forwarded) / seconds / 1e6
        lines[now.name] = now.used_lines - then.used_lines
    return rate, min(count for name, count in lines.items() if name.startswith("path")) / sum(lines.values())


def modelled(quick: bool) -> Outcome:
    """Run it on the paper's box."""
    outcome = Outcome(MODELLED, x="memory-intensive domains", y="forwarded (Mp/s)")
    seconds = 0.02 if quick else 0.1
    rates: dict[tuple[str, int], float] = {}
    shares: dict[int, float] = {}
    for kind, direct, divided in (("domUs", True, False), ("dom0", False, False), ("domUs, divided", True, True)):
        for hogs in (_HOGS,) if divided and quick else range(_HOGS + 1):
            with _platform(5, hogs, direct, divided) as box:
                # The supervisor looks once a second.
                box.tend(1.05 if divided else 0.02)
                found = [_window(box, seconds) for _ in range(3)]
            rates[kind, hogs] = outcome.point(kind, hogs, [rate for rate, _ in found])
            shares[hogs] = median(part for _, part in found)
            outcome.samples += [{"kind": kind, "hogs": hogs, "Mp/s": rate, "part": part} for rate, part in found]
            outcome.rows.append(
                {
                    "forwarding in": kind,
                    "hogs": hogs,
                    "Mp/s": round(rates[kind, hogs], 3),
                    "least path's part of all accesses": round(shares[hogs], 4),
                    "fair": round(1 / (5 + hogs), 4),
                }
            )
    outcome.notes.append(
        "the model's direct mapping is the domU's graph on its core: it has nothing of dom0's to pay for"
    )
    outcome.criteria.append(near("no hog: Mp/s", rates["domUs", 0], 7.3, 0.1))
    for hogs in range(1, _HOGS + 1):
        falls = rates["domUs", hogs] / rates["domUs", hogs - 1]
        outcome.criteria.append(at_most(f"{hogs} hog(s): Mp/s, against one less", falls, 0.95))
    for hogs in range(_HOGS + 1):
        ratio = rates["dom0", hogs] / rates["domUs", hogs]
        outcome.criteria.append(near(f"{hogs} hog(s): dom0 against domUs", ratio, 1.0, 0.05))
    for hogs in (_HOGS,) if quick else range(1, _HOGS + 1):
        fair = shares[hogs] * (5 + hogs)
        outcome.criteria.append(at_least(f"{hogs} hog(s), divided: least path's accesses, against fair", fair, 0.98))
    return outcome


def measured(quick: bool) -> Outcome:
    """Measure what a packet costs here beside domUs that hog the memory."""
    outcome = Outcome(MEASURED, x="memory-intensive domUs", y="packets in a second of the forwarder's CPU (M)")
    costs: dict[tuple[str, int], float] = {}
    for kind in ("domU", "dom0"):
        for hogs in (0, _HOGS) if quick else range(_HOGS + 1):
            found = _cost(kind == "domU", hogs, 0.5 if quick else 2.0)
            costs[kind, hogs] = median(ns for ns, _ in found)
            outcome.point(kind, hogs, [1e3 / ns for ns, _ in found])
            outcome.samples += [{"kind": kind, "hogs": hogs, "ns": ns, "Mp/s": rate} for ns, rate in found]
            row = {"forwarding in": kind, "hogs": hogs, "ns of CPU/packet": round(costs[kind, hogs], 1)}
            outcome.rows.append(row | {"Mp/s": round(median(rate for _, rate in found), 3)})
    for kind in ("domU", "dom0"):
        more = costs[kind, _HOGS] / costs[kind, 0]
        outcome.criteria.append(at_least(f"{kind}: ns a packet beside {_HOGS} hogs, against none", more, 0.9))
    if len(cpus()) < _HOGS + 3:
        outcome.notes.append(
            f"{len(cpus())} processors: hogs and the wire share one, so rates fall for lack of its time, too; "
            "the cost of a packet is what memory and caches make of it"
        )
    return outcome


def _cost(direct: bool, hogs: int, seconds: float) -> list[tuple[float, float]]:
    """Return (ns of the forwarder's CPU time a packet, Mp/s) of some windows."""
    patient = Domu(deadline_ns=500_000_000)
    say = progress.get()
    say(f"forwarding in {'a domU' if direct else 'dom0'}, {hogs} hog(s)")
    found = []
    with Platform(cores=1, name=f"experiment{os.getpid()}", clock="cpu", idle="poll", say=say) as box:
        box.nic("in", link=Generator())
        box.nic("out")
        # With the only path mapped directly, the emulated core is empty, and its processor free for the domU.
        box.router("path", MINIMAL.format("in", "out"), direct=direct, domu=replace(patient, core=0))
        for i in range(hogs):
            # Mapped directly, too, so that nothing is left to do for the emulated core.
            box.router(f"hog{i}", _BIG_HOG, direct=True, domu=patient)
        box.start()
        box.tend(seconds)
        for _ in range(3):
            before, begun = _used(box, direct), box.now()
            box.tend(seconds)
            cpu, packets = (b - a for a, b in zip(before, _used(box, direct), strict=True))
            found.append((cpu / max(1, packets), packets / (box.now() - begun) / 1e6))
        box.pause()
        box.halt()
        if any(stats.balance for stats in box.reader.routers()):
            raise AssertionError("packets unaccounted for")
    return found


def _used(box: Platform, direct: bool) -> tuple[float, int]:
    """Return the CPU time that the forwarder has used, in ns, and the packets that it has forwarded."""
    stats = box.handle("path").stats()
    if not direct:
        return stats.used_ticks * box.parts.runtime.ns_per_tick, stats.forwarded
    assert isinstance(box.parts.domus, DomuSupervisor)
    domu = box.parts.domus.domus["path"]
    domu.schedstat.look(0.0)
    return domu.schedstat.ran_ns, stats.forwarded
