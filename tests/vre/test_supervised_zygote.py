# SPDX-License-Identifier: MIT
"""The domU zygote is started again when it has ended, later each time; by logical time, with zygotes made here."""

from typing import ClassVar

import pytest

from vre.domu import supervised_zygote
from vre.domu.supervised_zygote import SupervisedZygote
from vre.errors import PlatformError


class Made:
    """A zygote that says what a test gives it, and ends when a test wants."""

    every: ClassVar[list] = []

    def __init__(self, say):
        self.said, self.lost, self.ended = [], False, False
        self.every.append(self)

    def ready(self, tier):
        if self.lost:
            raise PlatformError("the zygote does not start")
        return True

    def await_ready(self, tier, wait):
        self.ready(tier)

    def messages(self):
        yield from self.said
        self.said = []
        if self.lost:
            raise PlatformError("the zygote has ended")

    def end(self):
        self.ended = True


@pytest.fixture
def zygote(monkeypatch):
    monkeypatch.setattr(supervised_zygote, "DomuZygote", Made)
    monkeypatch.setattr(Made, "every", [])
    events = []
    made = SupervisedZygote("strict", lambda text: None, events.append)
    made.events = events
    return made


def test_nothing_is_heard_of_a_zygote_that_nothing_waits_for(zygote):
    zygote.prepare()
    assert zygote.look(1.0) == ([], False) and not zygote.ready and len(Made.every) == 1


def test_what_was_said_before_the_end_is_heard_with_it(zygote):
    zygote.await_ready(lambda seconds: None)
    first = Made.every[0]
    first.said, first.lost = [{"domu": "red"}], True
    assert zygote.look(1.0) == ([{"domu": "red"}], True)
    assert first.ended and not zygote.ready and zygote.events == ["the zygote has ended: it is started again"]


def test_it_is_started_again_after_pauses_that_grow(zygote):
    zygote.await_ready(lambda seconds: None)
    now, pauses = 0.0, []
    for _ in range(8):
        Made.every[-1].lost = True
        assert zygote.look(now)[1]
        lost, count = now, len(Made.every)
        while len(Made.every) == count:
            now += 0.5
            assert zygote.look(now) == ([], False)
        pauses.append(now - lost)
        assert zygote.ready
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]


def test_one_that_ends_before_it_is_ready_is_lost_as_well(zygote):
    zygote.await_ready(lambda seconds: None)
    Made.every[0].lost = True
    zygote.look(0.0)
    Made.every.append(second := Made(None))
    second.lost, zygote._zygote = True, second
    assert zygote.look(1.0) == ([], True) and second.ended
    assert zygote.look(2.5) == ([], False) and not zygote.ready, "the second pause is of 2 s"
    assert zygote.look(3.0) == ([], False) and zygote.ready
