# SPDX-License-Identifier: MIT
"""Whole platforms: real processes, real shared memory, real packets, real signals."""

from __future__ import annotations

import os
import signal

import psutil
import pytest

import vre
from shm.intrinsics import load64
from shm.layout import CORE
from shm.run_directory import run_root
from shm.wire_layout import SOURCE
from tests.captures import read_capture
from tests.vre.platforms import assert_accounts, wait_for, wait_for_packets
from vre.errors import ConfigError, HandlerError, PlatformError
from workers.datapath.turn import DRAIN, RESUME

FORWARD = "FromDevice(eth0) -> Strip(14) -> CheckIPHeader -> rt :: StaticIPLookup(198.19.0.0/16 0, 0/0 1);" \
    "rt[0] -> DecIPTTL -> EtherEncap(0x0800, 2:0:0:0:0:1, 2:0:0:0:0:2) -> q :: Queue -> ToDevice(eth1); rt[1] -> Discard;"  # fmt: skip
PLAIN = "FromDevice(eth0) -> c :: Counter -> ToDevice(eth1);"


def make(cores=1, link=None, **options):
    box = vre.Platform(cores=cores, **options)
    box.nic("eth0", link=link or vre.Generator(rate=200_000))
    box.nic("eth1")
    return box


def test_the_readme_example_in_python():
    with make(link=vre.Generator(rate=100_000, size=64)) as box:
        red = box.router("red", PLAIN, entitlement=2)
        blue = box.router("blue", FORWARD)
        box.start()
        wait_for_packets(box, 1001, red, blue)
        box.halt()
        assert_accounts(box)
        assert red.stats().forwarded > 1000 and blue.stats().forwarded > 1000
        assert red.stats().entitled == pytest.approx(2 / 3)
        assert red.share() + blue.share() == pytest.approx(1)
        assert red.stats().latency_us["p50"] > 0


@pytest.mark.parametrize(("clock", "cores"), [("wall", 1), ("cpu", 1), ("auto", 3)])
def test_clocks_and_more_cores_than_processors(clock, cores):
    said = []
    with make(cores, clock=clock, say=said.append) as box:
        for i in range(cores):
            box.router(f"r{i}", PLAIN)
        box.run(seconds=0.5)
        box.halt()
        assert_accounts(box)
        if cores + 1 > len(os.sched_getaffinity(0)):
            assert any("dilated time" in text for text in said)
        pids = {core["pid"] for core in box.reader.cores()}
        assert len(pids) == cores


def test_a_killed_worker_is_replaced_and_only_the_batch_in_hand_is_lost():
    with make(2, link=vre.Generator(rate=400_000)) as box:
        red, _ = box.router("red", FORWARD, cores=(0,)), box.router("blue", PLAIN, cores=(1,))
        box.start()
        others = box.worker_pid(1)
        for _ in range(12):
            box.tend(0.05)
            victim = box.worker_pid(0)
            os.kill(victim, signal.SIGKILL)
            while box.worker_pid(0) in (0, victim):
                box.tend(0.005)
            wait_for_packets(box, 1, red)  # the path goes on
        assert len(box.events) == 12 and "killed by SIGKILL" in box.events[0]
        assert load64(box.parts.runtime.manifest.cores[0].address + CORE["restarts"]) == 12
        assert box.worker_pid(1) == others, "the other worker never noticed"
        box.pause()
        box.halt()
        assert_accounts(box)
        killed = red.stats().dropped.get("killed", 0)
        assert killed <= 12 * (DRAIN * box.model.quantum + RESUME)


@pytest.mark.slow
def test_two_hundred_kills_leak_nothing(monkeypatch):
    monkeypatch.setattr("vre.supervision.restart_policy.MAX_RESTARTS", 1000)
    process = psutil.Process()
    with make(1, link=vre.Generator(rate=2_000_000)) as box:
        red = box.router("red", FORWARD)
        blue = box.router(
            "blue",
            "FromDevice(eth0) -> Strip(14) -> CheckIPHeader -> t :: Tee(2) -> Discard; t[1] -> Queue -> Discard;",
        )
        box.start()
        box.tend(0.5)  # the first standby is there, and the descriptor that tells of its end
        descriptors = process.num_fds()
        for i in range(200):
            victim = box.worker_pid(0)
            box.tend(0.001 * (i % 20))
            os.kill(victim, signal.SIGKILL)
            while box.worker_pid(0) in (0, victim):
                box.tend(0.002)
        wait_for(box, lambda: process.num_fds() == descriptors)
        # The kills that struck one path, three times in ten seconds, were blamed on it.
        for name in {found.router for found in box.parts.watchdog.quarantined}:
            box.release(name)
        packets = blue.stats().packets
        wait_for_packets(box, 1, red)
        wait_for(box, lambda: blue.stats().packets > packets)
        box.pause()
        box.halt()
        assert_accounts(box)


