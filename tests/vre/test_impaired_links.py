# SPDX-License-Identifier: MIT
"""Impairments of a platform's links: in a file, from Python, over the socket, in virtual time and in real time."""

from __future__ import annotations

import json
import os
import re

import pytest

import vre
from tests.vre.platforms import assert_accounts, wait_for
from tests.vre.test_links import Network
from vre.config.impairment import Impairment
from vre.config.reader import load_model
from vre.errors import ConfigError, PlatformError
from vre.supervision import cpus

FORWARD = "FromDevice(eth0) -> ToDevice(eth1);"
ENDED = "FromDevice(eth2) -> c :: Counter -> ToDevice(eth3);"
FILE = """
[platform]
seed = 7
[nics.eth0]
link = { rate = "1Mpps", burst = 4, delay = "1ms" }
[nics.eth1]
link = { to = "eth2", delay = "5ms", jitter = "1ms", distribution = "normal", correlation = 0.25, rate = "10Mbps", loss = { p = "1%", r = "30%", h = 0.1 }, duplicate = "0.1%", reorder = { p = "2%", gap = 5 }, limit = 50 }
[nics.eth2]
[routers.red]
config = "FromDevice(eth0) -> ToDevice(eth1);"
"""


def test_a_link_out_of_the_platform_has_a_table_for_the_way_in(tmp_path):
    text = '[nics.eth0]\nlink = {{ tap = "x", delay = "1ms", in = {} }}\n[routers.red]\nconfig = "FromDevice(eth0) -> ToDevice(eth0);"\n'
    (tmp_path / "lab.toml").write_text(text.format('{ delay = "2ms" }'))
    impaired = load_model(tmp_path / "lab.toml").nics["eth0"].impaired
    assert impaired == {"out": Impairment(delay=1_000_000), "in": Impairment(delay=2_000_000)}
    for wrong, column, message in (("5", 36, "in: must be a table"), ('{ loss = "x" }', 43, "loss: 'x' is not")):
        (tmp_path / "lab.toml").write_text(text.format(wrong))
        with pytest.raises(ConfigError, match=message) as caught:
            load_model(tmp_path / "lab.toml")
        assert (caught.value.problems[0].where.line, caught.value.problems[0].where.column) == (2, column)


def test_a_link_s_table_has_impairments_beside_what_the_link_is(tmp_path):
    (tmp_path / "lab.toml").write_text(FILE)
    model = load_model(tmp_path / "lab.toml")
    assert model.seed == 7
    assert model.nics["eth0"].links == (vre.Generator(rate=1e6, burst=4),)
    assert model.nics["eth0"].impaired == {"in": Impairment(delay=1_000_000)}
    assert model.nics["eth1"].links == (vre.Cable("eth2"),)
    assert model.nics["eth1"].impaired["out"].as_dict() == {
        "delay": 5_000_000, "jitter": 1_000_000, "distribution": "normal", "correlation": 0.25, "rate": 1e7,
        "loss.p": 0.01, "loss.r": 0.3, "loss.h": 0.1, "duplicate.p": 0.001, "reorder.p": 0.02, "reorder.gap": 5,
        "limit": 50,
    }  # fmt: skip


WRONG = {
    'delay = "5"': (),
    "delay = 5": ("delay: must be a string",),
    'delay = "61s"': ("delay: must be at most 60s",),
    'jitter = "-1ms"': ("jitter: '-1ms' is not a time",),
    'distribution = "gauss"': ("distribution: must be 'uniform' or 'normal'",),
    "correlation = 1.5": ("correlation: must be a chance",),
    'loss = "101%"': ("loss: 101 is not from 0 to 100",),
    "loss = true": ("loss: must be a chance",),
    "loss = { q = 1 }": ("unknown key 'loss.q'",),
    'loss = { p = "x", r = 2 }': ("loss.p: 'x' is not a chance", "loss.r: must be a chance"),
    "loss = { p = 0.1, r = 0.1, correlation = 0.5 }": ("leave out 'correlation'",),
    "loss = { p = 0.1, h = 0.5 }": ("set 'r', too",),
    "loss = { p = 0.1, r = 0 }": ("must be more than 0",),
    'reorder = "1%"': ("set 'delay', too",),
    "limit = 0": ("limit: must be an integer from 1 to 100000",),
    "limit = 1.5": ("limit: must be an integer",),
    'rate = "10"': ("rate: 10 is not from 1000 to 1e+12",),
    "delays = 1": ("unknown key 'delays'",),
}


@pytest.mark.parametrize("text", WRONG)
def test_mistakes_have_their_positions(tmp_path, text):
    (tmp_path / "lab.toml").write_text(
        f'[nics.eth0]\nlink = {{ to = "eth1", {text} }}\n[nics.eth1]\n[routers.red]\nconfig = "{FORWARD}"\n'
    )
    if not WRONG[text]:
        load_model(tmp_path / "lab.toml")
        return
    with pytest.raises(ConfigError) as caught:
        load_model(tmp_path / "lab.toml")
    problems = caught.value.problems
    assert len(problems) == len(WRONG[text])
    for problem, message in zip(problems, WRONG[text], strict=True):
        assert message in problem.message and problem.where.line == 2 and problem.where.column > 21, problem


