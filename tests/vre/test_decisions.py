# SPDX-License-Identifier: MIT
"""Decisions without processes: allocation, supervision, what fits a host."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace

from shm.intrinsics import load64, store64
from shm.layout import CORE, TASK
from shm.manifest import CurrentManifest
from vre.config.model import Model, Router
from vre.config.reader import from_text
from vre.placement.allocate import allocate, expected_shares, placement
from vre.supervision.cpus import fit
from vre.supervision.restart_policy import GiveUp, Quarantine, Recover, Restart, Rewire, Stamped, Supervisor, cause
from vre.supervision.watchdog import Watchdog

TWO_PATHS = "FromDevice(a) -> Queue -> ToDevice(b); FromDevice(b) -> Counter -> ToDevice(a);"
ONE = "FromDevice(a) -> ToDevice(b);"


def model(cores, *routers):
    found = Model(cores=cores)
    for name, weight, text, pins in routers:
        found.routers[name] = Router(name, weight, from_text(text), {}, pins)
    return found


def test_elements_shared_by_tasks_keep_them_together_and_queues_part_them():
    graph = from_text(TWO_PATHS)
    assert sorted(len(g) for g in graph.groups) == [1, 2]
    shared = from_text("FromDevice(a) -> c :: Counter -> ToDevice(b); FromDevice(b) -> c;")
    assert len(shared.groups) == 1
    split = from_text("FromDevice(a) -> Queue -> Unqueue -> Counter -> Discard;")
    assert len(split.groups) == 2


def test_paths_go_to_the_least_loaded_core_the_heaviest_first():
    placed = allocate(model(2, ("red", 3, ONE, None), ("blue", 1, ONE, None), ("green", 2, ONE, None)))
    where = {p.router: p.core for p in placed}
    assert where["red"] != where["green"] == where["blue"]
    assert placement(placed)["red", 0] == where["red"]


def test_pins_are_honoured_and_shares_follow():
    lab = model(2, ("red", 1, ONE, (1,)), ("blue", 1, ONE, (1,)), ("green", 3, ONE, None))
    placed = allocate(lab)
    assert {p.router: p.core for p in placed} == {"red": 1, "blue": 1, "green": 0}
    shares = expected_shares(lab, placed)
    assert shares == {"red": 0.25, "blue": 0.25, "green": 0.5}


def test_a_router_with_two_paths_on_a_core_gets_no_more_than_one_with_one():
    lab = model(1, ("red", 1, TWO_PATHS, None), ("blue", 1, ONE, None))
    assert expected_shares(lab, allocate(lab)) == {"red": 0.5, "blue": 0.5}


def test_workers_are_replaced_but_not_for_ever():
    supervisor = Supervisor()
    for second in range(20):
        supervisor.forked(second, 0)
        assert supervisor.exited(second, -9, second / 10) == Restart(0)
    supervisor.forked(99, 0)
    last = supervisor.exited(99, 1, 2.1)
    assert isinstance(last, GiveUp) and "21 times" in last.reason and "status 1" in last.reason


def test_old_deaths_are_forgotten_and_other_exits_told_apart():
    supervisor = Supervisor()
    for i in range(100):
        supervisor.forked(i, 3)
        assert supervisor.exited(i, -11, i * 1.0) == Restart(3)
    assert supervisor.exited(4711, 0, 0.0) is None, "not one of ours"
    for i in range(100, 200):
        supervisor.forked(i, None)
        assert supervisor.exited(i, -9, i * 1.0) == Rewire()
    for i in range(200, 221):
        supervisor.forked(i, None)
        last = supervisor.exited(i, -9, 200.0)
    assert isinstance(last, GiveUp) and "the wire has ended" in last.reason
    supervisor.stopping = True
    supervisor.forked(6, 0)
    assert supervisor.exited(6, 0, 0.0) is None
    assert cause(-11) == "was killed by SIGSEGV"


def test_who_ends_workers_loses_the_path_then_the_router_and_never_the_platform():
    supervisor, taken = Supervisor(), []
    paths = [Stamped("red", f"path {i}", 64 * i) for i in range(50)]
    for pid in range(200):
        supervisor.forked(pid, 0)
        decision = supervisor.exited(pid, -11, pid / 100, paths[pid // 3 % 50] if pid % 4 else paths[0])
        assert isinstance(decision, Restart) and decision.core == 0
        taken.append(decision.quarantine)
    assert taken[:3] == [None, None, Quarantine("red", paths[0])]
    assert taken.count(Quarantine("red")) == 200 // 6
    supervisor.forked(999, 0)
    assert supervisor.exited(999, -9, 2.1) == Restart(0), "what paths did does not count for the core"


def test_a_path_that_ends_a_worker_now_and_then_is_left_alone():
    supervisor, path = Supervisor(), Stamped("red", "path", 64)
    for pid in range(100):
        supervisor.forked(pid, 0)
        assert supervisor.exited(pid, -9, pid * 5.1, path) == Restart(0)


def test_a_worker_that_ends_in_a_path_before_it_has_handed_over_counts_too():
    supervisor, path = Supervisor(), Stamped("red", "path", 64)
    for pid in range(3):
        supervisor.forked(pid, 0)
        supervisor.retire(pid)
        last = supervisor.exited(pid, -9, 0.1 * pid, path)
    assert last == Recover(0, Quarantine("red", path))


def test_what_is_quarantined_stays_so_when_it_is_moved_and_is_forgotten_when_it_is_gone():
    memory = [ctypes.create_string_buffer(layout.size) for layout in (TASK, TASK, CORE)]
    one, two, core = (ctypes.addressof(part) for part in memory)
    tasks = [SimpleNamespace(address=at, name=f"path {at}", core=0) for at in (one, two)]
    cores, routers = [SimpleNamespace(address=core, nic=False)], [SimpleNamespace(name="red", tasks=tasks)]
    manifest = CurrentManifest(SimpleNamespace(cores=cores, routers=routers))
    events = []
    watchdog = Watchdog(manifest, lambda router: 1.0, lambda number: 0, lambda number: None, events.append)
    for task in (one, two):
        store64(task + TASK["enabled"], 1)
    watchdog.quarantine(Quarantine("red", Stamped("red", f"path {one}", one)), 0.0)
    assert [load64(task + TASK["enabled"]) for task in (one, two)] == [0, 1]
    watchdog.quarantine(Quarantine("red"), 0.0)
    assert [found.task for found in watchdog.quarantined] == [one, two] and len(events) == 2
    store64(two + TASK["enabled"], 1)
    watchdog.look(1.0)
    assert load64(two + TASK["enabled"]) == 0
    del tasks[0]
    assert watchdog.release("red") == 1 and watchdog.quarantined == []
    assert [load64(task + TASK["enabled"]) for task in (one, two)] == [0, 1]
    assert load64(core + CORE["roster"]) == 1, "its worker looks what it needs for it"


def test_a_host_with_too_few_processors_dilates():
    assert fit(1, "auto", [0, 1]).dilated is False
    assert fit(1, "auto", [0, 1]).cpus == (1,)
    assert fit(3, "auto", [0, 1]).dilated is True
    assert fit(3, "auto", [0, 1]).cpus == (1, 1, 1)
    assert fit(3, "auto", [0, 1], wire="shared").cpus == (0, 1, 0)
    assert fit(1, "auto", [0]).dilated is True
    assert fit(1, "cpu", [0, 1, 2]).dilated is True
    assert fit(2, "wall", [0, 1]).dilated is False
    # A domU is with the wire only where there is nothing but that and one processor for cores.
    assert fit(1, "auto", [0, 1], domus=True).domu_cpus == (0,)
    assert fit(1, "auto", [0, 1, 2, 3], domus=True).domu_cpus == (2, 3)
    assert fit(2, "auto", [0, 1, 2], domus=True).domu_cpus == (1, 2)
    assert fit(4, "auto", [0, 1, 2, 3], domus=True).domu_cpus == (2, 3)
    assert fit(3, "auto", [0, 1, 2], domus=True, wire="shared").domu_cpus == (1, 2)
    assert fit(2, "auto", [0, 1, 2]).domu_cpus == (1, 2)
