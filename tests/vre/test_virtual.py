# SPDX-License-Identifier: MIT
"""Virtual time: the same every time, the paper's rates, disciplines and queues compared in one process."""

from __future__ import annotations

import os

import pytest

import vre
from tests.vre.platforms import assert_accounts
from vre.bench.throughput import RFC1812
from vre.config.model import Capture, Generator
from vre.config.reader import from_text
from vre.errors import ConfigError

FORWARD = "FromDevice(eth0) -> Strip(14) -> CheckIPHeader -> DecIPTTL" \
    " -> EtherEncap(0x0800, 2:0:0:0:0:1, 2:0:0:0:0:2) -> Queue -> ToDevice(eth1);"  # fmt: skip


def box_of(discipline="exact", queues="multi", rates=None, link=None, cores=1, config=FORWARD, speed=3e9):
    box = vre.Platform(cores=cores, machine="dell2950", clock="virtual", discipline=discipline)
    box.nic("eth0", link=link or Generator(rates=rates), queues=queues, speed=speed)
    box.nic("eth1", speed=speed)
    box.router("high", config, entitlement=2)
    box.router("low", config)
    return box


def test_the_same_model_gives_the_same_bytes(tmp_path):
    captured = []
    for i in range(2):
        file = tmp_path / f"{i}.pcapng"
        with box_of(link=Generator(rate=400_000, size="imix", seed=7)) as box:
            box.nic("eth1", link=Capture(str(file)), speed=1e9)
            box.run(seconds=0.02)
            assert_accounts(box)
            accounts = [stats.as_dict() for stats in box.reader.routers()]
        captured.append((file.read_bytes(), accounts))
    assert captured[0] == captured[1]
    assert len(captured[0][0]) > 100_000


def test_an_overloaded_core_is_shared_by_entitlement_and_has_the_papers_rate():
    with box_of(config=RFC1812, rates={"high": 2e6, "low": 2e6}) as box:
        box.run(seconds=0.1)
        assert_accounts(box)
        high, low = box.reader.routers()
        assert high.share == pytest.approx(2 / 3, abs=0.005)
        assert (high.forwarded + low.forwarded) / 0.1 == pytest.approx(1.3e6, rel=0.05)


@pytest.mark.parametrize(
    ("discipline", "share"),
    [("exact", 2 / 3), ("measured", 2 / 3), ("weighted", 2 / 3), ("stride", 1 / 2), ("roundrobin", 1 / 2)],
)
def test_disciplines(discipline, share):
    with box_of(discipline, rates={"high": 3e6, "low": 3e6}) as box:
        box.run(seconds=0.05)
        assert_accounts(box)
        assert box.reader.routers()[0].share == pytest.approx(share, abs=0.01)


def test_tickets_count_for_click_s_own_discipline_only():
    with box_of("stride", rates={"high": 3e6, "low": 3e6}) as box:
        box.model.routers["high"].graph = from_text("ScheduleInfo(in 3072); in :: " + FORWARD)
        box.run(seconds=0.05)
        assert box.reader.routers()[0].share == pytest.approx(3 / 4, abs=0.01)


def test_a_single_queue_follows_arrivals_and_every_frame_is_accounted_for():
    rates = {"high": 1e6, "low": 2e6}
    with box_of(queues="single", rates=rates, config=RFC1812) as box:
        box.run(seconds=0.1)
        assert_accounts(box)
        high, low = box.reader.routers()
        assert low.forwarded / high.forwarded == pytest.approx(2, rel=0.05)
    with box_of(queues="multi", rates=rates, config=RFC1812) as box:
        box.run(seconds=0.1)
        assert_accounts(box)
        high, low = box.reader.routers()
        assert high.forwarded / low.forwarded == pytest.approx(2, rel=0.05)


def test_where_memory_is_the_bottleneck_its_accesses_are_shared():
    light = "FromDevice(eth0) -> Strip(14) -> CheckIPHeader -> ToDevice(eth1);"
    lookups = "-> DirectIPLookup(198.18.0.0/16 0, 198.19.0.0/16 0) " * 8
    heavy = light.replace("-> ToDevice", lookups + "-> ToDevice")
    with vre.Platform(machine="dell2950", clock="virtual", memory=4e6) as box:
        box.nic("eth0", link=Generator(), speed=3e9)
        box.nic("eth1", speed=3e9)
        box.router("light", light)
        box.router("heavy", heavy)
        box.start()
        box.tend(1.1)
        assert [core["by_memory"] for core in box.reader.cores()] == [1]
        before = {stats.name: stats.used_lines for stats in box.reader.routers()}
        box.tend(0.5)
        lines = {stats.name: stats.used_lines - before[stats.name] for stats in box.reader.routers()}
        assert lines["heavy"] / lines["light"] == pytest.approx(1, rel=0.02)
        assert sum(lines.values()) / 0.5 == pytest.approx(4e6, rel=0.05)
        box.pause()
        assert_accounts(box)


def test_links_have_their_speed():
    with box_of(speed=1e9, link=Generator()) as box:
        box.run(seconds=0.02)
        forwarded = sum(stats.ports["eth1"] for stats in box.reader.routers())
        assert forwarded / 0.02 == pytest.approx(1.488e6, rel=0.02)


def test_live_changes_in_virtual_time():
    with box_of(cores=2, rates={"high": 2e5, "low": 2e5}) as box:
        box.start()
        box.tend(0.01)
        for core in (1, 0, 1):
            box.move("high/FromDevice@1", core)
            box.tend(0.002)
        box.write("low.entitlement", "5")
        box.replace("low", FORWARD.replace("-> DecIPTTL", "-> c :: Counter -> DecIPTTL"))
        box.tend(0.01)
        assert int(box.read("low/c.count")) > 0
        box.pause()
        assert_accounts(box)
        assert all("rx_ring_full" not in stats.dropped for stats in box.reader.routers())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clock": "virtual"}, "needs a machine that is modelled"),
        ({"machine": "dell2950"}, "it needs clock"),
        ({"machine": "dell2950", "clock": "virtual", "cores": 9}, "has 8 cores, not 9"),
        ({"discipline": "lottery"}, "there is no discipline 'lottery'"),
    ],
)
def test_bad_machines(settings, message):
    box = vre.Platform(**settings)
    box.router("r", "InfiniteSource -> Discard;")
    with box, pytest.raises(ConfigError, match=message):
        box.start()


def test_a_short_run_has_taken_as_long_as_its_traffic():
    with box_of(rates={"high": 1e5, "low": 1e5}) as box:
        box.nic("eth0", link=Generator(rate=1e5, count=1000), speed=3e9)
        ticks = []
        box.run(tick=ticks.append)
        assert sum(stats.injected for stats in box.reader.routers()) == 1000
        assert ticks[-1] == pytest.approx(0.01, rel=0.05)


@pytest.mark.slow
def test_a_thousand_routers_on_sixty_four_cores():
    with vre.Platform(cores=64, name=f"large{os.getpid()}", clock="virtual", machine="dell2950x8") as box:
        box.nic("eth0", link=Generator(rate=20_000_000), slots=16, speed=100e9)
        box.nic("eth1", slots=16, speed=100e9)
        for i in range(1000):
            box.router(f"r{i}", "FromDevice(eth0) -> Counter -> ToDevice(eth1);", entitlement=1 + i % 3)
        box.run(seconds=0.005)
        assert_accounts(box)
        assert (
            len({core for memory in box.parts.runtime.builder.routers.values() for core in memory.cores.values()}) == 64
        )
