# SPDX-License-Identifier: MIT
"""Stride scheduling on a logical clock."""

from __future__ import annotations

import ctypes
import random
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shm.intrinsics import load64, store64
from shm.layout import CLIENT, IDLE_PASS, MODEL_BITS, TASK
from workers.core.stride import (
    EWMA_BITS,
    REBASE,
    adopt,
    charge,
    charge_aside,
    join,
    leave,
    move_back,
    pick,
    price,
    sample,
    strides,
)


class Core:
    """Clients and passes in plain memory; `turn` does what the slice does."""

    def __init__(self, weights):
        self.count = len(weights)
        self._clients = ctypes.create_string_buffer(self.count * CLIENT.size)
        self._passes = (ctypes.c_int64 * self.count)()
        self.passes, self.rebases = ctypes.addressof(self._passes), 0
        for i, stride in enumerate(strides(weights)):
            store64(self.client(i) + CLIENT["wanted"], stride)
        self.look()

    def client(self, i):
        return ctypes.addressof(self._clients) + i * CLIENT.size

    def slot(self, i):
        return self.passes + 8 * i

    def look(self):
        """Do what the slice does every few us; return the least pass."""
        floor = max(0, min(load64(self.slot(i)) for i in range(self.count)))
        if floor >= REBASE:
            floor -= REBASE
            self.rebases += 1
        for i in range(self.count):
            if load64(self.client(i) + CLIENT["rebases"]) != self.rebases:
                move_back(self.client(i), self.slot(i), self.rebases)
            if load64(self.client(i) + CLIENT["wanted"]) != load64(self.client(i) + CLIENT["stride"]):
                adopt(self.client(i), self.slot(i), floor)
        return floor

    def weigh(self, weights):
        for i, stride in enumerate(strides(weights)):
            store64(self.client(i) + CLIENT["wanted"], stride)
        self.look()

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


@pytest.mark.parametrize("ratio", [1.71, 3, 1000])
def test_any_ratio_to_within_a_percent(ratio):
    core = Core([1.0, ratio])
    for _ in range(int(200 * ratio)):
        core.turn(lambda i: 1000)
    assert core.used(1) / core.used(0) == pytest.approx(ratio, rel=0.01)


@pytest.mark.parametrize("ratio", [1000, 100_000])
def test_a_ratio_to_the_turn(ratio):
    """The small one's turns are exactly `ratio` turns of the large one apart, of which all but the last are charged
    at once: with the largest weight a charge is linear."""
    core = Core([1.0, ratio])
    for _ in range(200):
        assert core.turn(lambda i: 1000) == 0
        assert core.turn(lambda i: 1000 * (ratio - 1)) == 1
        assert core.turn(lambda i: 1000) == 1
    assert core.used(0) == 1000 * 200
    assert core.used(1) == 1000 * 200 * ratio


@pytest.mark.parametrize("ratio", [1e5, 1e9])
def test_the_whole_range_of_weights_is_exact(ratio):
    """The small one's turns are as far apart as its weight says: so many of the large one's in between, exactly."""
    core = Core([1e-3, 1e-3 * ratio])
    for cost in (50, 1_000, 60_000):
        before = [load64(core.slot(i)) for i in range(2)]
        charge(core.client(0), core.slot(0), cost, cost)
        charge(core.client(1), core.slot(1), cost, cost)
        small, large = (load64(core.slot(i)) - before[i] for i in range(2))
        assert small / large == pytest.approx(ratio, rel=1e-4)


def test_a_small_weight_alone_for_years_starves_nobody_and_is_not_starved():
    core = Core([1e-3, 1e6])
    leave(core.client(1), core.slot(1))
    for _ in range(20_000):
        core.turn(lambda i: 100_000)
        core.look()
    assert core.rebases > 10 and core.used(0) == 20_000 * 100_000
    join(core.client(1), core.slot(1), core.look())
    assert [core.turn(lambda i: 100_000) for _ in range(1000)].count(1) >= 998
    leave(core.client(1), core.slot(1))
    assert [core.turn(lambda i: 100_000) for _ in range(10)] == [0] * 10


