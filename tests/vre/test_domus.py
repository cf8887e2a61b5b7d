# SPDX-License-Identifier: MIT
"""Routers with code of their own: real jails, real traffic; crashes, hangs and what the platform makes of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

import vre
from tests.vre.platforms import (
    PASS,
    assert_accounts,
    element,
    forward,
    needs_jail,
    platform,
    wait_for,
    wait_for_packets,
)
from vre.domu.policy import (
    MAX_RESTARTS,
    QUARANTINED,
    RUNNING,
    STARTING,
)
from vre.errors import ConfigError, PlatformError

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
pytestmark = needs_jail


@pytest.mark.parametrize(
    "text",
    [
        f"Untrusted({EXAMPLES}/scrub.py:Scrub, 14, LEAST 20)",
        f"Untrusted({EXAMPLES}/limit.py:PerSource, 1000000)",
        f"Untrusted({EXAMPLES}/sample.py:Sample, 256)",
    ],
    ids=["packets", "compiled", "batches"],
)
def test_each_kind_of_element_forwards_and_accounts(text):
    with platform() as box:
        red = box.router("red", forward(text))
        box.start()
        wait_for_packets(box, 1001, red)
        box.halt()
        assert_accounts(box)
        assert red.stats().forwarded > 1000 and red.stats().latency_us["p50"] > 0


def test_elements_that_follow_each_other_cross_once(tmp_path):
    (tmp_path / "two.py").write_text(
        "class A:\n    def push(self, packet):\n        packet[0] = 1\n        return packet[-1] & 1\n"
        "class B:\n    def __init__(self, n):\n        self.n = int(n)\n    def push(self, packet):\n        packet[1] = self.n\n"
    )
    text = (
        f"FromDevice(eth0) -> a :: Untrusted({tmp_path}/two.py:A) -> b :: Untrusted({tmp_path}/two.py:B, 7) -> c :: Counter -> "
        "ToDevice(eth1); a[1] -> d :: Counter -> Discard;"
    )
    with platform() as box:
        red = box.router("red", text)
        assert [n.cls.__name__ for n in box.model.routers["red"].graph.nodes].count("Untrusted") == 1
        box.start()
        wait_for(box, lambda: max(int(red.read("c.count")), int(red.read("d.count"))) > 1000)
        box.halt()
        assert_accounts(box)
        counts = int(red.read("c.count")), int(red.read("d.count"))
        assert max(counts) > 1000 and counts[0] == red.stats().forwarded


def test_an_idle_domu_sleeps_until_a_packet_comes(tmp_path):
    with platform() as box:
        red = box.router("red", forward(element(tmp_path, PASS)))
        box.start()
        wait_for(box, lambda: red.stats().forwarded > 100)
        box.rest("red", True)
        box.tend(0.1)
        domu = psutil.Process(box.parts.domus.domus["red"].pid)
        if os.geteuid() == 0:  # nobody else may look
            assert Path(f"/proc/{domu.pid}/timerslack_ns").read_text() == "1000\n"
        before = domu.num_ctx_switches().voluntary
        box.tend(0.5)
        # One that looked every millisecond would have had hundreds.
        assert domu.num_ctx_switches().voluntary - before < 50
        done = red.stats().forwarded
        box.rest("red", False)
        wait_for(box, lambda: red.stats().forwarded > done + 1000)
        box.halt()
        assert_accounts(box)


def test_what_a_domu_makes_is_counted_as_made(tmp_path):
    text = element(tmp_path, "def push(self, packet):\n    packet.emit(0, b'x' * 60)")
    with platform(rate=2000) as box:
        red = box.router("red", forward(text))
        box.start()
        wait_for_packets(box, 500, red)
        box.pause()
        box.halt()
        assert_accounts(box)
        stats = red.stats()
        assert stats.forwarded > 1.5 * stats.packets > 100 and stats.injected == stats.forwarded + sum(
            stats.dropped.values()
        )


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("def push(self, packet):\n    os._exit(3)", "exited with status 3"),
        ("def push(self, packet):\n    ctypes.string_at(8)", "killed by SIGSEGV"),
        ("def push(self, packet):\n    while True: pass", "returned nothing for"),
        ("def push(self, packet):\n    time.sleep(100)", "returned nothing for"),
    ],
)
def test_a_domu_that_fails_is_restarted_and_then_quarantined(tmp_path, body, said):
    with platform() as box:
        red = box.router("red", forward(element(tmp_path, body)), domu=vre.Domu(deadline_ns=20_000_000))
        blue = box.router("blue", "FromDevice(eth0) -> ToDevice(eth1);", ports={"eth0": {"mac": "02:00:00:00:00:09"}})
        box.start()
        wait_for(box, lambda: box.parts.domus.domus["red"].policy.state == QUARANTINED)
        events = [event for event in box.events if said in event]
        # The kernel may take longer to end it than its deadline: then it has hung.
        assert len(events) >= MAX_RESTARTS, box.events
        assert sum("quarantined for" in event for event in box.events) == 1
        wait_for_packets(box, 1, blue)
        wait_for(box, lambda: red.stats().dropped.get("domu_down", 0) > 0)
        box.pause()
        box.halt()
        assert_accounts(box)


def test_a_hostile_call_quarantines_until_somebody_releases(tmp_path):
    text = element(tmp_path, "def push(self, packet):\n    ctypes.CDLL(None).ptrace(0, 0, 0, 0)")
    with platform() as box:
        box.router("red", forward(text))
        box.start()
        domu = box.parts.domus.domus
        wait_for(box, lambda: domu["red"].policy.state == QUARANTINED)
        assert "attacker" in box.events[0] and "until it is released" in box.events[0]
        box.write("red.release", "1")
        wait_for(box, lambda: domu["red"].policy.restarts == 1 and domu["red"].policy.state == QUARANTINED)
        with pytest.raises(PlatformError, match="not quarantined"):
            box.parts.domus.domus["red"].policy.state = RUNNING
            box.release("red")


def test_two_hundred_deaths_leave_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("vre.domu.policy.MAX_RESTARTS", 1000)
    process = psutil.Process()
    with platform() as box:
        red = box.router("red", forward(element(tmp_path, PASS)))
        box.start()
        domu = box.parts.domus.domus["red"]
        children, descriptors = len(process.children(recursive=True)), process.num_fds()
        maps = len(process.memory_maps(grouped=False))
        for _ in range(200):
            os.kill(domu.pid, signal.SIGKILL)
            wait_for(box, lambda before=domu.serial: domu.serial > before)
            wait_for(box, lambda: domu.closing is None and domu.policy.state == RUNNING)
        assert domu.policy.restarts == 200
        assert process.num_fds() == descriptors and len(process.children(recursive=True)) == children
        assert abs(len(process.memory_maps(grouped=False)) - maps) <= 2
        wait_for_packets(box, 1, red)
        box.pause()
        box.halt()
        assert_accounts(box)


def test_a_domu_does_not_run_before_it_is_known_who_it_is(tmp_path, monkeypatch):
    with platform() as box:
        box.router("red", forward(element(tmp_path, PASS)))
        box.start()
        domu = box.parts.domus.domus["red"]
        os.kill(domu.pid, signal.SIGKILL)
        wait_for(box, lambda: domu.policy.state == STARTING and domu.asked)
        with monkeypatch.context() as patch:
            patch.setattr(box.parts.domus.zygote, "look", lambda now: ([], False))
            wait_for(box, lambda: domu.ready)
            box.tend(0.05)
            assert domu.pid == 0 and domu.policy.state == STARTING
        wait_for(box, lambda: domu.policy.state == RUNNING and domu.pid > 0)


def test_nothing_is_left_when_the_platform_is_killed(tmp_path):
    file = tmp_path / "lab.toml"
    file.write_text(
        "[nics.eth0]\nlink = { rate = 10000 }\n[nics.eth1]\n[routers.red]\n"
        f'config = "{forward(element(tmp_path, PASS))}"\nports = {{ eth0 = {{ mac = "02:00:00:00:00:01" }} }}\n'
    )
    command = [sys.executable, "-m", "vre", "run", str(file), "--name", f"killed{os.getpid()}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if "running on" in line:
            break
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 6
    process.kill()
    process.wait()
    process.stderr.close()
    _, alive = psutil.wait_procs(family, timeout=5)
    assert alive == []
    subprocess.run([sys.executable, "-m", "vre", "doctor"], capture_output=True, check=False)
    assert not list(Path("/sys/fs/cgroup").glob(f"*/vre.*killed{os.getpid()}"))


def test_a_domu_asks_for_what_is_its_routers_and_for_nothing_else(tmp_path):
    body = (
        "def push(self, packet):\n"
        "    if not hasattr(self, 'done'):\n"
        "        self.done = True\n"
        "        self.control.ask(do='add_route', table='rt', route='10.9.0.0/16 1')\n"
        "        self.control.ask(do='set_address', element='fix', address='10.9.0.1')\n"
        "        for request in ({'do': 'shutdown'}, {'do': 'set_address', 'element': 'fix', 'address': '10.9'},\n"
        "                        {'do': 'set_address', 'element': 'rt', 'address': '10.9.0.1'}, {'do': 'read', 'handler': 'nobody.count'}, {'do': 'add_route'},\n"
        "                        {'do': 'add_route', 'table': 5, 'route': '10.9.0.0/16 1'}):\n"
        "            try:\n"
        "                self.control.ask(**request)\n"
        "            except ValueError as error:\n"
        "                print(error, flush=True)\n"
        "        print('counters', self.control.ask(do='counters')['ok'], flush=True)"
    )
    text = (
        f"FromDevice(eth0) -> u :: {element(tmp_path, body)} -> GetIPAddress(30) -> rt :: StaticIPLookup(0.0.0.0/0 0, 10.8.0.0/16 1) -> "
        "fix :: FixIPSrc(10.8.0.1) -> ToDevice(eth1); rt[1] -> Discard;"
    )
    with platform(rate=1000) as box:
        # It holds its packet while it asks: five answers may take longer than a deadline of 50 ms.
        red = box.router("red", text, domu=vre.Domu(deadline_ns=1_000_000_000))
        box.start()
        wait_for(box, lambda: any("counters True" in event for event in box.events))
        assert "10.9.0.0/16" in red.read("rt.table") and red.read("fix.addr") == str(10 << 24 | 9 << 16 | 1)
        said = " ".join(box.events)
        assert "'do' must be one of" in said and "no element 'nobody'" in said and "must be a string" in said
        assert "request 'add_route' needs 'table'" in said
        assert "'rt' has no address that can be set" in said and "'10.9'" in said


def test_a_router_with_code_of_its_own_comes_and_goes_and_changes(tmp_path):
    with platform() as box:
        red = box.router("red", "FromDevice(eth0) -> ToDevice(eth1);", ports={"eth0": {"mac": "02:00:00:00:00:01"}})
        box.start()
        box.replace("red", forward(element(tmp_path, PASS)))
        wait_for_packets(box, 1, red)
        assert box.parts.domus.rows()[0]["state"] == RUNNING
        box.replace("red", "FromDevice(eth0) -> ToDevice(eth1);")
        assert box.parts.domus.rows() == []
        box.tend(0.2)
        box.pause()
        box.halt()
        assert_accounts(box)


def test_a_replacement_that_cannot_be_loaded_changes_nothing(tmp_path):
    (tmp_path / "bad.py").write_text("raise RuntimeError('no')\nclass X:\n    push = None\n")
    with platform(rate=1000) as box:
        red = box.router("red", forward(element(tmp_path, PASS)), domu=vre.Domu(deadline_ns=1_000_000_000))
        box.start()
        pid = box.parts.domus.domus["red"].pid
        with pytest.raises(ConfigError, match="cannot load its elements: RuntimeError: no"):
            box.replace("red", forward(f"Untrusted({tmp_path}/bad.py:X)"))
        assert list(box.parts.domus.domus) == ["red"] and box.parts.domus.domus["red"].pid == pid
        dropped = red.stats().dropped
        wait_for_packets(box, 501, red)
        assert red.stats().dropped == dropped
        box.pause()
        box.halt()
        assert_accounts(box)


def test_the_cpu_time_of_a_domu_is_charged_to_its_router(tmp_path):
    busy = "def push(self, packet):\n    end = time.perf_counter() + 2e-5\n    while time.perf_counter() < end: pass"
    with platform(rate=20_000, idle="sleep") as box:
        ports = {"eth0": {"mac": "02:00:00:00:00:01"}}
        red = box.router("red", forward(element(tmp_path, busy)), ports=ports, domu=vre.Domu(core=0))
        box.router("blue", "FromDevice(eth0) -> ToDevice(eth1);", ports={"eth0": {"mac": "02:00:00:00:00:02"}})
        box.start()
        before, spent = red.stats().used_ticks, box.parts.domus.domus["red"].cpu_ns
        box.tend(1.0)
        charged = (red.stats().used_ticks - before) * box.parts.runtime.ns_per_tick
        spent = box.parts.domus.domus["red"].cpu_ns - spent
        assert spent > 0 and charged >= 0.7 * spent


def test_show_tells_of_domus_and_events(tmp_path):
    with platform() as box:
        box.router("red", forward(element(tmp_path, PASS)))
        box.start()
        box.parts.runtime.report("something happened")
        for what, wanted in (("domus", RUNNING), ("events", "something happened")):
            command = [sys.executable, "-m", "vre", "show", what, "--name", box.model.name, "--json"]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                while process.poll() is None:
                    box.tend(0.02)
                rows = json.loads(process.stdout.read())
            assert wanted in rows[-1].values()


@pytest.mark.parametrize("tier", ["strict", "reduced"])
def test_no_file_of_the_host_gets_into_a_jail_and_what_is_printed_gets_out(tmp_path, tried_tier, tier):
    if tried_tier(tier).error:
        pytest.skip(f"this host gives no {tier} jail")
    (tmp_path / "shadow.py").symlink_to("/etc/shadow")
    (tmp_path / "beside.py").write_text("NUMBER = 7\n")
    (tmp_path / "data.txt").write_text("data")
    body = (
        "def __init__(self):\n"
        f"    for file in ('{tmp_path}/data.txt', '{tmp_path}/shadow.py', '{tmp_path}', '/element/0/shadow.py', '/etc/shadow'):\n"
        "        try:\n            os.open(file, os.O_RDONLY)\n            print('opened', file)\n"
        "        except OSError:\n            print('refused', file)\n"
        "    print('number', beside.NUMBER, end='')\n    os._exit(3)\n"
        "def push(self, packet): pass"
    )
    with platform(sandbox=tier) as box:
        box.router("red", forward(element(tmp_path, body, imports="import beside")))
        box.start()
        events = list(box.events)
    first = next(i for i, event in enumerate(events) if "exited with status 3" in event)
    said = [event.partition("its domU says: ")[2] for event in events[:first]]
    assert "not taken along: shadow.py: it is a link: name the file itself" in said
    assert sum(line.startswith("refused") for line in said) == 5 and not any("opened" in line for line in said)
    # Not even a line: and it ended without a word more.
    assert "number 7" in said
