# SPDX-License-Identifier: MIT
"""Step 1 without processes: against brute force, at size, and what follows for weights."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vre.config.machines import DELL2950, HOST
from vre.config.model import Model, Router
from vre.config.reader import from_text
from vre.placement.allocate import Group, allocate, fill_up, groups_of, objective, solve, split
from vre.placement.bandwidth import Core, by_memory, paces
from vre.placement.demand import Seen, changed, cost, demand

ONE = "FromDevice(a) -> ToDevice(b);"
PIPE = "in :: FromDevice(a) -> Queue -> out :: Unqueue -> ToDevice(b);"


def brute_force(groups, count, machine):
    """Return the least objective of all placements: the reference."""
    places = itertools.product(*(g.allowed for g in groups))
    return min(objective(groups, list(cores), machine, count) for cores in places)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3), st.data())
def test_small_problems_are_solved_exactly(count, data):
    loads = data.draw(st.lists(st.floats(0.01, 1.0), min_size=1, max_size=6))
    groups = []
    for i, load in enumerate(loads):
        after = (i - 1,) if i and data.draw(st.booleans()) else ()
        pins = data.draw(st.sampled_from([tuple(range(count)), (0,), (count - 1,)]))
        groups.append(Group("r", (i,), pins, math.inf, load, after))
    cores = solve(groups, count, DELL2950)
    assert all(core in g.allowed for core, g in zip(cores, groups, strict=True))
    assert objective(groups, cores, DELL2950, count) == pytest.approx(brute_force(groups, count, DELL2950))


def test_a_thousand_paths_on_64_cores_are_balanced():
    groups = [Group(f"r{i}", (0,), tuple(range(64)), math.inf, 0.01 * (1 + i % 11)) for i in range(1000)]
    cores = solve(groups, 64, HOST)
    loads = [sum(g.load for g, c in zip(groups, cores, strict=True) if c == core) for core in range(64)]
    assert max(loads) <= 1.05 * sum(loads) / 64


def test_a_pipeline_is_kept_near():
    model = Model(cores=8, machine="dell2950", clock="virtual")
    for i in range(4):
        model.routers[f"r{i}"] = Router(f"r{i}", 1.0, from_text(PIPE))
    placed = allocate(model)
    for name in model.routers:
        first, second = (p.core for p in placed if p.router == name)
        assert DELL2950.distance(first, second) == 1, "on a pair of cores that share a cache"


def test_pins_of_the_configuration_and_of_the_file():
    model = Model(cores=4)
    model.routers["red"] = Router("red", 1.0, from_text("StaticThreadSched(in 3, out 2);" + PIPE))
    model.routers["blue"] = Router("blue", 1.0, from_text(ONE), cores=(3,))
    assert [p.core for p in allocate(model)] == [3, 2, 3]


@given(st.floats(0.1, 10), st.lists(st.tuples(st.floats(0.1, 10), st.floats(0, 5)), min_size=1, max_size=6))
def test_filling_up_is_max_min_fair(capacity, wanted):
    shares = fill_up(capacity, {str(i): one for i, one in enumerate(wanted)})
    assert sum(shares.values()) == pytest.approx(min(capacity, sum(most for _, most in wanted)))
    hungry = [shares[str(i)] / weight for i, (weight, most) in enumerate(wanted) if shares[str(i)] < most - 1e-9]
    for i, (weight, most) in enumerate(wanted):
        assert shares[str(i)] <= most + 1e-9
        # Who has all that he wants has no more by weight than who has not.
        assert not hungry or shares[str(i)] / weight <= min(hungry) + 1e-6
    assert not hungry or max(hungry) == pytest.approx(min(hungry))


def test_a_router_on_two_cores_gets_what_it_was_promised_in_all():
    model = Model(cores=2)
    two = "FromDevice(a) -> ToDevice(b); FromDevice(b) -> ToDevice(a);"
    model.routers["wide"] = Router("wide", 1.0, from_text(two))
    model.routers["left"] = Router("left", 1.0, from_text(ONE), cores=(0,))
    model.routers["right"] = Router("right", 1.0, from_text(ONE), cores=(1,))
    weights = split(model, allocate(model))
    on = {core: sum(w for (_, c), w in weights.items() if c == core) for core in (0, 1)}
    got = sum(w / on[c] for (name, c), w in weights.items() if name == "wide")
    assert got == pytest.approx(2 / 3, rel=0.01), "a third of two cores"


def test_what_runs_moves_only_where_it_is_worth_it():
    model = Model(cores=2)
    for name in "abc":
        model.routers[name] = Router(name, 1.0, from_text(ONE))
    now = {("a", 0): 1, ("b", 0): 1, ("c", 0): 0}
    assert [p.core for p in allocate(model, before=now)] == [1, 1, 0]
    badly = {("a", 0): 1, ("b", 0): 1, ("c", 0): 1}
    assert sorted(p.core for p in allocate(model, before=badly)) == [0, 1, 1]
    light = {("a", 0): 0.01, ("b", 0): 0.01}
    assert [p.core for p in allocate(model, light, before=now)] == [1, 1, 0]
    assert [g.load for g in groups_of(model, light)][:2] == [0.01, 0.01]


@pytest.mark.parametrize(
    ("cores", "allowed"),
    [
        ([Core(1, 5, 0.0, math.inf), Core(1, 5, 0.0, math.inf)], [5, 5]),
        ([Core(3, 5, 0.0, math.inf), Core(1, 5, 0.0, math.inf)], [7.5, 2.5]),
        # One that idles wanted less: what it leaves is the others', and it is not paced.
        ([Core(1, 1, 0.5, math.inf), Core(1, 9, 0.0, math.inf)], [math.inf, 8.75]),
        # One that idles because it has made its share wants more.
        ([Core(1, 5, 0.5, 5), Core(1, 5, 0.0, 5)], [5, 5]),
        ([Core(0, 0, 1.0, math.inf), Core(1, 9, 0.0, math.inf)], [math.inf, 10]),
    ],
)
def test_memory_accesses_are_divided_by_weight(cores, allowed):
    assert paces(cores, 10.0) == pytest.approx(allowed)


def test_costs_and_demands_of_a_look():
    before, now = Seen(0, 0, 0), Seen(2_000_000, 10_000, 0)
    assert cost(before, now) == 200 and demand(before, now, 10_000_000) == 0.2
    assert cost(before, Seen(5, 1, 0)) is None
    assert demand(before, Seen(2_000_000, 10_000, 7), 10_000_000) == math.inf
    assert [by_memory(now, 0.8, 1.0) for now in (False, True)] == [False, True]
    assert by_memory(False, 0.95, 1.0) and not by_memory(True, 0.6, 1.0)
    assert changed(200, 300) and not changed(200, 220) and not changed(None, 5)