@pytest.mark.parametrize("start", [0, REBASE - 12_345, (1 << 60) - 1, 1 << 61])
def test_passes_moved_back_change_no_decision(start):
    expected, found = [], []
    for shift, chosen in ((0, expected), (start, found)):
        core = Core([1.0, 3.0, 7.5])
        for i in range(3):
            store64(core.slot(i), shift + 1000 * i)
        for turn in range(3000):
            long = 10_000_000_000_000_000 * (turn == 1000)
            chosen.append(core.turn(lambda i, long=long: 700 + 13 * i + long))
            if turn % 10 == 0:
                core.look()
            if turn == 2000:
                leave(core.client(2), core.slot(2))
            if turn == 2100:
                join(core.client(2), core.slot(2), core.look())
    assert found == expected


def test_a_change_of_weights_keeps_what_each_is_ahead_in_ticks():
    """Someone with a large weight comes, and goes again: what others owe does not grow or shrink a thousand times."""
    core = Core([1.0, 1.0, 1.0])
    leave(core.client(2), core.slot(2))
    charge(core.client(1), core.slot(1), 50_000, 50_000)
    core.weigh([1.0, 1.0, 1e6])
    core.weigh([1.0, 1.0, 1.0])
    assert [core.turn(lambda i: 1000) for _ in range(52)] == [0] * 51 + [1]
    core = Core([1.0, 1e6])
    for _ in range(10):
        core.turn(lambda i: 1000)
    core.weigh([1.0, 1.0])
    used = [core.used(i) for i in range(2)]
    for _ in range(2000):
        core.turn(lambda i: 1000)
    got = [core.used(i) - used[i] for i in range(2)]
    assert abs(got[0] - got[1]) <= 2000


def test_a_worker_killed_while_passes_move_makes_nobody_wait_longer():
    """Cut off at each line of moving passes back, and of taking a stride over: what is done again forgives, at most."""
    line, done = 0, False
    while not done:
        line += 1
        core = Core([1.0, 2.0, 5.0])
        for i, ahead in enumerate((0, 7000, 900)):
            store64(core.slot(i), REBASE + 5 + ahead)
        leave(core.client(2), core.slot(2))
        for i, stride in enumerate(strides([1000.0, 1.0, 1.0])):
            store64(core.client(i) + CLIENT["wanted"], stride)
        left = line

        def trace(frame, event, argument):
            nonlocal left
            if not frame.f_code.co_filename.endswith("/stride.py"):
                return None
            left -= event == "line"
            if left == 0:
                raise KeyboardInterrupt
            return trace

        before = sys.gettrace()  # of coverage
        sys.settrace(trace)
        try:
            core.look()
            done = True
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        core.look()
        own = load64(core.client(2) + CLIENT["own_pass"])
        assert 0 <= load64(core.slot(0)) <= 5
        assert 0 <= load64(core.slot(1)) <= 5 + 7000 * 2000 and 0 <= own <= 5 + 900 * 5000
        assert [load64(core.client(i) + CLIENT["stride"]) for i in range(3)] == strides([1000.0, 1.0, 1.0])
    assert line > 50
    assert (load64(core.slot(1)), own) == (5 + 7000 * 400, 5 + 900 * 1000)


def test_what_is_charged_aside_ends_far_from_idle():
    core = Core([1.0, 1e9])
    for _ in range(5000):
        charge_aside(core.client(0), core.slot(0), 1 << 40)
    assert 0 < load64(core.slot(0)) < IDLE_PASS
    assert [core.turn(lambda i: 1000) for _ in range(100)] == [1] * 100


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
    """Over any window, two backlogged clients differ by less than a turn of each: the bound of workers.core.stride."""
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
    for _ in range(40 + 5 * every):  # more than 40 of them are sampled
        sample(task, every, 1_000_000, 10)
    assert load64(task + TASK["cost"]) > 90_000 << MODEL_BITS, "a path that has become a hundred times as dear"
    assert price(1, task, 5, 0) == 5 and price(2, task, 5, 1) == price(2, task, 500, 9) > 0
    for cost in costs:
        before = load64(task + TASK["cost"])
        sample(task, 1, cost, 1)
        low, high = sorted((before, cost << MODEL_BITS))
        assert low <= load64(task + TASK["cost"]) <= high, "towards each sample, and never past it"
    for _ in range(300):
        sample(task, 1, costs[-1], 1)
    assert abs(load64(task + TASK["cost"]) - (costs[-1] << MODEL_BITS)) < 1 << EWMA_BITS
