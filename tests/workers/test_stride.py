# SPDX-License-Identifier: MIT
"""Stride scheduling on a logical clock."""

from __future__ import annotations

import ctypes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shm.layout import CLIENT, IDLE_PASS
from shm.memory import load64, store64
from workers.stride import charge, join, leave, pick, strides


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
            charge(self.client(chosen), self.slot(chosen), cost(chosen))
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
    charge(core.client(1), core.slot(1), 1_000_000)
    leave(core.client(1), core.slot(1))
    join(core.client(1), core.slot(1), 0)
    assert load64(core.slot(1)) > load64(core.slot(0)), "no debt is forgiven for sleeping either"


def test_all_idle_is_nobody():
    core = Core([1.0, 2.0])
    for i in range(2):
        leave(core.client(i), core.slot(i))
    assert pick(core.passes, 2) == -1
