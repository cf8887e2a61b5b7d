# SPDX-License-Identifier: MIT
"""What part of a processor a domU gets: by groups where there are some, else by stopping it."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import vre.domu.cgroups
import vre.domu.cpu_shares
from tests.vre.platforms import assert_accounts, element, forward, needs_jail, platform, wait_for
from vre.domu.cgroups import Groups
from vre.domu.cpu_shares import Throttle
from vre.supervision.processor_waits import ProcessorWaits
from vre.supervision.schedstat import Schedstat

needs_groups = pytest.mark.usefixtures("cpu_groups")


def test_a_throttle_lets_one_run_for_its_part_of_the_time():
    throttle, ran, runs = Throttle(0.25), 0, 0
    for step in range(2000):
        stopped = throttle.look(step * 0.005, ran)
        runs += not stopped
        ran += 0 if stopped else 5_000_000
    assert runs / 2000 == pytest.approx(0.25, abs=0.01)
    assert throttle.stopped_s == pytest.approx(7.5, abs=0.1)


def test_what_was_not_used_is_saved_for_a_moment_only():
    throttle = Throttle(0.5)
    throttle.look(0.0, 0)
    assert not throttle.look(100.0, 0)
    assert not throttle.look(100.004, 4_000_000)  # out of what was saved
    assert throttle.look(100.012, 12_000_000)


def spin(seconds, cpu):
    """Fork a process that works for some time; return its pid."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.sched_setaffinity(0, {cpu})
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pass
        os._exit(0)
    return pid


