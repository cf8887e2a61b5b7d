# SPDX-License-Identifier: MIT
"""Changing a platform while packets flow: nothing is lost, nothing overtakes, nothing is left."""

from __future__ import annotations

import os
import signal

import psutil
import pytest

import vre
from tests.vre.platforms import assert_accounts, wait_for, wait_for_packets
from vre.bench.throughput import RFC1812
from vre.config.model import Capture, Generator, Router
from vre.config.reader import from_text
from vre.errors import ConfigError, PlatformError

PLAIN = "FromDevice(eth0) -> c :: Counter -> q :: Queue -> ToDevice(eth1);"
OTHER = "FromDevice(eth0) -> Paint(3) -> c :: Counter -> q :: Queue -> ToDevice(eth1);"


def make(cores=1, rate=100_000.0, count=None, slots=4096, clock="auto", **options):
    box = vre.Platform(cores=cores, clock=clock, rebalance=False, **options)
    box.nic("eth0", link=Generator(rate=rate, count=count, flows=16), slots=slots)
    box.nic("eth1", slots=slots)
    box.router("red", PLAIN)
    box.router("blue", PLAIN)
    return box


def test_entitlements_change_at_once_and_bad_ones_change_nothing():
    with make(rate=None, clock="cpu") as box:  # the core waits for its traffic: both are backlogged
        for name in ("red", "blue"):
            del box.model.routers[name]
            box.router(name, RFC1812)
        box.start()
        box.tend(0.2)
        box.write("red.entitlement", "3")
        before = {s.name: s.used_ticks for s in box.reader.routers()}

        def used():
            return {s.name: s.used_ticks - before[s.name] for s in box.reader.routers()}

        # Half a second of the core's own time, however long it takes to get it: some hundred slices.
        wait_for(box, lambda: sum(used().values()) * box.parts.runtime.ns_per_tick > 0.5e9)
        used = used()
        assert used["red"] / used["blue"] == pytest.approx(3, rel=0.03)
        assert box.read("red.entitlement") == "3"
        for bad in ("0", "-1", "much", "inf"):
            with pytest.raises((ConfigError, ValueError)):
                box.write("red.entitlement", bad)
        with pytest.raises(PlatformError, match="did you mean red"):
            box.write("rde.entitlement", "1")
        assert box.read("red.entitlement") == "3"
        box.pause()
        box.halt()
        assert_accounts(box)


@pytest.mark.parametrize("rate", [10_000.0, None], ids=["light", "overload"])
def test_moves_between_running_cores_lose_nothing(rate):
    with make(2, rate) as box:
        box.start()
        box.tend(0.2)
        for i in range(20):
            box.move("red/FromDevice@1", i % 2)
            box.tend(0.005)
        # A loaded host may give the workers little time: what counts is that packets still flow.
        wait_for(box, lambda: box.reader.routers()[0].forwarded > 1000)
        box.pause()
        box.halt()
        assert_accounts(box)
        red = box.reader.routers()[0]
        assert red.forwarded > 1000
        if rate:
            assert "rx_ring_full" not in red.dropped and red.injected == red.forwarded


