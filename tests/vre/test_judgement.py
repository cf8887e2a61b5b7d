# SPDX-License-Identifier: MIT
"""Who is judged, and by what: forged progress, held packets, stopped workers, and platforms that were frozen."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import psutil
import pytest

import vre
from shm.channel import GIFT, LENT
from shm.intrinsics import load64
from shm.layout import CORE
from tests.vre.platforms import PASS, assert_accounts, element, forward, needs_jail, platform, wait_for
from vre.config.model import Router
from vre.domu.policy import RUNNING, Loans
from vre.domu.process import DomuProcess
from vre.errors import ConfigError
from vre.language.checker import check
from vre.language.lexer import Source
from vre.memory.router import ConfigMemory, RouterMemory
from vre.supervision.attention import GAP_S, Attention
from vre.supervision.progress import Progress
from vre.supervision.restart_policy import cause


def test_a_domu_that_only_rehearses_has_nothing_to_be_judged_by():
    graph = check(Source("FromDevice(eth0) -> Discard;", "trial.click"))
    router = Router("red", 1.0, graph, {})
    trial = DomuProcess(
        RouterMemory(router, 0, "router-red", {}, 0, {}, ConfigMemory("", graph, 0, [])), None, quiet=True
    )
    seen = trial.seen()
    assert seen == (False, False, False, 0, 0) and trial.slots().shape == (0,)
    assert not trial.loans.overdue(trial.slots, 100.0, 0.0)
    assert not trial.progress.hung(seen.owed, seen.mark, 100.0, 0.0, seen.untaken)


def test_time_stands_still_while_nobody_looks():
    attention = Attention()
    for step in range(11):
        attention.look(100 + step * 0.005)
    assert attention.now == pytest.approx(0.05)
    attention.look(200.0)  # frozen
    assert attention.now == pytest.approx(0.05)
    attention.look(200.005)
    assert attention.now == pytest.approx(0.055)
    # Who keeps the looks apart only slows time down.
    for step in range(1, 101):
        attention.look(200.005 + step)
    assert attention.now == pytest.approx(0.055 + 99 * GAP_S)
    attention.look(0.0)
    assert attention.now == pytest.approx(0.055 + 99 * GAP_S)


def test_what_nobody_has_looked_at_is_neither_late_nor_progress():
    progress = Progress(0.05)
    assert not progress.hung(True, 7, 0.0, 0.0)
    assert not progress.hung(True, 7, 0.1, 0.0, untaken=True)
    assert progress.hung(True, 7, 0.2, 0.0)


def test_packets_that_stay_out_are_noticed_whatever_else_comes_back():
    loans, words = Loans(0.01), np.full(8, LENT | 1 << 8, dtype=np.int64)
    words[7] = GIFT | 1 << 8
    copy = lambda: words.copy()  # noqa: E731
    assert not any(loans.overdue(copy, t / 100, 0.0) for t in range(100))
    words[:6] += 1 << 8  # all but one have come back, and have been lent again
    assert not loans.overdue(copy, 1.0, 0.0) and loans.overdue(copy, 1.001, 0.0)
    # Waiting for a processor does not count, but not for ever.
    loans = Loans(0.01)
    assert not any(loans.overdue(copy, t / 100, t / 100) for t in range(2000))
    assert any(loans.overdue(copy, t / 100, t / 100) for t in range(2000, 2100))
    # Where everything comes back, empty slots may stay.
    loans = Loans(0.01)
    for t in range(500):
        words[:7] += 1 << 8
        assert not loans.overdue(copy, t / 100, 0.0)


def rogue(folder, body):
    imports = (
        "sys.path.append('/')\ndef forge(crossing, word):\n"
        "    up = crossing.up\n    ctypes.c_int64.from_address(up + 128 + 8 * (crossing.returned % 1024)).value = word\n"
        "    crossing.returned += 1\n    ctypes.c_int64.from_address(up).value = crossing.returned"
    )
    return element(folder, body, imports=imports)


@needs_jail
def test_words_that_are_refused_are_no_progress(tmp_path):
    body = "def push(self, packet):\n    while True:\n        forge(packet._stage.crossing, 0xFFFF)\n        time.sleep(0.005)"
    with platform() as box:
        red = box.router("red", forward(rogue(tmp_path, body)))
        box.start()
        wait_for(box, lambda: any("returned nothing for" in event for event in box.events))
        assert "no_such_slot" in box.parts.domus.rows()[0]["refused"]
        box.pause()
        box.halt()
        assert_accounts(box)
        assert red.stats().dropped


@needs_jail
def test_one_packet_now_and_then_holds_no_others_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(Loans, "MOST", 4)
    body = (
        "def push(self, packet):\n    word = int(packet._stage.crossing.table[packet._row, 0])\n"
        "    forge(packet._stage.crossing, word | len(packet) << 32 | 64 << 48)\n    time.sleep(0.045)"
    )
    with platform() as box:
        box.router("red", forward(rogue(tmp_path, body)), domu=vre.Domu(deadline_ns=200_000_000))
        box.start()
        wait_for(box, lambda: any("held packets for longer than 0.8 s" in event for event in box.events))
        box.pause()
        box.halt()
        assert_accounts(box)


@needs_jail
@pytest.mark.timing
def test_a_platform_that_was_frozen_finds_nobody_late(tmp_path):
    with platform() as box:
        red = box.router("red", forward(element(tmp_path, PASS)))
        blue = box.router("blue", "FromDevice(eth0) -> ToDevice(eth1);", ports={"eth0": {"mac": "02:00:00:00:00:09"}})
        box.start()
        wait_for(box, lambda: red.stats().forwarded > 100)
        family = psutil.Process().children(recursive=True)
        for _ in range(5):
            for process in family:
                process.suspend()
            time.sleep(0.4)
            # Who looks is not always the last to go on.
            box.parts.look()
            for process in family:
                process.resume()
            before = red.stats().forwarded, blue.stats().forwarded
            wait_for(box, lambda b=before: red.stats().forwarded > b[0] + 50 and blue.stats().forwarded > b[1] + 50)
        assert not box.events
        box.pause()
        box.halt()
        assert_accounts(box)


def test_a_worker_that_is_stopped_between_two_turns_is_replaced():
    with platform(rate=2000) as box:
        red = box.router("red", "FromDevice(eth0) -> ToDevice(eth1);")
        box.start()
        core = box.parts.runtime.manifest.cores[0].address
        for _ in range(1000):
            pid = load64(core + CORE["pid"])
            os.kill(pid, signal.SIGSTOP)
            time.sleep(0.001)
            if load64(core + CORE["task"]) == 0:
                break
            os.kill(pid, signal.SIGCONT)
            box.tend(0.001)
        assert load64(core + CORE["task"]) == 0
        wait_for(box, lambda: any("its worker was in no path" in event for event in box.events))
        before = red.stats().forwarded
        wait_for(box, lambda: red.stats().forwarded > before + 200)
        assert load64(core + CORE["pid"]) != pid and not box.parts.watchdog.quarantined
        box.pause()
        box.halt()
        assert_accounts(box)


def test_a_standby_that_does_not_take_its_core_is_replaced():
    with platform(rate=2000) as box:
        red = box.router("red", "FromDevice(eth0) -> ToDevice(eth1);")
        box.start()
        core = box.parts.runtime.manifest.cores[0].address
        following = load64(core + CORE["incarnation"]) + 1
        wait_for(box, lambda: load64(core + CORE["standby"]) == following)
        standby = next(
            pid for pid, number in box.parts.runtime.engine.incarnations.numbers.items() if number == following
        )
        os.kill(standby, signal.SIGSTOP)
        os.kill(load64(core + CORE["pid"]), signal.SIGKILL)
        wait_for(box, lambda: any("its worker was in no path" in event for event in box.events))
        before = red.stats().forwarded
        wait_for(box, lambda: red.stats().forwarded > before + 200)
        box.pause()
        box.halt()
        assert_accounts(box)


def test_a_wire_that_is_stopped_is_replaced():
    with platform(rate=2000) as box:
        red = box.router("red", "FromDevice(eth0) -> ToDevice(eth1);")
        box.start()
        wait_for(box, lambda: red.stats().forwarded > 100)
        stopped = box.parts.runtime.engine.wire_holder()
        os.kill(stopped, signal.SIGSTOP)
        wait_for(box, lambda: box.parts.runtime.engine.wire_holder() not in (0, stopped))
        assert any("the wire made no round for 1 s" in event for event in box.events)
        before = red.stats().forwarded
        wait_for(box, lambda: red.stats().forwarded > before + 200)
        box.pause()
        box.halt()
        assert_accounts(box)


@needs_jail
def test_what_goes_wrong_with_one_domu_goes_wrong_with_no_other(tmp_path, monkeypatch):
    with platform() as box:
        box.router("red", forward(element(tmp_path, PASS)))
        blue = box.router("blue", forward(element(tmp_path, PASS)), ports={"eth0": {"mac": "02:00:00:00:00:09"}})
        box.start()
        domus, account = box.parts.domus.domus, DomuProcess.account
        serials = domus["red"].serial, domus["blue"].serial

        def wrong(self, now):
            if self.name == "red" and domus["red"].serial == serials[0]:
                raise KeyError("a mistake")
            return account(self, now)

        monkeypatch.setattr(DomuProcess, "account", wrong)
        wait_for(box, lambda: any("KeyError at" in event for event in box.events))
        wait_for(box, lambda: domus["red"].serial == serials[0] + 1 and domus["red"].policy.state == RUNNING)
        before = blue.stats().forwarded
        wait_for(box, lambda: blue.stats().forwarded > before + 100)
        assert domus["blue"].serial == serials[1]
        box.pause()
        box.halt()
        assert_accounts(box)


@needs_jail
def test_a_domu_that_cannot_even_be_asked_for_fails_alone(tmp_path):
    text = element(tmp_path, f"def __init__(self, text): pass\n{PASS}").replace(":X)", f":X, {'x' * 200_000})")
    with platform() as box:
        box.router("red", forward(text), domu=vre.Domu(start_s=5.0))
        blue = box.router("blue", "FromDevice(eth0) -> ToDevice(eth1);")
        box.start()
        wait_for(box, lambda: any("bytes of description" in event for event in box.events))
        wait_for(box, lambda: blue.stats().forwarded > 100)
        with pytest.raises(ConfigError, match="bytes of description"):
            box.router("green", forward(text), domu=vre.Domu(start_s=5.0))
        box.pause()
        box.halt()
        assert_accounts(box)


@needs_jail
def test_domus_come_back_when_their_zygote_has_ended(tmp_path):
    with platform() as box:
        red = box.router("red", forward(element(tmp_path, PASS)))
        box.start()
        wait_for(box, lambda: red.stats().forwarded > 100)
        os.kill(box.parts.domus.zygote._zygote._zygote.process.pid, signal.SIGKILL)
        wait_for(box, lambda: any("domU zygote has ended" in event for event in box.events))
        wait_for(box, lambda: any("its domU runs again" in event for event in box.events))
        before = red.stats().forwarded
        wait_for(box, lambda: red.stats().forwarded > before + 100)
        box.pause()
        box.halt()
        assert_accounts(box)


@needs_jail
def test_a_domu_that_does_not_end_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("vre.domu.lifecycle._LONGEST_DEATH_S", 0.3)
    with platform() as box:
        red = box.router("red", forward(element(tmp_path, PASS)))
        box.start()
        domu = box.parts.domus.domus["red"]
        # Who would say that it has ended says nothing.
        os.kill(domu.monitor, signal.SIGSTOP)
        os.kill(domu.pid, signal.SIGKILL)
        wait_for(box, lambda: any("is abandoned" in event for event in box.events))
        wait_for(box, lambda: domu.policy.state == RUNNING)
        before = red.stats().forwarded
        wait_for(box, lambda: red.stats().forwarded > before + 100)
        box.pause()
        box.halt()
        assert_accounts(box)


def test_any_signal_has_a_name():
    assert cause(-9) == "was killed by SIGKILL" and cause(-40) == "was killed by signal 40"