def test_the_time_of_all_threads_counts_though_they_have_ended():
    script = (
        "import threading, time\ndef work():\n    end = time.thread_time() + 0.1\n    while time.thread_time() < end: pass\n"
        "threads = [threading.Thread(target=work) for _ in range(3)]\n[t.start() for t in threads]; [t.join() for t in threads]\n"
        "print('done', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        stat = Schedstat(process.pid)
        stat.look(0.0)
        process.kill()
    assert stat.ran_ns > 300_000_000 and stat._first_ns < stat.ran_ns - 250_000_000


@needs_groups
@pytest.mark.timing
def test_a_weight_is_one_beside_the_platforms_own_processes(tmp_path):
    shares, cpu = vre.domu.cpu_shares.Shares(f"weigh{os.getpid()}", tmp_path / "groups"), min(os.sched_getaffinity(0))
    pids = [spin(1.0, cpu), spin(1.0, cpu)]
    try:
        assert shares.give("red", pids[0], pids[0], vre.domu.cpu_shares.weight_of(1 / 7), 1 << 28).means == "cgroup"
        time.sleep(0.1)
        times = [Schedstat(pid) for pid in pids]
        for _ in range(2):
            before = [stat.ran_ns for stat in times]
            for stat in times:
                stat.look(0.0)
            time.sleep(0.7)
        for stat in times:
            stat.look(0.0)
        domu, worker = [stat.ran_ns - b for stat, b in zip(times, before)]
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        shares.close()
    assert domu < 0.4 * worker


@pytest.mark.skipif(
    os.geteuid() != 0 or not vre.domu.cpu_shares.autogroups(), reason="needs root, and groups by session"
)
def test_an_ordinary_user_weighs_a_session_by_a_process_that_is_not_locked(tmp_path):
    child = os.fork()
    if child == 0:
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # dumpable, as one that was started by this user
        first = spin(20, min(os.sched_getaffinity(0)))
        said = "later"
        while said == "later":
            time.sleep(0.11)
            said = vre.domu.cpu_shares._weigh_session(first, vre.domu.cpu_shares.weight_of(1 / 7))
        nice = Path(f"/proc/{first}/autogroup").read_text().split()[-1]
        os.kill(first, signal.SIGKILL)
        os._exit(0 if (said, nice) == ("done", "9") else 1)
    assert os.waitpid(child, 0)[1] == 0
    # What is not so is not said: here nobody has such a process.
    assert vre.domu.cpu_shares._weigh_session(child, 100.0) == "refused"


def test_who_gets_more_than_its_weight_is_found_by_what_others_waited():
    weight = vre.domu.cpu_shares.weight_of(1 / 7)
    assert vre.domu.cpu_shares.exceeds(weight, 0.69, 0.6)
    assert not vre.domu.cpu_shares.exceeds(weight, 0.69, 0.01)  # nobody wanted it
    assert not vre.domu.cpu_shares.exceeds(weight, 0.14, 0.9)  # others had it


@needs_jail
@pytest.mark.timing
def test_a_domu_whose_weight_does_not_hold_is_stopped_by_turns(tmp_path, monkeypatch):
    monkeypatch.setattr(vre.domu.cpu_shares.Shares, "give", lambda self, *_: vre.domu.cpu_shares.Part("autogroup"))
    monkeypatch.setattr("vre.domu.accounting.EXCESS", 1)
    monkeypatch.setattr(ProcessorWaits, "look", lambda self, now: dict.fromkeys(range(64), 0.9))
    body = "def __init__(self):\n    threading.Thread(target=self.work, daemon=True).start()\ndef work(self):\n    while True: pass\n"
    with platform(rate=1000) as box:
        box.router("red", forward(element(tmp_path, body + "def push(self, packet): pass")))
        box.router(
            "blue", "FromDevice(eth0) -> ToDevice(eth1);", entitlement=20, ports={"eth0": {"mac": "02:00:00:00:00:09"}}
        )
        box.start()
        wait_for(box, lambda: box.parts.domus.rows()[0]["share by"] == "stops")
        assert "does not limit it here" in box.events[-1]
        box.tend(1.5)
        row = box.parts.domus.rows()[0]
        # Of one processor: a twentieth, and not what its threads could have had.
        assert row["cpu"] < 0.2 and row["restarts"] == 0


@needs_jail
@pytest.mark.timing
def test_where_there_are_no_groups_a_domu_is_stopped_by_turns(tmp_path, monkeypatch):
    monkeypatch.setattr(vre.domu.cgroups, "_V1", tmp_path / "none")
    monkeypatch.setattr(vre.domu.cgroups, "_V2", tmp_path / "none")
    monkeypatch.setattr(vre.domu.cpu_shares, "autogroups", lambda: False)
    busy = "def push(self, packet):\n    end = time.perf_counter() + 5e-5\n    while time.perf_counter() < end: pass"
    with platform(rate=50_000) as box:
        red = box.router("red", forward(element(tmp_path, busy)))
        box.start()
        box.tend(1.5)
        row = box.parts.domus.rows()[0]
        assert row["share by"] == "stops" and row["restarts"] == 0
        # Of one processor, against one worker that is for all routers: half.
        assert 0.1 < row["cpu"] < 0.65
        box.pause()
        box.halt()
        assert_accounts(box)
        assert red.stats().forwarded > 100


@needs_jail
@needs_groups
def test_groups_have_shares_that_follow_entitlements_and_limits(tmp_path):
    passes = "def push(self, packet):\n    pass"
    with platform(rate=5_000) as box:
        ports = {"eth0": {"mac": "02:00:00:00:00:01"}}
        box.router("red", forward(element(tmp_path, passes)), ports=ports)
        box.router("blue", "FromDevice(eth0) -> ToDevice(eth1);", ports={"eth0": {"mac": "02:00:00:00:00:02"}})
        box.start()
        wait_for(box, lambda: box.parts.domus.rows()[0]["share by"] == "cgroup")
        groups = box.parts.domus.cpu_shares.shares._groups
        found = {c: groups.group(c, "red") / file for c, (_, file, _) in groups._found.items()}
        scale = box.parts.domus.cpu_shares.shares._groups._found["cpu"][2]
        pid = str(box.parts.domus.domus["red"].pid)
        assert all(pid in (file.parent / "cgroup.procs").read_text().split() for file in found.values())
        assert int(found["cpu"].read_text()) == round(512 * scale)
        box.write("red.entitlement", "3")
        wait_for(box, lambda: int(found["cpu"].read_text()) == round(768 * scale))
        if "memory" in found:
            assert int(found["memory"].read_text()) == (256 << 20) + vre.domu.cpu_shares._MORE_MEMORY
        assert box.parts.domus.rows()[0]["limits"] == ", ".join(c for c in ("memory", "pids") if c in found)
    assert not any(file.parent.exists() for file in found.values())


@needs_groups
def test_groups_that_nobody_removed_are_removed_by_who_sweeps(tmp_path, monkeypatch):
    from shm.run_directory import RunDirectory, sweep

    monkeypatch.setenv("VRE_RUN", str(tmp_path))
    directory = RunDirectory("dead")
    directory.acquire()
    groups = Groups("dead", directory.path / "groups")
    folders = [groups.group(controller, "red") for controller in groups.controllers]
    assert folders
    for folder in folders:
        folder.mkdir()
        groups._remember(folder)
    os.close(directory._lock)  # as if it had been killed
    assert sweep() == ["dead"] and not any(folder.exists() for folder in folders)