def test_a_worker_that_keeps_dying_ends_the_platform(monkeypatch):
    monkeypatch.setattr("vre.supervision.restart_policy.MAX_RESTARTS", 2)
    with make() as box:
        box.router("red", PLAIN)
        box.start()
        with pytest.raises(PlatformError, match="core 0 has ended 3 times"):
            for _ in range(3):
                victim = box.worker_pid(0)
                os.kill(victim, signal.SIGKILL)
                while box.worker_pid(0) in (0, victim):
                    box.tend(0.005)


def test_a_killed_wire_is_replaced_and_no_frame_is_lost_or_counted_twice(tmp_path):
    """Twenty times, with every kind of link; the accounts say where each frame is."""
    captured = tmp_path / "out.pcapng"
    with vre.Platform() as box:
        box.nic("in", link=vre.Generator(rate=200_000))
        box.nic("mid", link=vre.Cable(to="far"))
        box.nic("far")
        box.nic("out", link=vre.Capture(str(captured)))
        one = box.router("one", "FromDevice(in) -> EtherRewrite(2:0:0:0:0:1, 2:0:0:0:0:77) -> ToDevice(mid);")
        two = box.router("two", "FromDevice(far) -> ToDevice(out);", ports={"far": {"mac": "02:00:00:00:00:77"}})
        box.start()
        worker, engine = box.worker_pid(0), box.parts.runtime.engine
        for i in range(20):
            wait_for_packets(box, 500 + i, two)
            victim = engine.wire_holder()
            os.kill(victim, signal.SIGKILL)
            wait_for(box, lambda victim=victim: engine.wire_holder() not in (0, victim))
        assert box.worker_pid(0) == worker, "the core never noticed"
        assert sum("the wire, process" in event and "killed by SIGKILL" in event for event in box.events) == 20
        box.pause()
        box.halt()
        assert_accounts(box)
        (source,) = box.parts.runtime.manifest.wire.sources
        assert one.stats().injected == load64(source.address + SOURCE["sent"])
        assert one.stats().forwarded == two.stats().injected > 0
        (capture,) = box.reader.captures()
        assert capture["sent"] == two.stats().forwarded and capture["waiting"] == 0
        assert len(read_capture(captured)) == capture["written"]
    assert not psutil.Process().children(recursive=True)


def test_a_wire_that_keeps_dying_ends_the_platform_with_a_reason(monkeypatch):
    monkeypatch.setattr("vre.supervision.restart_policy.MAX_RESTARTS", 2)
    with make() as box:
        red = box.router("red", PLAIN)
        box.start()
        wait_for_packets(box, 1000, red)
        engine = box.parts.runtime.engine
        with pytest.raises(
            PlatformError, match="the wire has ended 3 times in 10 s; the last one was killed by SIGKILL"
        ):
            for _ in range(3):
                victim = engine.wire_holder()
                os.kill(victim, signal.SIGKILL)
                wait_for(box, lambda victim=victim: engine.wire_holder() not in (0, victim))
        box.halt()
        assert_accounts(box)


def test_the_zygote_may_die_at_any_time_and_the_wire_goes_on():
    with make() as box:
        red = box.router("red", PLAIN)
        box.start()
        engine, numbers = box.parts.runtime.engine, dict(box.parts.runtime.engine.incarnations.numbers)
        zygote = engine.link.zygote.process.pid
        os.kill(zygote, signal.SIGKILL)
        wait_for(box, lambda: engine.link.zygote and engine.link.zygote.process.pid != zygote)
        assert any("it is started again" in event for event in box.events)
        assert all(engine.incarnations.numbers[pid] == numbers[pid] for pid in engine.supervisor.wires), (
            "the wire goes on"
        )
        # Workers and standbys come of the new zygote.
        for _ in range(2):
            while not (worker := box.worker_pid(0)):
                box.tend(0.005)
            os.kill(worker, signal.SIGKILL)
            while box.worker_pid(0) in (0, worker):
                box.tend(0.005)
        before = red.stats().forwarded
        box.replace("red", PLAIN)
        while red.stats().forwarded < before + 100:
            box.tend(0.005)
        assert not box.parts.watchdog.quarantined, "no path is to blame"
        box.pause()
        box.halt()
        assert_accounts(box)
    assert not psutil.Process().children(recursive=True)


