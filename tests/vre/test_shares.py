# SPDX-License-Identifier: MIT
"""What part of a processor a domU gets: by groups where there are some, else by stopping it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

import vre.groups
import vre.shares
from tests.vre.helpers import assert_accounts
from tests.vre.test_domus import element, forward, needs_jail, platform
from vre.groups import Groups
from vre.shares import Throttle

with tempfile.TemporaryDirectory() as _folder:
    GROUPS = Groups("try", Path(_folder) / "groups")
    GROUPS.close()
needs_groups = pytest.mark.skipif(
    "cpu" not in GROUPS.controllers, reason="needs control groups that this user may make"
)


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


@needs_jail
def test_where_there_are_no_groups_a_domu_is_stopped_by_turns(tmp_path, monkeypatch):
    monkeypatch.setattr(vre.groups, "_V1", tmp_path / "none")
    monkeypatch.setattr(vre.groups, "_V2", tmp_path / "none")
    monkeypatch.setattr(vre.shares, "autogroups", lambda: False)
    busy = "def push(self, packet):\n    end = time.perf_counter() + 5e-5\n    while time.perf_counter() < end: pass"
    with platform(rate=50_000) as box:
        red = box.router("red", forward(element(tmp_path, busy)))
        box.start()
        box.tend(1.5)
        row = box.domus.rows()[0]
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
        box.tend(0.3)
        found = {c: folder / "red" / file for c, (folder, file, _) in box.domus._shares._groups._found.items()}
        scale = box.domus._shares._groups._found["cpu"][2]
        pid = str(box.domus.domus["red"].pid)
        assert all(pid in (file.parent / "cgroup.procs").read_text().split() for file in found.values())
        assert int(found["cpu"].read_text()) == round(512 * scale)
        box.write("red.entitlement", "3")
        box.tend(0.3)
        assert int(found["cpu"].read_text()) == round(768 * scale)
        if "memory" in found:
            assert int(found["memory"].read_text()) == (256 << 20) + vre.shares._MORE_MEMORY
        assert box.domus.rows()[0]["limits"] == ", ".join(c for c in ("memory", "pids") if c in found)
    assert not any(file.parent.parent.exists() for file in found.values())


@needs_groups
def test_groups_that_nobody_removed_are_removed_by_who_sweeps(tmp_path, monkeypatch):
    from shm.run_directory import RunDirectory, sweep

    monkeypatch.setenv("VRE_RUN", str(tmp_path))
    directory = RunDirectory("dead")
    directory.acquire()
    groups = Groups("dead", directory.path / "groups")
    folders = [folder for folder, _, _ in groups._found.values()]
    assert folders
    for folder in folders:
        (folder / "red").mkdir()
        groups._remember(folder / "red")
    os.close(directory._lock)  # as if it had been killed
    assert sweep() == ["dead"] and not any(folder.exists() for folder in folders)
