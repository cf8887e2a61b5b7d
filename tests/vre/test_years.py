# SPDX-License-Identifier: MIT
"""A platform whose clocks and counters are years on does what it did before: the demo and more, in virtual time."""

from __future__ import annotations

from pathlib import Path

import pytest

import vre
from shm.intrinsics import load64, store64
from shm.layout import CORE, MODEL_BITS
from tests import ranges
from tests.ranges import Shift
from vre.config.model import Generator
from vre.config.reader import load_model
from workers.core.clock import Calibration
from workers.core.stride import REBASE

DEMO = Path(vre.__file__).parent / "demo" / "demo.toml"
HZ = 2.66e9
YEARS = round(10 * 365 * 86400 * HZ)
RATE = Calibration(0, 1e9 / HZ).rate
CASES = {
    "the host has been up for ten years": Shift(up=YEARS),
    "ten years": Shift.of(YEARS, RATE, count=1 << 58, passes=REBASE - 1_000_000),
    "2**62": Shift.of((1 << 62) - 1, RATE, count=1 << 62, passes=REBASE - 1),
}
OTHERS = """
RatedSource(RATE 200000) -> Strip(14) -> MarkIPHeader -> SetIPAddress(10.0.0.7)
-> arp :: ARPQuerier(10.0.0.1, 2:0:0:0:0:1, TIMEOUT 0.5, POLL_TIMEOUT 0.003) -> ToDevice(eth1);
FromDevice(eth0) -> q :: Queue -> Unqueue -> Counter -> [1] arp;
"""


def test_every_number_in_shared_memory_is_known():
    """A field that is new must be named in tests/ranges.py: what it counts, or that it stands still."""
    assert ranges.unclassified() == []


def test_all_kinds_of_times_are_in_use(platform_of):
    with platform_of() as box:
        box.parts.runtime.engine.tend(0.01)
        used = {name for kind, found, name in ranges.fields(box) if kind == "ns" and (found[name] > 0).any()}
        assert used >= {"clock_ns", "free", "last_ns", "due_ns", "fresh_until", "learnt", "asked", "next_ns", "due"}


@pytest.fixture
def platform_of():
    def make():
        model = load_model(DEMO, "years")
        box = vre.Platform(machine="dell2950", clock="virtual", cores=1, memory=40e6)
        box.nic("eth0", link=Generator(rate=1.7e6, size=64, flows=20), speed=1e9)
        box.nic("eth1", speed=1e9)
        # What is random would be so by the number of the frame.
        box.link("eth1", delay="300us", rate="900Mbps")
        for name, router in model.routers.items():
            box.model.routers[name] = router
        box.router("white", OTHERS, entitlement=1)
        box.start()
        # A core that may make so many memory accesses, and no more.
        store64(box.parts.runtime.builder.cores[0].address + CORE["line_pace"], round(HZ / 30e6 * (1 << MODEL_BITS)))
        box.handle("white").write("arp.insert", "10.0.0.7 2:0:0:0:0:7")
        return box

    return make


def run(box, by):
    """Run on, with all numbers shifted meanwhile; return all that has been counted, and who was moved back."""
    box.parts.runtime.engine.tend(0.004)
    ranges.shift(box, by)
    moved_back = load64(box.parts.runtime.builder.cores[0].address + CORE["rebases"])
    box.parts.runtime.engine.tend(0.012)
    moved_back -= load64(box.parts.runtime.builder.cores[0].address + CORE["rebases"])
    ranges.shift(box, by, -1)
    assert all(stats.balance == 0 and stats.forwarded > 0 for stats in box.reader.routers())
    return ranges.snapshot(box), -moved_back, [stats.as_dict() for stats in box.reader.routers()]


def test_clocks_and_counters_that_are_years_on_change_nothing(platform_of):
    with platform_of() as box:
        expected, _, shares = run(box, Shift())
    for name, by in CASES.items():
        with platform_of() as box:
            found, moved_back, stats = run(box, by)
        assert {key: (value, expected[key]) for key, value in found.items() if value != expected[key]} == {}, name
        assert stats == shares, name
        assert moved_back == (by.passes > 0), name


FORWARD = "FromDevice(eth0) -> Counter -> ToDevice(eth1);"


def used_meanwhile(box, seconds):
    """Return the part of the core that each router has had."""
    before = box.reader.used()
    box.tend(seconds)
    used = {name: ticks - before[name][0] for name, (ticks, _) in box.reader.used().items()}
    return {name: ticks / sum(used.values()) for name, ticks in used.items()}


def three(entitlements):
    box = vre.Platform(machine="dell2950", clock="virtual")
    box.nic("eth0", link=Generator(), speed=10e9)
    box.nic("eth1", speed=10e9)
    for name, entitlement in entitlements.items():
        box.router(name, FORWARD, entitlement=entitlement)
    return box


def test_one_entitled_to_a_million_times_as_much_has_it_when_he_comes_and_nobody_waits_when_he_goes():
    with three({"one": 1, "other": 1, "large": 1}) as box:
        box.start()
        for _ in range(2):
            box.write("large.entitlement", "1e6")
            box.tend(0.002)
            assert used_meanwhile(box, 0.02)["large"] > 0.999
            box.write("large.entitlement", "1")
            box.tend(0.002)
            assert used_meanwhile(box, 0.02) == pytest.approx(dict.fromkeys(("one", "other", "large"), 1 / 3), abs=0.01)


def test_the_small_one_alone_for_years_takes_nothing_from_the_large_one():
    with three({"small": 1e-3, "large": 1e6}) as box:
        box.start()
        box.rest("large", True)
        box.tend(0.02)
        for _ in range(3):
            ranges.shift(box, Shift(passes=REBASE - 1))
            assert used_meanwhile(box, 0.005)["small"] > 0.9
        box.rest("large", False)
        box.tend(0.002)
        assert used_meanwhile(box, 0.02)["large"] > 0.999
        box.rest("large", True)
        box.tend(0.002)
        assert used_meanwhile(box, 0.005)["small"] > 0.9