@pytest.mark.slow
def test_a_zygote_that_is_stopped_is_started_again_when_a_process_is_needed(monkeypatch):
    monkeypatch.setattr("vre.supervision.zygote_link._DEAF_S", 5.0)
    with make() as box:
        red = box.router("red", PLAIN)
        box.start()
        os.kill(box.parts.runtime.engine.link.zygote.process.pid, signal.SIGSTOP)
        for _ in range(3):
            worker = box.worker_pid(0)
            os.kill(worker, signal.SIGKILL)
            while box.worker_pid(0) in (0, worker):
                box.tend(0.005)
        assert any("it is started again" in event for event in box.events)
        before = red.stats().forwarded
        while red.stats().forwarded < before + 100:
            box.tend(0.005)
        box.pause()
        box.halt()
        assert_accounts(box)


def test_nothing_is_left_open_or_mapped_by_many_platforms():
    process = psutil.Process()

    def once():
        with make() as box:
            box.router("red", PLAIN)
            box.run(seconds=0.05)

    once()
    descriptors, children = process.num_fds(), len(process.children(recursive=True))
    for _ in range(3):
        once()
    assert process.num_fds() == descriptors
    assert len(process.children(recursive=True)) == children
    assert not [m for m in process.memory_maps() if "vre." in m.path]


def test_handlers_read_write_and_change_routes_while_packets_flow():
    with make() as box:
        red = box.router("red", FORWARD)
        box.start()
        box.tend(0.2)
        assert red.read("rt.class") == "StaticIPLookup"
        assert "198.19.0.0/16\t-\t0" in red.read("rt.table")
        assert red.stats().dropped.get("discard", 0) == 0
        red.write("rt.add", "198.19.0.0/17 1")
        wait_for(box, lambda: red.stats().dropped.get("discard", 0) > 0)
        red.write("rt.remove", "198.19.0.0/17")
        assert int(red.read("q.capacity")) == 1000
        for bad in (
            "rt.add 198.19.0.0/16 0",
            "rt.add 1.1.1.1/32 9",
            "rt.add x",
            "rt.remove 9.9.9.9/32",
            "rt.nope 1",
            "no.count 1",
        ):
            name, _, value = bad.partition(" ")
            with pytest.raises(HandlerError):
                red.write(name, value)
        with pytest.raises(HandlerError, match="did you mean table"):
            red.read("rt.tabel")
        box.pause()
        box.halt()
        assert_accounts(box)


def test_a_cable_carries_packets_to_another_router():
    with vre.Platform() as box:
        box.nic("in", link=vre.Generator(rate=100_000, count=5000))
        box.nic("mid", link=vre.Cable(to="far"))
        box.nic("far")
        box.nic("out")
        one = box.router(
            "one", "FromDevice(in) -> EtherRewrite(2:0:0:0:0:1, 02:00:00:00:00:77) -> Queue -> ToDevice(mid);"
        )
        two = box.router("two", "FromDevice(far) -> ToDevice(out);", ports={"far": {"mac": "02:00:00:00:00:77"}})
        box.run()
        box.halt()
        assert_accounts(box)
        # What a ring had no room for is counted there; nothing is lost in between.
        assert one.stats().injected == 5000
        assert one.stats().forwarded == two.stats().injected > 0
        assert two.stats().ports["out"] == two.stats().forwarded


