# SPDX-License-Identifier: MIT
"""A platform that Python describes is held to what one in a file is held to, with the same words."""

from __future__ import annotations

import os
import resource

import pytest
from scapy.layers.l2 import Ether
from scapy.utils import wrpcap

import vre
from tests.workers.frames import udp
from vre.cli.report import stray_line
from vre.config.model import Router, RouterPort
from vre.config.validate import complete

PLAIN = "FromDevice(eth0) -> c :: Counter -> ToDevice(eth1);"


def refused(box):
    with pytest.raises(vre.ConfigError) as caught:
        box.start()
    return str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clock": "foo"}, "clock: must be 'auto' or 'wall' or 'cpu' or 'virtual', not 'foo'"),
        ({"cores": 0}, "cores: must be an integer from 1 to 256, not 0"),
        ({"cores": "2"}, "cores: must be an integer"),
        ({"cores": 10**30}, "cores: must be an integer"),
        ({"quantum": 0}, "quantum: must be an integer from 1 to 256, not 0"),
        ({"quantum": 1.5}, "quantum: must be an integer"),
        ({"idle": None}, "idle: must be"),
        ({"machine": "cray"}, "machine: must be 'host' or 'dell2950'"),
        ({"machine": ["host"]}, "machine: must be"),
        ({"discipline": "fifo"}, "there is no discipline 'fifo'"),
        ({"memory": float("nan")}, "memory: must be memory accesses a second from 1000 to 1e+12, not nan"),
        ({"turn_ns": 10**12}, "turn_ns: must be an integer"),
        ({"sandbox": "none"}, "sandbox: must be"),
        ({"name": "a/b"}, "cannot be a platform's name"),
        ({"name": "x" * 1000}, "cannot be a platform's name"),
    ],
    ids=str,
)
def test_a_platform_s_settings_have_their_ranges(settings, message):
    box = vre.Platform(**settings)
    box.nic("eth0")
    box.nic("eth1")
    box.router("red", PLAIN)
    assert message in refused(box)


def test_a_setting_that_there_is_not_is_said_at_once():
    with pytest.raises(vre.ConfigError, match="there is no setting 'clok'; did you mean clock"):
        vre.Platform(clok="wall")


@pytest.mark.parametrize(
    ("nic", "message"),
    [
        ({"slots": 5}, "slots: must be an integer from 16 to 65536, not 5"),
        ({"queues": "many"}, "queues: must be 'multi' or 'single'"),
        ({"speed": 1e400}, "speed: must be bits a second"),
        (
            {"link": "eth1"},
            "link: must be a Generator, Replay, Capture, Cable, Sink, Veth, Interface, Xdp, Tap or Vxlan",
        ),
        ({"link": vre.Generator(rate=-1)}, "rate: must be a rate"),
        ({"link": vre.Generator(rate=float("inf"))}, "rate: must be a rate"),
        ({"link": vre.Generator(size=9000)}, "size: must be from"),
        ({"link": vre.Generator(count=1 << 70)}, "count: must be an integer"),
        ({"link": vre.Generator(destinations=("nowhere",))}, "destinations: 'nowhere' is not an IP prefix"),
        ({"link": vre.Generator(rates={"red": 0})}, "rates: must be a rate"),
        ({"link": vre.Replay("there/is/none.pcap")}, "none.pcap"),
    ],
    ids=str,
)
def test_a_port_s_settings_have_their_ranges(nic, message):
    box = vre.Platform()
    box.nic("eth0", **nic)
    box.nic("eth1")
    box.router("red", PLAIN)
    assert message in refused(box)


@pytest.mark.parametrize(
    ("router", "message"),
    [
        ({"entitlement": 0}, "must be a positive weight"),
        ({"entitlement": "much"}, "must be a positive weight"),
        ({"entitlement": float("nan")}, "from 0.001 to 1e\\+06, not nan"),
        ({"entitlement": "101%"}, "101 is not from 0.001 to 100"),
        ({"deadline": 1e300}, "a deadline in seconds from 0.001 to 10"),
        ({"ports": {"eth0": {"mac": "red"}}}, "'red' is not an Ethernet address"),
        ({"ports": {"eth0": {"mac": "01:00:00:00:00:01"}}}, "is a group address"),
        ({"ports": {"eth0": {"vlan": 5000}}}, "must be an integer from -1 to 4094"),
        ({"config": "FromDevice(eth0) -> Cuonter -> Discard;"}, "did you mean Counter"),
    ],
    ids=str,
)
def test_a_router_s_settings_have_their_ranges(router, message):
    box = vre.Platform()
    with pytest.raises(vre.ConfigError, match=message):
        box.router("red", **({"config": PLAIN} | router))
    assert not box.model.routers


def test_what_a_router_gets_besides_is_checked_at_the_start():
    for settings, message in (
        ({"cores": (0, 7)}, "there is no core 7"),
        ({"cores": ("x",)}, "must be an integer"),
        ({"cost": -1}, "cost: must be cycles a packet"),
        ({"domu": vre.Domu(memory=1)}, "memory: must be an integer"),
        ({"domu": vre.Domu(start_s=1e9)}, "start_s: must be seconds from 0.1 to 600"),
    ):
        box = vre.Platform()
        box.nic("eth0")
        box.nic("eth1")
        box.router("red", PLAIN, **settings)
        assert message in refused(box)