def box_of(rate=1e5, count=None, **settings):
    box = vre.Platform(clock="virtual", machine="dell2950", **settings)
    box.nic("eth0", link=vre.Generator(rate=rate, count=count))
    box.nic("eth1", link=vre.Cable("eth2"))
    box.nic("eth2")
    box.nic("eth3")
    # What eth1 sends is for the router behind the cable.
    mac = "02:00:00:00:00:99"
    box.router("red", FORWARD.replace("->", f"-> EtherRewrite(2:0:0:0:0:1, {mac}) ->", 1))
    box.router("blue", ENDED, ports={"eth2": {"mac": mac}})
    return box


def balance(box):
    """Hold each link to its account; return the accounts by port and direction."""
    found = {}
    for row in box.reader.links():
        gone = row["lost"] + row["over_limit"] + row["refused"]
        assert row["sent"] + row["duplicated"] == row["arrived"] + row["waiting"] + gone
        found[row["port"], row["direction"]] = row
    return found


def test_a_platform_accounts_for_what_its_links_do():
    with box_of(count=2000) as box:
        box.link("eth0", delay="300us", jitter="100us", loss="2%")
        box.link("eth1", delay="5ms", duplicate="3%", loss={"p": "2%", "r": "50%"}, reorder="1%")
        box.run()
        links = balance(box)
        red, blue = (box.reader.router(name) for name in ("red", "blue"))
        into, out = links["eth0", "in"], links["eth1", "out"]
        assert into["sent"] == 2000 and red.injected == into["arrived"] == 2000 - into["lost"]
        assert red.forwarded == out["sent"] and blue.injected == blue.forwarded == out["arrived"]
        assert into["waiting"] == out["waiting"] == 0 < min(out["lost"], out["duplicated"], out["reordered"])
        assert_accounts(box)
        assert 0.025 < box.elapsed() < 0.2


def test_a_pause_counts_what_is_still_on_its_way():
    with box_of() as box:
        box.link("eth1", delay="2s")
        box.start()
        box.tend(0.01)
        box.pause(0.01)
        links = balance(box)
        red, blue = (box.reader.router(name) for name in ("red", "blue"))
        assert links["eth1", "out"]["waiting"] == red.forwarded > 900 and blue.injected == 0
        assert red.balance == 0 and not box.reader.drained()


def test_live_changes_keep_the_rest_and_what_waits(monkeypatch):
    with box_of() as box:
        box.start()
        box.tend(0.005)
        assert box.link("eth1") == [{"port": "eth1", "direction": "out"}] and box.reader.links() == []
        box.link("eth1", delay="1ms")
        box.tend(0.005)
        box.link("eth1", jitter="100us", limit=50)
        box.tend(0.005)
        box.link("eth1", limit=5000)  # more than its memory holds: frames move to another delay line
        box.tend(0.005)
        row = {"port": "eth1", "direction": "out", "delay": 10**6, "jitter": 10**5, "limit": 5000}
        assert box.link("eth1") == [row]
        waiting = balance(box)["eth1", "out"]["waiting"]
        assert waiting == pytest.approx(100, rel=0.1)
        with pytest.raises(ConfigError, match=r"link eth1: loss: 'x' is not a chance(.|\n)*link eth1: limit: must be"):
            box.link("eth1", delay="9ms", loss="x", limit=0)
        with pytest.raises(ConfigError, match="unknown key 'dealy'; did you mean"):
            box.link("eth1", dealy="9ms")
        with pytest.raises(PlatformError, match="no port 'eth9'"):
            box.link("eth9", delay="1ms")
        monkeypatch.setattr(cpus, "shm_free", lambda: 1 << 20)
        with pytest.raises(PlatformError, match="bytes of shared memory; /dev/shm has 1048576 free"):
            box.link("eth1", limit=100_000)
        monkeypatch.undo()
        assert box.link("eth1") == [row]
        assert box.link("eth1", clear=True, loss="10%") == [{"port": "eth1", "direction": "out", "loss.p": 0.1}]
        box.tend(0.005)
        box.pause()
        assert balance(box)["eth1", "out"]["lost"] > 20
        assert_accounts(box)
        assert [name for name in box.parts.runtime.builder.space.segments if name.startswith("line-")] == [
            "line-eth1-out-2"
        ]


def test_frames_for_a_router_that_has_gone_are_for_no_other_one():
    with box_of() as box:
        box.link("eth0", delay="2ms")
        box.start()
        box.tend(0.005)
        before = box.reader.router("red").injected
        box.remove("red")
        box.router("red", FORWARD)
        box.tend(0.003)
        box.pause()
        found, red = balance(box)["eth0", "in"], box.reader.router("red")
        assert found["unclaimed"] == pytest.approx(200, rel=0.1), "what was on its way when the router went"
        assert before + red.injected == found["arrived"] - found["unclaimed"] and red.injected > 0
        assert all(stats.balance == 0 for stats in box.reader.routers())


