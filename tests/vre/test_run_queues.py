# SPDX-License-Identifier: MIT
"""Run queues: a task is in its client's list once, or not at all, and the worker is told of each change."""

from __future__ import annotations

import pytest

from shm.intrinsics import load64
from shm.layout import CLIENT, CORE, TASK
from tests.harness import Bench
from vre.memory.run_queues import link, unlink


@pytest.fixture
def bench():
    with Bench("FromDevice(eth0) -> Queue(8) -> ToDevice(eth1);") as bench:
        yield bench


def listed(bench):
    """Return the tasks in the list of the bench's only client, as a worker walks it."""
    found, at = [], load64(load64(bench.tasks[0] + TASK["client"]) + CLIENT["tasks"])
    while at:
        found.append(at)
        at = load64(at + TASK["next"])
    return found


def link_again(bench, task):
    client, slot = load64(task + TASK["client"]), load64(task + TASK["slot"])
    link(bench.builder, client, (slot - bench.builder.cores[0].passes) // 8, 0, task)
    assert load64(task + TASK["slot"]) == slot


def test_a_task_is_unlinked_and_linked_again(bench):
    one, other = bench.tasks
    assert sorted(listed(bench)) == sorted(bench.tasks)
    for task, left in ((one, other), (other, one)):
        unlink(bench.builder, 0, task)
        assert listed(bench) == [left] and load64(task + TASK["enabled"]) == 0
        link_again(bench, task)
        assert listed(bench) == [task, left] and load64(task + TASK["enabled"]) == 1


def test_a_task_is_never_in_a_list_twice(bench):
    before = listed(bench)
    for task in bench.tasks:
        link_again(bench, task)
    assert listed(bench) == before
    for _ in range(2):
        unlink(bench.builder, 0, before[0])
        assert listed(bench) == before[1:]


def test_each_change_is_told_to_the_core(bench):
    def told():
        return load64(bench.core + CORE["roster"])

    for change in (lambda task: unlink(bench.builder, 0, task), lambda task: link_again(bench, task)):
        before = told()
        change(bench.tasks[0])
        assert told() == before + 1
