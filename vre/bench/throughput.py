# SPDX-License-Identifier: MIT
"""Measuring the whole platform on this machine, against its own limit.

Real platforms: generator and sink in the wire process, one worker on one core. The settings take turns
on the same core many times a second, so that noise of the machine affects all of them; compare
them within one run.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vre.config.model import Generator
from vre.errors import PlatformEnded
from vre.platform.platform import Platform

RAW = "FromDevice(eth0) -> Touch -> ToDevice(eth1);"
MINIMAL = "FromDevice(eth0) -> EtherMirror -> ToDevice(eth1);"
#: The fast path of a full RFC 1812 router, the checksum verified.
RFC1812 = """
FromDevice(eth0) -> Paint(1) -> c :: Classifier(12/0806 20/0001, 12/0806 20/0002, 12/0800, -);
c[0] -> x :: Discard; c[1] -> x; c[3] -> x;
c[2] -> Strip(14) -> CheckIPHeader
  -> DirectIPLookup(198.18.0.0/16 0, 198.19.0.0/16 0, 10.0.0.0/8 10.1.1.1 0)
  -> DropBroadcasts -> p :: PaintTee(2) -> IPGWOptions(10.0.0.1) -> FixIPSrc(10.0.0.1) -> DecIPTTL
  -> IPFragmenter(1500) -> EtherEncap(0x0800, 02:00:00:00:00:01, 02:00:00:00:00:02)
  -> Queue(1000) -> Counter -> ToDevice(eth1);
p[1] -> x;
"""
ROUTER_COUNTS = (1, 2, 4, 16, 64)


@dataclass(frozen=True)
class Setting:
    """One router to measure, with its own links."""

    key: str
    config: str
    size: int | str = 64


SETTINGS = (
    Setting("raw_ring_mpps", RAW),
    Setting("minimal_mpps", MINIMAL),
    Setting("rfc1812_mpps", RFC1812),
    Setting("rfc1812_1024_mpps", RFC1812, 1024),
    Setting("rfc1812_imix_mpps", RFC1812, "imix"),
)
#: How long each setting has the core in turn: short compared with the noisy intervals of a shared host.
SLOT_S = 0.1


def measure_in_turn(rounds: int) -> dict[str, list[float]]:
    """Return the Mp/s of every setting in every round; one platform, one core, one setting sending at a time."""
    with Platform(cores=1, name=f"bench{os.getpid()}", clock="wall", idle="poll") as box:
        for setting in SETTINGS:
            here, there = f"in-{setting.key}", f"out-{setting.key}"
            box.nic(here, link=Generator(size=setting.size))
            box.nic(there)
            box.router(setting.key, setting.config.replace("eth0", here).replace("eth1", there))
        return _take_turns(box, {setting.key: [setting.key] for setting in SETTINGS}, rounds)


def measure_counts(rounds: int) -> dict[str, list[float]]:
    """Return the Mp/s that 1, 2, 4, 16 and 64 RFC 1812 routers forward together on one core.

    All 64 exist throughout; those that are not counted get no packets.
    """
    with Platform(cores=1, name=f"bench{os.getpid()}", clock="wall", idle="poll") as box:
        box.nic("eth0", link=Generator())
        box.nic("eth1")
        names = [f"r{i}" for i in range(max(ROUTER_COUNTS))]
        for name in names:
            box.router(name, RFC1812)
        return _take_turns(box, {str(count): names[:count] for count in ROUTER_COUNTS}, rounds)


def _take_turns(box: Platform, groups: dict[str, list[str]], rounds: int) -> dict[str, list[float]]:
    """Return each group's rate in every round; only one group of routers gets packets at a time."""
    box.start()
    samples: dict[str, list[float]] = {key: [] for key in groups}

    def rest(names: list[str], resting: bool) -> None:
        for name in names:
            box.rest(name, resting)
        box.tend(SLOT_S / 10)

    rest(list(box.model.routers), True)
    for _ in range(rounds):
        for key, names in groups.items():
            rest(names, False)
            samples[key].append(_rate(box, names, SLOT_S))
            rest(names, True)
    box.pause()
    box.halt()
    lost = [stats for stats in box.reader.routers() if stats.balance]
    if lost:
        # A rate is meaningless if packets are missing.
        raise AssertionError(f"packets unaccounted for: {lost}")
    return samples


