# SPDX-License-Identifier: MIT
"""A platform set up for an experiment, and what its routers do within a window of its own time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from shm.intrinsics import load64
from shm.layout import CLIENT, CORE, TIME_UNIT_NS
from shm.wire_layout import TALLY, TALLY_BUCKETS
from vre.bench.throughput import RFC1812
from vre.config.model import Domu, Generator
from vre.memory.address_space import view
from vre.platform.accounts import bucket_top
from vre.platform.platform import Platform

MINIMAL = "FromDevice({0}) -> ToDevice({1});"
FULL = RFC1812.replace("eth0", "{0}").replace("eth1", "{1}")
MODELLED, MEASURED = "modelled", "measured"
#: Slots of the rings of a path that is sent all it takes, measured: a core is as fast as the wire, and what it works
#: with from one of the wire's rounds to the next must neither run out nor get stuck.
_DEEP = 2048

#: Told of progress while an experiment runs.
progress: ContextVar[Callable[[str], None]] = ContextVar("progress", default=lambda text: None)


@dataclass(frozen=True)
class Flow:
    """One router with two ports of its own: what it does, where, for how much, how much is sent to it.

    `rate` in packets a second, None: as fast as it takes them (a port's line rate where it has one).
    """

    name: str
    config: str = MINIMAL
    entitlement: float = 1.0
    cores: tuple[int, ...] | None = None
    rate: float | None = None
    size: int = 64
    domu: Domu = field(default_factory=Domu)
    slots: int | None = None


@dataclass(frozen=True)
class Window:
    """What one router did in a window of `seconds`: rates by its core's clock.

    `share` is of its core's time that routers used, `busy` how much of that core's time it was in all; `missed_part`
    is of what arrived for it; `backlogged` the part of the time for which it had packets waiting without a pause.
    """

    seconds: float
    forwarded_pps: float
    offered_pps: float
    missed_part: float
    share: float
    busy: float
    ticks_per_packet: float
    mean_us: float
    backlogged: float
    percentiles_us: dict[str, float] = field(default_factory=dict)


@contextmanager
def platform(setting: str, paths: list[Flow], cores: int = 1, **options: Any) -> Iterator[Platform]:
    """Run a platform with some paths, in dilated time on this host or in virtual time on the paper's box."""
    if setting == MODELLED:
        options = {"machine": "dell2950", "clock": "virtual", **options}
    else:
        options = {"clock": "cpu", "idle": "poll", **options}
    say = progress.get()
    say(f"{len(paths)} path(s) on {cores} core(s)")
    with Platform(cores=cores, name=f"experiment{os.getpid()}", rebalance=False, say=say, **options) as box:
        for path in paths:
            here, there = f"{path.name}-in", f"{path.name}-out"
            deep = _DEEP if setting == MEASURED and path.rate is None else None
            box.nic(here, link=Generator(rate=path.rate, size=path.size), slots=path.slots or deep)
            box.nic(there, slots=deep)
            box.router(path.name, path.config.format(here, there), path.entitlement, cores=path.cores, domu=path.domu)
        box.start()
        yield box
        box.pause()
        box.halt()
        lost = [stats for stats in box.reader.routers() if stats.balance]
        if lost:
            # A figure is worth nothing where packets are missing.
            raise AssertionError(f"packets unaccounted for: {lost}")


@dataclass
class _Snapshot:
    clocks: list[int]
    used: dict[str, list[int]]
    waited: dict[str, list[int]]
    packets: dict[str, int]
    arrived: dict[str, int]
    missed: dict[str, int]
    latency: dict[str, tuple[int, int]]
    buckets: dict[str, Any]


def _snapshot(box: Platform) -> _Snapshot:
    clocks = [load64(core.address + CORE["clock_ns"]) for core in box.parts.runtime.manifest.cores]
    shot = _Snapshot(clocks, {}, {}, {}, {}, {}, {}, {})
    for stats, router in zip(box.reader.routers(), box.parts.runtime.manifest.routers, strict=True):
        name, memory = router.name, box.parts.runtime.builder.routers[router.name]
        clients = [memory.client(core) for core in range(box.model.cores)]
        shot.used[name] = [load64(client + CLIENT["used_ticks"]) for client in clients]
        shot.waited[name] = [load64(client + CLIENT["backlogged_ns"]) for client in clients]
        shot.packets[name] = stats.forwarded
        shot.missed[name] = stats.dropped.get("rx_ring_full", 0)
        shot.arrived[name] = stats.injected
        tallies = [view(at, TALLY.dtype)[0] for at in router.tallies.values()]
        shot.latency[name] = (
            sum(int(t["latency_count"]) for t in tallies),
            sum(int(t["latency_sum"]) for t in tallies),
        )
        shot.buckets[name] = sum((t["buckets"].copy() for t in tallies), np.zeros(TALLY_BUCKETS, dtype=np.int64))
    return shot


def window(box: Platform, seconds: float) -> dict[str, Window]:
    """Let a platform run for some time, and return what each router did in it."""
    before = _snapshot(box)
    progress.get()(f"at {box.elapsed():.1f} s: {seconds:g} s are measured")
    box.tend(seconds)
    after = _snapshot(box)
    on_core = [
        sum(after.used[name][core] - before.used[name][core] for name in after.used) for core in range(box.model.cores)
    ]
    found = {}
    for name, used in after.used.items():
        spent = [now - then for now, then in zip(used, before.used[name], strict=True)]
        core = int(np.argmax(spent))
        elapsed = max(1, after.clocks[core] - before.clocks[core]) / 1e9
        packets = after.packets[name] - before.packets[name]
        count, total = (a - b for a, b in zip(after.latency[name], before.latency[name], strict=True))
        found[name] = Window(
            seconds=elapsed,
            forwarded_pps=packets / elapsed,
            offered_pps=(after.arrived[name] - before.arrived[name]) / elapsed,
            missed_part=(after.missed[name] - before.missed[name]) / max(1, after.arrived[name] - before.arrived[name]),
            share=spent[core] / max(1, on_core[core]),
            busy=on_core[core] * box.parts.runtime.ns_per_tick / 1e9 / elapsed,
            ticks_per_packet=sum(spent) / max(1, packets),
            mean_us=total / count * TIME_UNIT_NS / 1000 if count else 0.0,
            backlogged=_part(after.waited[name][core] - before.waited[name][core], elapsed),
            percentiles_us=_percentiles(after.buckets[name] - before.buckets[name]),
        )
    return found


def _part(waited_ns: int, seconds: float) -> float:
    """Return what part of a window a time is: what a core accounts as it ends a slice may have begun before it."""
    return min(1.0, waited_ns / 1e9 / seconds)


def _percentiles(buckets: Any) -> dict[str, float]:
    total = int(buckets.sum())
    if total == 0:
        return {}
    sums = np.cumsum(buckets)
    return {
        name: bucket_top(int(np.searchsorted(sums, total * percent / 100))) * TIME_UNIT_NS / 1000
        for name, percent in (("p50", 50.0), ("p99", 99.0), ("p99_9", 99.9))
    }


def busy_rate(box: Platform, seconds: float) -> float:
    """Return what all routers forward together in a window, in packets a second."""
    return sum(w.forwarded_pps for w in window(box, seconds).values())
