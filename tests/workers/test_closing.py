# SPDX-License-Identifier: MIT
"""A channel closed, and reset, anywhere in a turn: at each line of the composed path's twin in turn."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from shm.channel import CHANNEL, SLOTS, reset
from shm.intrinsics import add64, load64, store64
from shm.memfd import renew
from tests.harness import Bench
from tests.workers.frames import udp
from tests.workers.test_recovery import assert_channels_sound, echo

#: Packets come back to the task of the channel from the slow path, too.
CONFIG = f"""
FromDevice(eth0) -> u :: Untrusted({Path(__file__).parents[1]}/shm/element.py:Nothing) -> Print(back) -> ToDevice(eth1);
"""
#: Whose lines count: the path's, the element's and the channel's.
CHANNELS = ("shm/channel.py",)
FILES = ("vre_path", "path_", "untrusted.py", *CHANNELS)


def turn_with(bench, line, files, act):
    """Take a turn, and `act` before the `line`th line of some files; return whether there was that line."""
    left = line

    def trace(frame, event, argument):
        nonlocal left
        if not any(f in frame.f_code.co_filename for f in files):
            return None
        if event == "line":
            left -= 1
            if left == 0:
                act()
        return trace

    before = sys.gettrace()  # of coverage
    sys.settrace(trace)
    try:
        bench.turn(quantum=4)
    finally:
        sys.settrace(before)
    return left <= 0


def close(bench):
    for channel in bench.channels:
        store64(channel + CHANNEL["open"], 0)


def count_as_lost(bench):
    for channel in bench.channels:
        add64(channel + CHANNEL["lost"], reset(channel))


def open_anew(bench):
    """Give the channels fresh memory, as the next incarnation gets it, and open them."""
    bench.__dict__.pop("crossing", None)
    for channel in bench.channels:
        for fd in renew(channel):
            os.close(fd)
        store64(channel + CHANNEL["open"], 1)


def give_work(bench):
    """Leave packets in the port, in the channel both ways, and on their way back from the slow path."""
    for _ in range(2):
        bench.send(*[udp() for _ in range(4)])
        bench.turn(quantum=4)
        echo(bench)
    bench.send(*[udp() for _ in range(4)])


def assert_between_turns(bench):
    for channel in bench.channels:
        for name in ("head", "freed", "tail"):
            assert load64(channel + CHANNEL[name]) == load64(channel + CHANNEL[f"next_{name}"])
    assert_channels_sound(bench)
    bench.assert_sound()


@pytest.mark.parametrize(
    ("closed_before", "files", "step"),
    [(False, FILES, 17), (True, CHANNELS, 1)],
    ids=["closed in a turn", "reset in a turn"],
)
def test_what_a_channel_has_when_it_is_closed_is_lost_and_nothing_else(closed_before, files, step, capsys):
    line, turns = 1, 0
    with Bench(CONFIG) as bench:
        while True:
            give_work(bench)
            if closed_before:
                close(bench)
            there = turn_with(bench, line, files, lambda: (count_as_lost if closed_before else close)(bench))
            if not (there and closed_before):
                close(bench)
                count_as_lost(bench)
            assert_between_turns(bench)
            words = {name: load64(bench.channels[0] + CHANNEL[name]) for name in ("head", "freed", "tail", "gifts")}
            assert words == {"head": 0, "freed": SLOTS, "tail": 0, "gifts": 0}
            # Packets on their way back from the slow path go on without a domU, and lend it nothing.
            bench.turn(quantum=4)
            assert load64(bench.channels[0] + CHANNEL["head"]) == 0
            open_anew(bench)
            bench.settle()
            echo(bench)
            bench.settle()
            bench.received()
            assert_between_turns(bench)
            assert load64(bench.channels[0] + CHANNEL["verdict"]) == 0
            if not there:
                break
            line += step
            turns += 1
    assert turns > 20
    capsys.readouterr()


def test_an_open_channel_is_not_reset():
    with Bench(CONFIG) as bench:
        give_work(bench)
        with pytest.raises(ValueError, match="open channel"):
            reset(bench.channels[0])
        bench.assert_sound()