def test_moved_packets_keep_their_order(tmp_path):
    # The generator's packets of a flow are alike; a source that numbers them is another router.
    file = tmp_path / "out.pcapng"
    with vre.Platform(cores=2, machine="dell2950", clock="virtual") as box:
        box.nic("eth0", link=Generator(rate=150_000, flows=1, size="imix", seed=5))
        box.nic("eth1", link=Capture(str(file)))
        box.router("red", PLAIN)
        box.start()
        for i in range(30):
            box.tend(0.001)
            box.move("red/FromDevice@1", i % 2)
        box.pause()
        sent = [len(frame.data) for frame in box.parts.runtime.links.sources[0].schedule._frames]
    from scapy.all import PcapNgReader

    with PcapNgReader(str(file)) as reader:
        got = [len(bytes(frame)) for frame in reader]
    assert len(got) > 4_000
    assert got == (sent * (len(got) // len(sent) + 1))[: len(got)], "the generator's sizes, in its order"


def test_routers_come_and_go_under_load_and_leave_nothing():
    process = psutil.Process()
    with make(rate=200_000) as box:
        box.start()
        box.tend(0.2)

        def size():
            segments = len(box.parts.runtime.manifest.segments)
            return segments, process.num_fds(), len(process.children(recursive=True))

        sizes = []
        for _ in range(4):
            box.add(Router("green", 1.0, from_text(PLAIN, "green")))
            wait_for_packets(box, 1, box.handle("green"))
            box.remove("green")
            box.tend(0.2)
            names = {segment.name for segment in box.parts.runtime.manifest.segments}
            assert not any("green" in name for name in names)
            sizes.append(size())
        # Segments, descriptors and processes end where they began; on a loaded host some take longer to end.
        wait_for(box, lambda: size() == min(sizes))
        with pytest.raises(ConfigError, match="there is a router 'red' already"):
            box.add(Router("red", 1.0, from_text(PLAIN)))
        with pytest.raises(ConfigError, match="no port 'eth7'"):
            box.add(Router("green", 1.0, from_text("FromDevice(eth7) -> Discard;")))
        with pytest.raises(PlatformError, match="no router 'green'"):
            box.remove("green")
        box.pause()
        box.halt()
        assert_accounts(box)


def test_a_replaced_configuration_keeps_state_by_name_and_class():
    with make(rate=200_000) as box:
        box.start()
        wait_for(box, lambda: int(box.read("red/c.count")) > 0)
        before = int(box.read("red/c.count"))
        for config in (OTHER, PLAIN, OTHER):
            box.replace("red", config)
        assert int(box.read("red/c.count")) >= before
        wait_for(box, lambda: int(box.read("red/c.count")) > before)
        with pytest.raises(ConfigError, match="did you mean Print or Paint"):
            box.replace("red", OTHER.replace("Paint", "Piant"))
        with pytest.raises(ConfigError, match="receives from other ports than before"):
            box.replace("red", OTHER.replace("FromDevice(eth0)", "FromDevice(eth1)"))
        box.pause()
        box.halt()
        assert_accounts(box)
        red = box.reader.routers()[0]
        assert red.injected == red.forwarded + sum(red.dropped.values())


def test_a_worker_killed_around_a_change_is_replaced_all_the_same():
    with make(rate=200_000) as box:
        box.start()
        for i in range(3):
            box.tend(0.05)
            os.kill(box.worker_pid(0), signal.SIGKILL)
            box.replace("red", OTHER if i % 2 else PLAIN)
        box.tend(0.2)
        before = box.handle("red").sent()
        wait_for(box, lambda: box.handle("red").sent() > before)
        box.pause()
        box.halt()
        assert_accounts(box)


@pytest.mark.slow
def test_a_hundred_moves_and_a_hundred_swaps_under_overload():
    with make(2, None) as box:
        box.start()
        rested = []
        for i in range(100):
            box.tend(0.01)
            rested.append(box.move("red/FromDevice@1", i % 2))
        swapped = []
        for i in range(100):
            box.tend(0.01)
            swapped.append(box.replace("blue", OTHER if i % 2 == 0 else PLAIN))
        box.pause()
        box.halt()
        assert_accounts(box)
        for name, times in (("moves", rested), ("swaps", swapped)):
            times.sort()
            print(f"{name}: median {times[50] * 1e3:.2f} ms, largest {times[-1] * 1e3:.2f} ms")


@pytest.mark.timing
def test_a_core_that_only_sorts_packets_works_as_any_other():
    with vre.Platform(cores=2, name=f"sorts{os.getpid()}", clock="cpu", rebalance=False) as box:
        box.nic("eth0", link=vre.Generator(rate=100_000), queues="single")
        box.nic("eth1")
        red = box.router("red", "FromDevice(eth0) -> ToDevice(eth1);", cores=(0,))
        box.start()
        assert box.parts.changes.now_placed() == {("red", 0): 0, ("(eth0)", 0): 1}
        box.tend(0.5)
        box.pause()
        box.halt()
        assert_accounts(box)
        # One that slept between its turns as a core without tasks does would lose most of them.
        assert red.stats().forwarded > 0.9 * red.stats().injected


def test_wires_that_die_before_they_are_one_undo_the_change_and_no_more():
    with make(rate=50_000) as box:
        box.start()
        engine, killed = box.parts.runtime.engine, []
        wait_for(box, lambda: len(engine.supervisor.wires) == 2)  # the wire and its standby
        wait, old = engine.tend, set(engine.supervisor.wires)

        def tend(seconds):
            for pid in engine.supervisor.wires - old - set(killed):
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
            wait(seconds)

        engine.tend = tend
        with pytest.raises(PlatformError, match="ended while they started"):
            box.replace("red", OTHER)
        assert len(killed) > 1, "one that dies is followed by another"
        engine.tend = wait
        for _ in range(100):
            box.tend(0.05)
            if not box.parts.changes.finisher.unfinished:
                break
        box.replace("red", OTHER)
        box.pause()
        box.halt()
        assert_accounts(box)
