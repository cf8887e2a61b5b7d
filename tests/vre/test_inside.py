# SPDX-License-Identifier: MIT
"""Whole graphs in a domU: through dom0, and mapped directly. Real jails, real traffic."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

import vre
from shm.channel import CHANNEL, UP
from shm.intrinsics import load64
from shm.layout import CLIENT
from tests.captures import read_capture
from tests.vre.platforms import assert_accounts, needs_jail, wait_for, wait_for_packets
from vre.bench.throughput import RFC1812
from vre.config.model import Router
from vre.config.reader import from_text
from vre.errors import ConfigError, HandlerError, PlatformError
from vre.language.bridge import bridge

pytestmark = needs_jail

ROUTER = RFC1812.format("eth0", "eth1")
#: How the graph runs: in dom0, in the domU behind dom0, in the domU with NIC rings of its own.
WAYS = {"dom0": {}, "inside": {"inside": True}, "direct": {"direct": True}}


def platform(link, **settings):
    box = vre.Platform(cores=1, name=f"inside{os.getpid()}", **settings)
    box.nic("eth0", link=link)
    box.nic("eth1")
    return box


def finite(count=3000):
    return vre.Generator(rate=20_000, count=count, size="imix", ttl=9)


def test_a_graph_does_the_same_wherever_it_runs(tmp_path):
    frames = {}
    for way, options in WAYS.items():
        out = tmp_path / f"{way}.pcapng"
        box = vre.Platform(cores=1, name=f"inside{os.getpid()}")
        with box:
            box.nic("eth0", link=finite(), slots=4096)
            box.nic("eth1", link=vre.Capture(str(out)))
            # Everything finds room in a queue, however long the wire gets no processor.
            text = ROUTER.replace("IPFragmenter(1500)", "IPFragmenter(1400)").replace("Queue(1000)", "Queue(4096)")
            red = box.router("red", text, **options)
            box.run()
            box.halt()
            assert_accounts(box)
            assert red.stats().forwarded > 3000 and red.stats().dropped == {}  # the longest in two fragments
        # Fragments are made on the slow path: when they overtake whom is not the same each time.
        frames[way] = sorted(frame.data for frame in read_capture(out))
    assert frames["dom0"] == frames["inside"] == frames["direct"]
    assert {frame[22] for frame in frames["dom0"]} == {8}  # it was a router: the time to live is less by one


def test_what_is_mapped_directly_costs_no_core_anything():
    with platform(vre.Generator(rate=100_000)) as box:
        red, blue = box.router("red", ROUTER, direct=True), box.router("blue", ROUTER)
        box.start()
        wait_for_packets(box, 10_001, red, blue)
        box.halt()
        assert_accounts(box)
        assert red.stats().forwarded > 10_000 and red.stats().domu_cpu_s > 0
        assert (red.stats().entitled, red.stats().share) == (0.0, 0.0)
        assert (blue.stats().entitled, blue.stats().share) == (1.0, 1.0)
        memory = box.parts.runtime.builder.routers["red"]
        assert load64(memory.client(0) + CLIENT["used_ticks"]) == 0 and list(memory.cores.values()) == [1, 1]


def test_an_idle_graph_waits_for_the_bell():
    with platform(vre.Generator(rate=20_000)) as box:
        red = box.router("red", ROUTER, inside=True)
        box.start()
        wait_for(box, lambda: red.stats().forwarded > 100)
        box.rest("red", True)
        (channel,) = box.parts.runtime.manifest.routers[0].tasks[0].channels
        # What it has said in the memory that it shares with dom0, which rings where it stands so.
        wait_for(box, lambda: load64(load64(channel + CHANNEL["up"]) + UP["asleep"]) == 1)
        done = red.stats().forwarded
        box.rest("red", False)
        wait_for(box, lambda: red.stats().forwarded > done + 1000)
        box.halt()
        assert_accounts(box)


def test_packets_that_wait_inside_are_in_flight_and_lost_with_the_domu():
    # Nobody answers: the last packets wait for an address (RFC 826), longer than any deadline.
    text = (
        "FromDevice(eth0) -> Strip(14) -> CheckIPHeader -> GetIPAddress(16) -> arpq :: ARPQuerier(1.2.3.4, 2:0:0:0:0:1) "
        "-> Queue(200) -> ToDevice(eth1); Idle -> [1] arpq;"
    )
    with platform(vre.Generator(rate=10_000, count=2000)) as box:
        red = box.router("red", text, inside=True)
        box.start()
        wait_for(box, lambda: (stats := red.stats()).injected == 2000 and 0 < stats.in_flight <= 64)
        waiting = red.stats().in_flight
        assert 0 < waiting <= 64 and red.stats().dropped["domu_dropped"] > 1000
        assert red.stats().ports["eth1"] == 64  # a question for each of 64 addresses
        os.kill(box.parts.domus.domus["red"].pid, signal.SIGKILL)
        wait_for(box, lambda: "runs again" in str(box.events))
        assert red.stats().dropped["domu_lost"] == waiting and red.stats().in_flight == 0
        box.halt()
        assert_accounts(box)


def test_more_packets_may_come_out_than_went_in():
    text = "FromDevice(eth0) -> t :: Tee -> Queue -> ToDevice(eth1); t[1] -> ToDevice(eth0); RatedSource(RATE 500) -> ToDevice(eth0);"
    with platform(vre.Generator(rate=5_000)) as box:
        red = box.router("red", text, inside=True)
        box.start()
        wait_for(box, lambda: red.stats().ports["eth1"] > 1000 and int(red.stats().ports["eth0"]) > 1100)
        box.halt()
        assert_accounts(box)
        assert red.stats().ports["eth0"] > red.stats().ports["eth1"] > 500


def test_a_dead_domu_starts_with_its_graph_as_it_was():
    with platform(vre.Generator(rate=20_000)) as box:
        red, blue = box.router("red", ROUTER, direct=True), box.router("blue", ROUTER)
        box.start()
        for death in range(3):
            os.kill(box.parts.domus.domus["red"].pid, signal.SIGKILL)
            wait_for(box, lambda n=death: str(box.events).count("runs again") == n + 1)
        wait_for_packets(box, 1001, red, blue)
        box.halt()
        assert_accounts(box)


def test_it_comes_and_goes_and_changes_while_the_platform_runs():
    with platform(vre.Generator(rate=20_000)) as box:
        box.router("blue", "FromDevice(eth0) -> ToDevice(eth1);")
        red = box.router("red", "FromDevice(eth0) -> ToDevice(eth1);", direct=True)
        box.start()
        wait_for_packets(box, 1001, red)
        box.replace("red", "FromDevice(eth0) -> Discard;")
        before = red.stats()
        box.tend(0.3)
        assert red.stats().forwarded == before.forwarded
        with pytest.raises(PlatformError, match="on no core"):
            box.move("red/FromDevice@1", 0)
        with pytest.raises(HandlerError, match="no element 'Discard@2' in router 'red', whose graph runs in its domU"):
            box.read("red/Discard@2.count")
        box.remove("red")
        green = Router("green", 1.0, from_text("FromDevice(eth0) -> ToDevice(eth1);"))
        green.host_in_domu(direct=True)
        box.add(green)
        wait_for_packets(box, 1001, box.handle("green"))
        box.halt()
        assert_accounts(box)


def test_the_first_one_that_is_mapped_directly_must_be_there_at_the_start():
    with platform(vre.Generator(rate=20_000)) as box:
        box.router("blue", "FromDevice(eth0) -> ToDevice(eth1);")
        box.run(0.1)
        red = Router("red", 1.0, from_text("FromDevice(eth0) -> ToDevice(eth1);"), direct=True)
        with pytest.raises(ConfigError, match="must be there at the start"):
            box.add(red)
        assert list(box.model.routers) == ["blue"]


def test_in_virtual_time_direct_mapping_is_the_graph_on_its_domus_core():
    with vre.Platform(cores=2, machine="dell2950", clock="virtual") as box:
        box.nic("eth0", link=vre.Generator(size=64))
        box.nic("eth1")
        red = box.router("red", ROUTER, direct=True, domu=vre.Domu(core=1))
        box.run(0.01)
        assert_accounts(box)
        assert red.stats().forwarded > 1000 and box.parts.runtime.placement.groups[0].core == 1


LAB = """\
[nics.eth0]
link = { rate = 20000 }
[nics.eth1]
[routers.red]
"""
PASS_ON = "FromDevice(eth0) -> ToDevice(eth1);"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (f'config = "{PASS_ON}"\ndomu = {{ config = "{PASS_ON}" }}', "give one 'config'"),
        ('domu = { config = "FromDevice(eth0) -> Untrusted(x.py:X) -> Discard;" }', "cannot read"),
        ('domu = { config = "FromDevice(eth0) -> Bridge -> Discard;" }', "unknown element class 'Bridge'"),
        ('domu = { config = "no.click" }', "cannot read"),
        ('domu = { config = "FromDevice(eth7) -> Discard;" }', "there is no port 'eth7'"),
        (
            'domu = { config = "FromDevice(eth0) -> Discard; FromDevice(eth0) -> Discard;" }',
            "port 'eth0' is used twice",
        ),
        ("direct = true", "has no config"),
        (f'config = "{PASS_ON}"\ndirect = "yes"', "must be true or false"),
    ],
)
def test_a_graph_that_cannot_be_inside_is_refused_with_its_place(tmp_path, table, message):
    file = tmp_path / "lab.toml"
    file.write_text(LAB + table + "\n")
    done = subprocess.run([sys.executable, "-m", "vre", "check", str(file)], capture_output=True, text=True)
    assert done.returncode == 2 and message in done.stderr and "lab.toml" in done.stderr, done.stderr


@pytest.mark.parametrize("way", ["inside", "direct"])
def test_elements_of_ones_own_may_be_in_such_a_graph(tmp_path, way):
    (tmp_path / "x.py").write_text(
        "class X:\n    def push(self, packet):\n        packet[50] = 77\n        return packet[35] & 1\n"
    )
    own = f"Untrusted({tmp_path}/x.py:X)"
    text = (
        f"FromDevice(eth0) -> Strip(14) -> CheckIPHeader -> Unstrip(14) -> a :: {own} -> Queue -> ToDevice(eth1); "
        "a[1] -> Discard;"
    )
    out = tmp_path / "out.pcapng"
    with vre.Platform(cores=1, name=f"inside{os.getpid()}") as box:
        box.nic("eth0", link=vre.Generator(rate=10_000, count=2000, flows=50))
        box.nic("eth1", link=vre.Capture(str(out)))
        red = box.router("red", text, **{way: True})
        box.run()
        box.halt()
        assert_accounts(box)
        stats = red.stats()
    frames = [frame.data for frame in read_capture(out)]
    assert len(frames) == stats.forwarded and {frame[50] for frame in frames} == {77}
    assert stats.forwarded + stats.dropped["domu_dropped"] == 2000 and 0 < stats.forwarded < 2000


def test_a_bridge_has_the_ports_of_its_graph():
    graph = bridge(
        from_text("FromDevice(a) -> ToDevice(b); FromDevice(b) -> t :: Tee -> ToDevice(b); t[1] -> ToDevice(a);")
    )
    assert [n.cls.__name__ for n in graph.nodes] == ["Untrusted", *["FromDevice"] * 2, *["ToDevice"] * 2]
    assert graph.edges == [(1, 0, 0, 0), (2, 0, 0, 1), (0, 0, 3, 0), (0, 1, 4, 0)]


def test_plan_and_check_know_of_it(tmp_path):
    file = tmp_path / "lab.toml"
    file.write_text(LAB + f'config = "{PASS_ON}"\ndirect = true\n[routers.blue]\ndomu = {{ config = "{PASS_ON}" }}\n')
    done = subprocess.run([sys.executable, "-m", "vre", "plan", str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "no core red: mapped directly" in done.stdout and "core 0  blue" in done.stdout
