# SPDX-License-Identifier: MIT
"""Contested time: which windows count, for whom, and what a client is entitled to in them."""

from __future__ import annotations

import ctypes

import pytest

from shm.intrinsics import record
from shm.layout import CLIENT, CORE, IDLE_PASS, STRIDE_BITS
from workers.core.contest import WINDOW_NS, close_window


class Cores:
    """A core's record and some clients', set by hand."""

    def __init__(self, *weights):
        self._memory = [ctypes.create_string_buffer(layout.size + 64) for layout in (CORE, *[CLIENT] * len(weights))]
        self.core, *clients = [ctypes.addressof(memory) for memory in self._memory]
        self.state = record(self.core, CORE.dtype)
        self.clients = [record(client, CLIENT.dtype) for client in clients]
        self._table = (ctypes.c_int64 * len(weights))(*clients)
        self.passes = (ctypes.c_int64 * len(weights))(*[IDLE_PASS] * len(weights))
        for client, weight in zip(self.clients, weights, strict=True):
            client["stride"] = round((1 << STRIDE_BITS) * max(weights) / weight)

    def window(self, *used, length=WINDOW_NS):
        """Let a window pass in which each client used so many ticks; None: it has nothing to do."""
        for c, ticks in enumerate(used):
            if ticks is None:
                self.passes[c] = IDLE_PASS
                continue
            if self.passes[c] == IDLE_PASS:
                self.passes[c] = 0
                self.clients[c]["joins"] += 1
            self.clients[c]["used_ticks"] += ticks
        self.state["clock_ns"] += length
        close_window(self.core, ctypes.addressof(self._table), ctypes.addressof(self.passes), len(used))

    def account(self, c):
        """Return windows in which a client was backlogged and competed, what it used then, and what was its due."""
        fields = ("backlogged_ns", "contested_ns", "contested_used", "contested_due")
        backlogged, contested, used, due = (int(self.clients[c][field]) for field in fields)
        return backlogged // WINDOW_NS, contested // WINDOW_NS, used, due


def test_who_competes_throughout_is_entitled_to_a_part_by_weight():
    core = Cores(2, 1, 1)
    core.window(0, 0, 0)  # all join in here
    for _ in range(10):
        core.window(520, 240, 240)
    assert core.account(0) == (10, 10, 5200, 5000)
    assert core.account(1) == core.account(2) == (10, 10, 2400, 2500)


def test_who_is_alone_competes_with_nobody():
    core = Cores(1, 1)
    core.window(900, None)
    for _ in range(3):
        core.window(1000, None)
    assert core.account(0) == (3, 0, 0, 0) and core.account(1) == (0, 0, 0, 0)


def test_who_had_a_pause_has_had_what_it_wanted_and_the_others_divide_the_rest():
    core = Cores(1, 1, 1)
    core.window(0, 0, 0)
    for _ in range(4):
        core.clients[2]["joins"] += 1  # it left, and came back
        core.window(450, 450, 100)
    assert core.account(0) == core.account(1) == (4, 4, 1800, 1800)
    assert core.account(2) == (0, 0, 0, 0)


def test_windows_are_long_enough():
    core = Cores(1, 1)
    core.window(0, 0)
    for _ in range(10):
        core.window(50, 50, length=WINDOW_NS // 10)
    assert core.account(0) == core.account(1) == (1, 1, 500, 500)


def test_accesses_count_where_memory_is_shared_out():
    core = Cores(1, 1)
    core.state["by_memory"] = 1
    core.window(0, 0)
    core.clients[0]["used_lines"], core.clients[1]["used_lines"] = 300, 100
    core.window(10, 900)
    assert core.account(0) == (1, 1, 300, 200) and core.account(1) == (1, 1, 100, 200)


def test_a_step_is_the_longest_turn_by_weight_and_a_longer_one_is_made_good():
    core = Cores(2, 1)
    core.window(0, 0)

    def step(*turns):
        for client, turn in zip(core.clients, turns, strict=True):
            client["window_turn"] = turn
        core.window(600, 300)
        return [int(client["contested_step"]) for client in core.clients]

    assert step(10, 10) == [10, 10], "two are as far from their dues as each other, and a turn of the smaller at most"
    assert step(3000, 10) == [1500, 1500]
    assert [step(10, 10), step(10, 10)] == [[1200, 1200], [900, 900]]
    assert [step(10, 10) for _ in range(3)][-1] == [10, 10]
    assert [int(client["window_turn"]) for client in core.clients] == [-10, -10]
    assert step(-10, 12) == [12, 12], "who had no turn has one as long as its last"
    assert step(0, 40) == [40, 40] and step(40, 0) == [40, 40], "or as the longest of others"


def test_whoever_is_judged_is_within_four_percent_of_its_due():
    import vre

    with vre.Platform(machine="dell2950", clock="virtual") as box:
        box.nic("eth0", link=vre.Generator(flows=1), speed=100e9, slots=4096)
        box.nic("eth1")
        forward = "FromDevice(eth0) -> Strip(14) -> CheckIPHeader -> Unstrip(14) -> ToDevice(eth1);"
        for name, weight in (("red", 300), ("blue", 1), ("green", 1)):
            box.router(name, forward, entitlement=weight)
        box.start()
        judged, strayed = [], False
        for _ in range(75):
            box.tend(0.004)
            for stats in box.reader.routers():
                if stats.error is not None:
                    judged.append((abs(stats.error), stats.name))
                elif stats.contested_s > 0.01:
                    strayed |= abs(stats.contested_used / stats.contested_due - 1) > 0.05
        assert strayed, "turns are whole, and a few say nothing"
        assert max(judged, default=(0, ""))[0] <= 0.04
        assert {name for _, name in judged} == {"red", "blue", "green"}
        box.pause()
        box.halt()
        assert all(s.balance == 0 for s in box.reader.routers())


def test_a_router_is_judged_only_by_what_it_had_to_share():
    import vre
    from vre.config.model import Generator
    from vre.platform.accounts import contested_jain

    with vre.Platform(machine="dell2950", clock="virtual", cores=1) as box:
        box.nic("eth0", link=Generator(rate=20e6, size=64, flows=1, rates={"light": 20e3}), speed=100e9)
        box.nic("eth1")
        forward = "FromDevice(eth0) -> Strip(14) -> CheckIPHeader -> Unstrip(14) -> ToDevice(eth1);"
        for name, weight in (("red", 3), ("blue", 1), ("light", 4)):
            box.router(name, forward, entitlement=weight)
        box.run(seconds=0.2)
        red, blue, light = (box.handle(name).stats() for name in ("red", "blue", "light"))
        assert light.share < 0.1 < light.entitled and light.error is None, "it had what it wanted"
        assert red.contested_s == blue.contested_s == pytest.approx(0.2, abs=0.01)
        assert red.error == pytest.approx(0, abs=0.004) and blue.error == pytest.approx(0, abs=0.004)
        assert contested_jain(box.reader.routers()) == pytest.approx(1, abs=1e-4)
        assert all(s.balance == 0 for s in box.reader.routers())
