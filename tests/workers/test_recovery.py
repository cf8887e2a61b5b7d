# SPDX-License-Identifier: MIT
"""A worker killed anywhere in a turn: cut off at each line of the composed path's twin in turn."""

from __future__ import annotations

from pathlib import Path

import pytest

from shm.channel import CHANNEL, SLOTS
from shm.intrinsics import load64, store64
from shm.layout import CORE
from tests.harness import Bench
from tests.workers.cut_off import cut_off
from tests.workers.frames import udp
from workers.core.recovery import recover
from workers.domu.frontend import Frontend, give_returns, take_requests

CONFIG = """
FromDevice(eth0) -> Strip(14) -> CheckIPHeader -> t :: Tee(2);
t[0] -> DecIPTTL -> EtherEncap(0x0800, 2:0:0:0:0:1, 2:0:0:0:0:2) -> q :: Queue(8) -> ToDevice(eth1);
t[1] -> CheckPaint(9) -> Discard;
"""
SPLIT = """
FromDevice(eth0) -> Queue(4) -> Unqueue -> Counter -> Queue(4) -> ToDevice(eth1);
"""
CROSSING = f"""
FromDevice(eth0) -> u :: Untrusted({Path(__file__).parents[1]}/shm/element.py:Nothing) -> ToDevice(eth1);
"""


def run_and_kill(bench, line, function=None):
    """Take a turn that ends at the `line`th line executed (of one function); return whether it was cut off."""
    return cut_off(lambda: bench.turn(quantum=4), line, function)


def echo(bench):
    """Be the domU: return what has been lent; return packets of one's own in the slots lent for that."""
    for channel in bench.channels:
        down, up = (load64(channel + CHANNEL[name]) for name in ("down", "up"))
        kernels = {"take": take_requests, "give": give_returns, "wait": None}
        crossing = bench.__dict__.setdefault("crossing", Frontend(down, up, kernels))
        count = crossing.take()
        crossing.table[:count, 3] = 0
        row = crossing.make(b"mine" * 15)
        assert row < 0 or crossing.table[row, 3] == 0
        crossing.give()


def assert_channels_sound(bench):
    """Every slot is free once, or lent."""
    for channel in bench.channels:
        words = {name: load64(channel + CHANNEL[name]) for name in ("head", "freed", "table", "free", "gifts")}
        kinds = [load64(words["table"] + 8 * slot) & 3 for slot in range(SLOTS)]
        free = [load64(words["free"] + 8 * (i % SLOTS)) for i in range(words["head"], words["freed"])]
        assert sorted(free) == [slot for slot, kind in enumerate(kinds) if kind == 0]
        assert kinds.count(2) == words["gifts"]


@pytest.mark.parametrize("config", [CONFIG, SPLIT, CROSSING], ids=["tee", "split", "crossing"])
def test_a_kill_at_any_line_loses_at_most_the_batch_in_hand(config):
    line, step, kills = 1, 7, 0
    with Bench(config) as bench:
        while True:
            bench.send(*[udp(ttl=1 if i == 1 else 64, size=60 if i else 700) for i in range(4)])
            if not run_and_kill(bench, line):
                break
            kills += 1
            before = bench.dropped["killed"]
            lost = recover(bench.core, bench.inputs, bench.outputs, bench.channels)
            assert 0 <= lost <= 8
            assert bench.dropped["killed"] == before + lost
            store64(bench.core + CORE["task"], 0)
            bench.assert_sound()
            assert_channels_sound(bench)
            bench.settle()
            echo(bench)
            bench.received()
            bench.assert_sound()
            line += step
        bench.settle()
        bench.received()
        bench.assert_sound()
    assert kills > 100


def test_a_kill_at_any_line_of_a_swap_leaves_every_buffer_one_owner():
    line = 1
    with Bench(CONFIG) as bench:
        while True:
            bench.send(*[udp() for _ in range(4)])
            if not run_and_kill(bench, line, "swap"):
                break
            recover(bench.core, bench.inputs, bench.outputs)
            store64(bench.core + CORE["task"], 0)
            bench.assert_sound()
            bench.settle()
            bench.received()
            line += 1
    assert line > 20
