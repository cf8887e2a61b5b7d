# SPDX-License-Identifier: MIT
"""Stride scheduling on a logical clock."""

from __future__ import annotations

import ctypes
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shm.layout import CLIENT, IDLE_PASS, MODEL_BITS, TASK
from shm.memory import load64, store64
from workers.stride import charge, join, leave, pick, price, sample, strides


class Core:
    """Clients and passes in plain memory; `turn` does what the slice does."""

    def __init__(self, weights):
        self.count = len(weights)
        self._clients = ctypes.create_string_buffer(self.count * CLIENT.size)
        self._passes = (ctypes.c_int64 * self.count)()
        self.passes = ctypes.addressof(self._passes)
        for i, stride in enumerate(strides(weights)):
            store64(self.client(i) + CLIENT["stride"], stride)

    def client(self, i):
        return ctypes.addressof(self._clients) + i * CLIENT.size

    def slot(self, i):
        return self.passes + 8 * i

    def turn(self, cost):
        chosen = pick(self.passes, self.count)
        if chosen >= 0:
            taken = cost(chosen)
            charge(self.client(chosen), self.slot(chosen), taken, taken)
        return chosen

    def used(self, i):
        return load64(self.client(i) + CLIENT["used_ticks"])


weights = st.lists(st.floats(1, 100_000), min_size=2, max_size=8)


@settings(max_examples=60, deadline=None)
@given(weights, st.data())
def test_each_backlogged_client_is_within_a_turn_of_its_entitlement(given_weights, data):
    costs = data.draw(st.lists(st.integers(100, 100_000), min_size=len(given_weights), max_size=len(given_weights)))
    core = Core(given_weights)
    for _ in range(1000):
        core.turn(lambda i: costs[i])
    # A client is ahead by less than its own turn, so its pass exceeds the least by at most that turn's.
    rates = [core.used(i) / given_weights[i] for i in range(core.count)]
    bound = max(costs[i] / given_weights[i] for i in range(core.count))
    assert max(rates) - min(rates) <= bound * 1.001 + 1


@pytest.mark.parametrize("ratio", [1.71, 3, 1000, 100_000])
def test_any_ratio_to_within_a_percent(ratio):
    core = Core([1.0, ratio])
    turns = int(200 * ratio)
    for _ in range(min(turns, 2_000_000 if ratio <= 1000 else 300_000)):
        core.turn(lambda i: 1000)
    if ratio <= 1000:
        assert core.used(1) / core.used(0) == pytest.approx(ratio, rel=0.01)
    else:
        assert strides([1.0, ratio])[0] / strides([1.0, ratio])[1] == pytest.approx(ratio, rel=1e-4)


def test_who_was_idle_joins_at_the_least_pass_and_keeps_his_debt():
    core = Core([1.0, 1.0])
    leave(core.client(1), core.slot(1))
    assert load64(core.slot(1)) == IDLE_PASS
    for _ in range(50):
        assert core.turn(lambda i: 1000) == 0
    join(core.client(1), core.slot(1), load64(core.slot(0)))
    used = core.used(0)
    for _ in range(50):
        core.turn(lambda i: 1000)
    assert abs(core.used(1) - (core.used(0) - used)) <= 1000, "no credit for having slept"
    charge(core.client(1), core.slot(1), 1_000_000, 1_000_000)
    leave(core.client(1), core.slot(1))
    join(core.client(1), core.slot(1), 0)
    assert load64(core.slot(1)) > load64(core.slot(0)), "no debt is forgiven for sleeping either"


def test_all_idle_is_nobody():
    core = Core([1.0, 2.0])
    for i in range(2):
        leave(core.client(i), core.slot(i))
    assert pick(core.passes, 2) == -1


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.floats(1, 100), st.integers(1, 1000)), min_size=2, max_size=6),
    st.integers(1, 3),
    st.integers(),
)
def test_no_window_of_a_thousand_decisions_is_unfair(paths, spread, seed):
    """Over any window, two backlogged clients differ by less than a turn of each: the bound of workers.stride."""
    core = Core([weight for weight, _ in paths])
    chance = random.Random(seed)

    def cost(i):
        return paths[i][1] * 100 * chance.randint(1, spread)

    history = []
    for _ in range(2000):
        core.turn(cost)
        history.append([core.used(i) / paths[i][0] for i in range(core.count)])
    bound = sum(sorted((100 * c * spread / w for w, c in paths), reverse=True)[:2])
    for start in (0, 500, 999):
        got = [after - before for before, after in zip(history[start], history[start + 1000], strict=True)]
        assert max(got) - min(got) <= bound * 1.001 + 2


@given(st.lists(st.integers(1, 10_000), min_size=30, max_size=200), st.integers(1, 50))
def test_a_sampled_cost_follows_and_one_outlier_is_thrown_away(costs, every):
    memory = (ctypes.c_int64 * (TASK.size // 8))()
    task = ctypes.addressof(memory)
    for _ in range(200):
        sample(task, every, 1000 * 10, 10)
    settled = load64(task + TASK["cost"])
    assert settled == 1000 << MODEL_BITS
    store64(task + TASK["sample_in"], 0)
    sample(task, every, 10_000_000, 10)
    assert load64(task + TASK["cost"]) == settled, "a preemption"
    for _ in range(200 * every):
        sample(task, every, 1_000_000, 10)
    assert load64(task + TASK["cost"]) > 90_000 << MODEL_BITS, "a path that has become a hundred times as dear"
    assert price(1, task, 5, 0) == 5 and price(2, task, 5, 1) == price(2, task, 500, 9) > 0
    for cost in costs:
        sample(task, 1, cost, 1)
    assert load64(task + TASK["cost"]) > 0