def _rate(box: Platform, names: list[str], seconds: float) -> float:
    """Return the rate that routers send over some time, in Mp/s."""

    def sent() -> int:
        return sum(box.handle(name).sent() for name in names)

    before, begun = sent(), time.perf_counter()
    box.tend(seconds)
    return (sent() - before) / (time.perf_counter() - begun) / 1e6


def decision_ns(repeats: int, clients: int = 3) -> list[float]:
    """Return the cost of a scheduling decision in ns: pick, stamp, call an empty path, read the clock, charge."""
    from shm.intrinsics import store64
    from shm.layout import CORE, IDLE_PASS, TASK
    from shm.run_directory import RunDirectory
    from shm.segment import claim_window, free_window
    from vre.memory.address_space import AddressSpace, view
    from vre.memory.layout import Builder
    from vre.memory.placed import lay_out
    from vre.memory.wire import Links
    from workers.compiler.compile import compile_kernel, empty_path
    from workers.core.clock import calibrate, install, read_ticks
    from workers.core.slice import run_slice

    box = Platform(name=f"bench{os.getpid()}", idle="poll")
    for i in range(clients):
        box.router(f"r{i}", "InfiniteSource -> Discard;")
    directory, base = RunDirectory(box.model.name), claim_window("bench")
    directory.acquire()
    builder = Builder(box.model, AddressSpace(base, directory.prefix))
    links = Links(builder)
    try:
        builder.space.create()
        builder.fill()
        lay_out(builder)
        links.fill()
        ticks, run_slice, path = compile_kernel(read_ticks), compile_kernel(run_slice), empty_path()
        calibration = calibrate(ticks)
        install(links.manifest(), calibration)
        for memory in builder.routers.values():
            store64(memory.program.tasks[0] + TASK["function"], path.address)
        place = builder.cores[0]
        core = view(place.address, CORE.dtype)[0]
        costs = []
        for _ in range(repeats):
            before, begun = int(core["decisions"]), ticks()
            run_slice(place.address, begun + calibration.ticks(20e6))
            costs.append(calibration.ns(ticks() - begun) / (int(core["decisions"]) - before))
        assert (view(place.passes, "i8", clients) != IDLE_PASS).all()
        return costs
    finally:
        for segment in builder.space.segments.values():
            segment.detach()
        directory.release()
        free_window(base)


def run(seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Run all measurements.

    Parameters
    ----------
    seconds : float
        Total time of each setting, in intervals of SLOT_S.
    say : callable
        Told what is being measured.

    Returns
    -------
    dict
        Key to `{"median", "spread", "samples"}`; `routers_mpps` maps the number of routers to such a
        record, `ratios` holds medians of ratios within one round.
    """
    rounds = max(3, round(seconds / SLOT_S))
    say(f"{len(SETTINGS)} settings in turn, {rounds} rounds")
    samples = measure_in_turn(rounds)
    say(f"1 to {max(ROUTER_COUNTS)} routers in turn, {rounds} rounds")
    many = measure_counts(rounds)
    say("scheduling decisions")
    return {
        **{key: summary(values) for key, values in samples.items()},
        "routers_mpps": {key: summary(values) for key, values in many.items()},
        "decision_ns": summary(decision_ns(rounds)),
        "ratios": {
            "rfc1812_to_raw": _ratio(samples, "rfc1812_mpps", "raw_ring_mpps"),
            "routers_64_to_1": _ratio(many, "64", "1"),
        },
    }


def _ratio(samples: dict[str, list[float]], one: str, other: str) -> dict[str, Any]:
    """Return ratios within one round; a round in which the host had no time for `other` is left out."""
    found = [a / b for a, b in zip(samples[one], samples[other], strict=True) if b]
    if not found:
        raise PlatformEnded(f"no packet was forwarded in any round of '{other}': the host is too busy to be measured")
    return summary(found)


def summary(values: list[float]) -> dict[str, Any]:
    """Return median, spread (between the quartiles) and the samples themselves."""
    low, _, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else (values * 3)
    return {"median": statistics.median(values), "spread": high - low, "samples": values}