def test_two_routers_cannot_have_one_name():
    box = vre.Platform()
    box.router("red", PLAIN)
    with pytest.raises(vre.ConfigError, match="there is a router 'red' already"):
        box.router("red", PLAIN)


def test_errors_are_exported_and_have_one_base():
    assert issubclass(vre.ConfigError, vre.VreError) and issubclass(vre.PlatformError, vre.VreError)
    assert issubclass(vre.HandlerError, vre.VreError) and issubclass(vre.HandlerError, ValueError)
    assert vre.RouterHandle and set(vre.__all__) <= {*dir(vre), *vre._MODULES}
    with pytest.raises(AttributeError):
        vre.Nothing


def test_a_router_gets_an_address_that_is_free():
    box = vre.Platform()
    for name in ("eth0", "eth1"):
        box.nic(name)
    box.router("red", PLAIN)
    box.router("blue", PLAIN, ports={"eth0": {"mac": "02:56:00:00:00:01"}})
    complete(box.model)
    macs = [port.mac for router in box.model.routers.values() for port in router.ports.values()]
    assert len(set(macs)) == 4
    # Described alone, a router gets what is taken elsewhere: it is given another where it is added.
    assert [port.automatic for port in box.model.routers["blue"].ports.values()] == [False, True]


def test_a_router_added_to_a_running_platform_has_addresses_of_its_own_and_they_are_shown(tmp_path):
    capture = tmp_path / "in.pcap"
    wrpcap(str(capture), [Ether(udp(mac=mac)) for mac in ("02:56:00:00:00:01", "02:99:00:00:00:09")])
    other = tmp_path / "green.toml"
    other.write_text(f"[nics.eth0]\n[nics.eth1]\n[routers.green]\nconfig = '{PLAIN}'\n")
    with vre.Platform() as box:
        box.nic("eth0", link=vre.Replay(str(capture), rate=1000.0, loop=True))
        box.nic("eth1", link=vre.config.model.Cable("eth0"))
        box.router("red", PLAIN)
        box.start()
        with pytest.raises(vre.PlatformError, match="port 'eth2' cannot be added"):
            box.nic("eth2")
        box.parts.commands.add_from(other, "green")
        blue = box.router("blue", PLAIN)
        with pytest.raises(vre.ConfigError, match="there is a router 'blue' already"):
            box.router("blue", PLAIN)
        with pytest.raises(vre.ConfigError):
            box.add(Router("bad", 0.0, box.model.routers["red"].graph, {"eth0": RouterPort("eth0", -1)}))
        assert list(box.model.routers) == ["red", "green", "blue"] and blue.read("c.class") == "Counter"
        macs = [port.mac for router in box.model.routers.values() for port in router.ports.values()]
        assert len(set(macs)) == 6
        box.tend(0.2)
        box.pause()
        box.halt()
        assert_accounts_of(box, "red")
        strays, claims = box.reader.strays(), box.reader.claims()
    assert strays["eth0"][0] == 0x029900000009 and box.reader.unclaimed() > 0
    line = stray_line("eth0", strays["eth0"], claims["eth0"])
    assert "02:99:00:00:00:09" in line and "red 02:56:00:00:00:01" in line and 'mac = "*"' in line


def assert_accounts_of(box, name):
    """Every packet is accounted for; the router of that name had some."""
    for stats in box.reader.routers():
        assert stats.balance == 0 and (stats.injected > 0 or stats.name != name)
        assert stats.injected == stats.forwarded + sum(stats.dropped.values()) + stats.in_flight


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (lambda box: box.move("red/FromDevice@1", 0.5), "'core' must be an integer"),
        (lambda box: box.move("red/FromDevice@1", True), "'core' must be an integer"),
        (lambda box: box.move("red/FromDevice@1", None), "'core' must be an integer"),
        (lambda box: box.move(path=None, core=0), "'path' must be a string"),
        (lambda box: box.replace("red", None), "'config' must be a string"),
        (lambda box: box.replace("red", PLAIN, file=3), "'file' must be a string"),
        (lambda box: box.replace(["red"], PLAIN), "'name' must be a string"),
        (lambda box: box.remove(None), "'name' must be a string"),
        (lambda box: box.release(b"red"), "'name' must be a string"),
        (lambda box: box.add(None), "'router' must be a router's description, not NoneType"),
        (lambda box: box.parts.commands.add_from(None, "red"), "'file' "),
        (lambda box: box.parts.commands.add_from("nowhere.toml", 5), "'name' must be a string"),
        (lambda box: box.set_rate("blue", 5), "no router 'blue'"),
        (lambda box: box.set_rate("red", 0), "a rate"),
        (lambda box: box.set_rate("red", float("nan")), "a rate"),
    ],
)
def test_what_python_asks_for_is_held_against_what_it_may_be_before_anything_is_done(asked, message):
    with vre.Platform(name=f"held{os.getpid()}", clock="virtual", machine="dell2950") as box:
        box.nic("eth0")
        box.nic("eth1")
        box.router("red", PLAIN)
        box.start()
        with pytest.raises((vre.PlatformError, ValueError), match=message):
            asked(box)


def test_a_platform_that_finds_no_descriptor_is_refused_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("VRE_RUN", str(tmp_path))
    box = vre.Platform()
    box.nic("eth0")
    box.nic("eth1")
    box.router("red", PLAIN)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        with pytest.raises(vre.PlatformError, match="Too many open files"):
            box.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert not list(tmp_path.iterdir()) and not box.running
