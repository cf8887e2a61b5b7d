# SPDX-License-Identifier: MIT
"""A worker killed anywhere in a turn: cut off at each line of the composed path's twin in turn."""

from __future__ import annotations

import sys

import pytest

from shm.layout import CORE
from shm.memory import store64
from tests.harness import Bench
from tests.workers.frames import udp
from workers.recovery import recover

CONFIG = """
FromDevice(eth0) -> Strip(14) -> CheckIPHeader -> t :: Tee(2);
t[0] -> DecIPTTL -> EtherEncap(0x0800, 2:0:0:0:0:1, 2:0:0:0:0:2) -> q :: Queue(8) -> ToDevice(eth1);
t[1] -> CheckPaint(9) -> Discard;
"""
SPLIT = """
FromDevice(eth0) -> Queue(4) -> Unqueue -> Counter -> Queue(4) -> ToDevice(eth1);
"""
FOLDERS = ("/shm/", "/workers/", "vre_path", "path_")


class Killed(BaseException):
    """Stands for SIGKILL: nothing in a path may catch it."""


def run_and_kill(bench, line):
    """Take a turn that ends at the `line`th line executed; return whether it was cut off."""
    left = line

    def trace(frame, event, argument):
        nonlocal left
        if not any(f in frame.f_code.co_filename for f in FOLDERS):
            return None
        if event == "line":
            left -= 1
            if left == 0:
                raise Killed
        return trace

    sys.settrace(trace)
    try:
        bench.turn(quantum=4)
    except Killed:
        return True
    finally:
        sys.settrace(None)
    return False


@pytest.mark.parametrize("config", [CONFIG, SPLIT], ids=["tee", "split"])
def test_a_kill_at_any_line_loses_at_most_the_batch_in_hand(config):
    line, step, kills = 1, 7, 0
    with Bench(config) as bench:
        while True:
            bench.send(*[udp(ttl=1 if i == 1 else 64, size=60 if i else 700) for i in range(4)])
            if not run_and_kill(bench, line):
                break
            kills += 1
            before = bench.dropped["killed"]
            lost = recover(bench.core, bench.inputs, bench.outputs)
            assert 0 <= lost <= 8
            assert bench.dropped["killed"] == before + lost
            store64(bench.core + CORE["task"], 0)
            bench.assert_sound()
            bench.settle()
            bench.received()
            bench.assert_sound()
            line += step
        bench.settle()
        bench.received()
        bench.assert_sound()
    assert kills > 100
