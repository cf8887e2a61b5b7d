# SPDX-License-Identifier: MIT
"""What a worker does in the interpreter between slices, where it fails: it is its path's matter, and nobody else's."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from shm.intrinsics import load64, store64
from shm.layout import CORE, TASK
from shm.segment import SegmentError
from tests.shm.test_channel import ELEMENT
from workers.core import worker as module
from workers.core.worker import Worker

CONFIG = f"FromDevice(eth0) -> {ELEMENT} -> Discard; FromDevice(eth1) -> Print(x, ACTIVE false) -> Discard;"


def fails(*arguments):
    raise SegmentError("no more mappings")


@pytest.fixture
def mapped(bench, monkeypatch):
    """Return a bench of two paths, one of them through a channel, and the calls that mapped it."""
    calls = []
    monkeypatch.setattr(module, "follow", calls.append)
    monkeypatch.setattr(module, "line_meter", lambda tasks: None)
    return bench(CONFIG), calls


def worker(bench):
    return Worker(bench.manifest, 0, lambda core, until: 0, lambda: 7)


def crossing(bench):
    return [task.address for router in bench.manifest.routers for task in router.tasks if task.channels]


def test_who_cannot_map_a_channel_ends_with_the_stamp_of_its_path(mapped, monkeypatch):
    b, calls = mapped
    one = worker(b)
    assert calls == [], "a zygote maps nothing"
    monkeypatch.setattr(module, "follow", fails)
    with pytest.raises(SegmentError):
        one.take_over()
    stamped = load64(b.core + CORE["task"])
    assert stamped in crossing(b) and load64(b.core + CORE["since"]) == 7
    # What the supervisor does then; the next worker has all other paths.
    store64(b.core + CORE["task"], 0)
    for task in crossing(b):
        store64(task + TASK["enabled"], 0)
    one = worker(b)
    one.take_over()
    assert load64(b.core + CORE["seen_roster"]) == load64(b.core + CORE["roster"])
    assert len(one.slow) == len(b.tasks)
    # Released, it is tried again.
    monkeypatch.setattr(module, "follow", calls.append)
    one.look_round()
    assert calls == b.channels and load64(b.core + CORE["task"]) == 0


def test_the_wire_does_not_end_for_a_channel_that_it_cannot_map(mapped, monkeypatch):
    b, _ = mapped
    b.manifest = replace(b.manifest, cores=(replace(b.manifest.cores[0], nic=True),))
    one = worker(b)
    store64(b.core + CORE["roster"], 5)
    monkeypatch.setattr(module, "follow", fails)
    one.take_over()
    assert load64(b.core + CORE["seen_roster"]) != 5 and load64(b.core + CORE["task"]) == 0
    monkeypatch.setattr(module, "follow", lambda channel: None)
    one.visit(1)
    assert load64(b.core + CORE["seen_roster"]) == 5


def test_a_slow_path_that_cannot_be_had_is_missed_by_its_worker_and_not_by_the_zygote(mapped, monkeypatch):
    b, _ = mapped
    monkeypatch.setattr(module, "SlowTask", fails)
    one = worker(b)
    assert one.slow == []
    with pytest.raises(SegmentError):
        one.take_over()
    assert load64(b.core + CORE["task"]) in b.tasks and load64(b.core + CORE["pid"]) == os.getpid()
    store64(b.core + CORE["task"], 0)


@pytest.mark.parametrize("error", [OSError, ValueError, FloatingPointError])
def test_a_meter_that_fails_measures_no_more(mapped, error):
    class Meter:
        def after_slice(self):
            raise error

    b, _ = mapped
    one = worker(b)
    one._meter = Meter()
    store64(b.core + CORE["seen_roster"], load64(b.core + CORE["roster"]))
    one.visit(1)
    assert one._meter is None
