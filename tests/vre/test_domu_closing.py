# SPDX-License-Identifier: MIT
"""A domU's channels while it is closed: nothing opens them again, and every packet that it had is counted."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from shm.channel import CHANNEL
from shm.intrinsics import load64
from tests.harness import Bench
from tests.vre.platforms import assert_accounts, element, forward, needs_jail, platform, wait_for
from vre.domu.fork import fork
from vre.domu.policy import MAX_RESTARTS, QUARANTINED, IllegalTransition
from vre.domu.process import DomuProcess

#: Its last words are there before its first have been read.
READY_AND_FAILED = (
    "def __init__(self):\n"
    "    time.sleep(0.1)\n"
    "    os.write(3, b'{\"ready\": true}')\n"
    '    os.write(3, b\'{"failed": "at once"}\')\n'
    "    time.sleep(100)\n"
    "def push(self, packet):\n    pass"
)


@needs_jail
def test_a_domu_that_fails_as_it_becomes_ready_gets_no_packet(tmp_path):
    with platform(rate=500_000) as box:
        red = box.router("red", forward(element(tmp_path, READY_AND_FAILED)))
        box.start()
        domu = box.parts.domus.domus["red"]
        wait_for(box, lambda: domu.policy.state == QUARANTINED)
        assert sum("at once" in event for event in box.events) == MAX_RESTARTS + 1, box.events
        assert [load64(channel + CHANNEL["open"]) for channel in domu.channels] == [0]
        box.tend(0.2)
        box.halt()
        assert_accounts(box)
        assert set(red.stats().dropped) == {"domu_down"}


NOTHING = f"Untrusted({Path(__file__).parents[1]}/shm/element.py:Nothing)"
TWO = f"FromDevice(eth0) -> {NOTHING} -> Counter -> {NOTHING} -> ToDevice(eth1);"


def test_a_domu_is_not_opened_while_it_is_being_closed():
    with Bench(TWO) as bench:
        domu = DomuProcess(bench.builder.routers["r"], None)
        domu.close_channels()
        domu.closing = []
        with pytest.raises(IllegalTransition):
            domu.open_channels()
        assert [load64(channel + CHANNEL["open"]) for channel in domu.channels] == [0, 0]


def test_a_domu_that_cannot_be_forked_for_want_of_descriptors_leaves_none_open():
    limits, failed = resource.getrlimit(resource.RLIMIT_NOFILE), 0
    with Bench(TWO) as bench:
        domu = DomuProcess(bench.builder.routers["r"], None)
        assert len(domu.channels) == 2
        domu.close_channels()
        before = os.listdir("/proc/self/fd")
        spec = domu.spec("strict", "/", [0])
        for free in range(20):
            highest = max(map(int, before)) + 1
            held = [os.dup(0) for _ in range(highest - len(before) + 1)]
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1 + free, limits[1]))
            try:
                fork(domu, spec, lambda: None, lambda spec, descriptors: None)
            except OSError:
                failed += 1
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
                for fd in held:
                    os.close(fd)
            domu.let_go()
            assert domu.descriptors == 0 and len(os.listdir("/proc/self/fd")) == len(before)
    assert 5 < failed < 20