@pytest.mark.parametrize("queues", ["multi", "single"])
def test_a_port_at_the_end_of_a_cable_sorts_as_any_other(queues):
    """Tags of a VLAN are taken off, and what is for all goes to all of that VLAN."""
    with vre.Platform() as box:
        box.nic("in", link=vre.Generator(rate=20_000, count=2000))
        box.nic("mid", link=vre.Cable(to="far"))
        box.nic("far", queues=queues)
        text = (
            "FromDevice(in) -> s :: Switch(0); s[0] -> EtherRewrite(2:0:0:0:0:1, 02:00:00:00:00:77) -> q :: Queue;"
            "s[1] -> EtherRewrite(2:0:0:0:0:1, ff:ff:ff:ff:ff:ff) -> q; q -> ToDevice(mid);"
        )
        one = box.router("one", text, ports={"mid": {"vlan": 7}, "in": {"mac": "*"}})
        others = []
        for name, mac, vlan in (("two", 0x77, 7), ("three", 0x78, 7), ("four", 0x77, 8)):
            port = {"mac": f"02:00:00:00:00:{mac:02x}", "vlan": vlan}
            text = "FromDevice(far) -> c :: Classifier(12/0800, -); c[0] -> ip :: Counter -> Discard; c[1] -> Discard;"
            others.append(box.router(name, text, ports={"far": port}))
        box.start()
        two, three, four = others
        wait = 200
        while two.stats().injected < 500 and (wait := wait - 1):
            box.tend(0.05)
        assert three.stats().injected == four.stats().injected == 0
        one.write("s.switch", "1")
        box.run()
        box.halt()
        assert [router.stats().balance for router in (one, *others)] == [0, 0, 0, 0]
        assert four.stats().injected == 0 < three.stats().injected < two.stats().injected
        for router in (two, three):
            assert int(router.read("ip.count")) == router.stats().packets > 0, "the tag is off: IP is where it belongs"


def test_a_pipeline_cut_at_an_unqueue_runs_on_two_cores():
    with vre.Platform(cores=2, rebalance=False) as box:
        box.nic("eth0", link=vre.Generator(rate=50_000, count=20_000))
        box.nic("eth1")
        red = box.router(
            "red", "FromDevice(eth0) -> Paint(7) -> q :: Queue -> Unqueue -> CheckPaint(7) -> ToDevice(eth1);"
        )
        box.run()
        box.halt()
        assert {p.core for p in box.parts.runtime.placement.groups} == {0, 1}
        assert_accounts(box)
        assert red.stats().forwarded + sum(red.stats().dropped.values()) == 20_000
        assert "other_paint" not in red.stats().dropped, "annotations cross with their packets"


def test_a_run_ends_with_the_sources_that_ask_for_it():
    with vre.Platform() as box:
        red = box.router("red", "InfiniteSource(LIMIT 500, STOP true) -> Discard; RatedSource(RATE 10) -> Idle;")
        box.run()
        box.halt()
        assert_accounts(box)
        assert red.stats().dropped["discard"] == 500


def test_configuration_mistakes_from_python():
    with pytest.raises(ConfigError, match="did you mean Counter"):
        make().router("red", "FromDevice(eth0) -> Countr -> ToDevice(eth1);")
    with make() as box, pytest.raises(ConfigError, match="no routers"):
        box.start()
    with make(2) as box, pytest.raises(ConfigError, match="no core 5"):
        box.router("red", PLAIN, cores=(5,))
        box.start()


def test_no_room_in_dev_shm_fails_before_anything_starts(monkeypatch):
    monkeypatch.setattr("vre.supervision.cpus.shm_free", lambda: 1000)
    with make() as box:
        box.router("red", PLAIN)
        with pytest.raises(PlatformError, match=r"needs \d+ bytes of shared memory; /dev/shm has 1000 free"):
            box.start()
        assert not (run_root() / box.model.name).exists()


def test_sixteen_routers_of_two_ports_fit_in_256_mib():
    from vre.cli.run import _DEMO
    from vre.config.reader import load_model
    from vre.config.validate import validate
    from vre.memory.address_space import AddressSpace
    from vre.memory.layout import Builder
    from vre.memory.wire import Links

    model = load_model(_DEMO)
    red = model.routers["red"]
    box = make(2)
    for i in range(16):
        box.model.routers[f"r{i}"] = type(red)(f"r{i}", 1.0, red.graph)
    assert validate(box.model, lambda message, *path: message) == []
    builder = Builder(box.model, AddressSpace(0x10_0000_0000, "vre.test."))
    Links(builder)
    assert builder.space.bytes_needed <= 256 << 20