def test_the_same_model_gives_the_same_bytes(tmp_path):
    captured = []
    for seed in (3, 3, 4):
        with vre.Platform(clock="virtual", machine="dell2950", seed=seed) as box:
            file = tmp_path / f"{len(captured)}.pcapng"
            box.nic("eth0", link=vre.Generator(rate=3e5, size="imix"))
            box.nic("eth1", link=vre.Capture(str(file)))
            box.router("red", FORWARD)
            box.link("eth1", delay="1ms", jitter="1ms", loss="5%", duplicate="5%", corrupt="5%", rate="500Mbps")
            box.run(0.01)
            captured.append((file.read_bytes(), box.reader.links()))
    assert captured[0] == captured[1] and captured[0][0] != captured[2][0]
    assert len(captured[0][0]) > 100_000


def test_real_processes_and_requests_over_the_socket():
    with vre.Platform(name=f"impaired{os.getpid()}") as box:
        box.nic("eth0", link=vre.Generator(rate=20_000))
        box.nic("eth1", link=vre.Cable("eth2"))
        box.nic("eth2")
        box.nic("eth3")
        mac = "02:00:00:00:00:99"
        box.router("red", FORWARD.replace("->", f"-> EtherRewrite(2:0:0:0:0:1, {mac}) ->", 1))
        box.router("blue", ENDED, ports={"eth2": {"mac": mac}})
        box.link("eth1", delay="5ms", jitter="1ms", loss="10%")
        box.start()
        wait_for(box, lambda: balance(box)["eth1", "out"]["arrived"] > 500)
        request = {"do": "link", "port": "eth0", "direction": "", "clear": False, "values": {"loss": "50%"}}
        said = json.loads(box.parts.control.said(json.dumps(request).encode()))
        assert said["rows"] == [{"port": "eth0", "direction": "in", "loss.p": 0.5}]
        wait_for(box, lambda: balance(box)["eth0", "in"]["lost"] > 500)
        box.pause()
        box.halt()
        links = balance(box)
        assert links["eth1", "out"]["lost"] > 20 and links["eth1", "out"]["waiting"] == 0
        assert box.reader.router("blue").injected == links["eth1", "out"]["arrived"]
        assert_accounts(box)
        assert not box.boundary.unexpected


def test_in_dilated_time_a_delay_is_one_of_the_cores_clocks():
    with vre.Platform(cores=2, name=f"slowly{os.getpid()}", clock="cpu", rebalance=False) as box:
        box.nic("eth0", link=vre.Generator(rate=50_000))
        box.nic("eth1")
        box.router("red", FORWARD, cores=(0,))
        box.router("blue", FORWARD, cores=(1,))
        box.link("eth0", delay="3ms", loss="5%")
        box.link("eth1", delay="3ms")
        box.start()
        wait_for(box, lambda: balance(box)["eth1", "out"]["arrived"] > 1000)
        clock = max(core["clock_ns"] for core in box.reader.cores())
        into = balance(box)["eth0", "in"]
        assert into["sent"] <= clock / 1e9 * 50_000 + 1000 and into["waiting"] > 0
        box.pause(5)
        box.halt()
        links = balance(box)
        assert sum(s.injected for s in box.reader.routers()) == links["eth0", "in"]["arrived"]
        assert sum(s.forwarded for s in box.reader.routers()) == links["eth1", "out"]["sent"]
        assert links["eth0", "in"]["waiting"] == links["eth1", "out"]["waiting"] == 0
        assert_accounts(box)


def test_real_frames_are_delayed_and_lost_both_ways():
    """A ping waits on the first link's way in, and on the second one's way out; its answer does not wait."""
    network = Network()
    network.box.link("eth0", direction="in", delay="5ms")
    network.box.link("eth1", delay="10ms")
    with network:
        said = network.ask("ping -c 5 -i 0.02 10.2.0.2")
        assert all(float(time) >= 15 for time in re.findall(r"time=([\d.]+)", said)) and " 0% packet loss" in said
        network.box.link("eth1", loss="100%")
        assert "100% packet loss" in network.ask("ping -c 3 -i 0.02 -W 1 10.2.0.2", ends=False)
        network.box.link("eth1", loss=0, limit=2, delay="1s")
        network.ask("ping -c 9 -f -W 1 10.2.0.2", ends=False)
        network.settle()
        links = balance(network.box)
        assert links["eth1", "out"]["lost"] >= 3 and links["eth1", "out"]["over_limit"] >= 5
        assert links["eth1", "out"]["arrived"] >= 5 and links["eth0", "in"]["arrived"] >= 17
        assert network.box.link("eth0") == [
            {"port": "eth0", "direction": "in", "delay": 5_000_000},
            {"port": "eth0", "direction": "out"},
        ]
