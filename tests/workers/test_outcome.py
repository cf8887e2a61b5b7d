# SPDX-License-Identifier: MIT
"""Elements that do on the slow path what they must not: it costs their packet, counted as `raised`, and nothing else."""

from __future__ import annotations

import sys
from typing import ClassVar

import pytest

from shm.intrinsics import add64, copy, load64, store64
from shm.layout import CORE, RING, TASK
from shm.ring import length
from tests.workers.frames import IN, OUT, udp
from vre.language.checker import check
from vre.language.lexer import Source
from workers.compiler.compile import compile_shape
from workers.compiler.guard import guarded
from workers.datapath.packet import PUNT, TAKEN, spare_packet
from workers.datapath.slow_packet import put_packet
from workers.element import REGISTRY, Drop, Element, Needs, load
from workers.elements.source import InfiniteSource


class Faulty(Element):
    """Does what a test wants.

    Syntax: `Faulty`
    """

    holds = True
    state: ClassVar = {"hold": "i8"}
    reasons = ("refused",)
    does = staticmethod(lambda *arguments: iter(()))

    @classmethod
    def needs(cls, values):
        return Needs(rings={"hold": 8})

    @staticmethod
    def slow(state, packet, port, context):
        return Faulty.does(state, packet, context)


@pytest.fixture
def faulty(monkeypatch, bench):
    load()
    monkeypatch.setitem(REGISTRY, "Faulty", Faulty)

    def make(does, behind=""):
        monkeypatch.setattr(Faulty, "does", staticmethod(does))
        return bench(IN + "f :: Faulty" + behind + OUT)

    return make


def raises(error):
    def does(state, packet, context):
        yield 0, packet
        raise error

    return does


class Worse(Exception):
    def __str__(self):
        raise ValueError


@pytest.mark.parametrize(
    "error",
    [ValueError("two\nlines"), MemoryError(), RecursionError(), SystemExit(3), KeyboardInterrupt(), Worse()],
    ids=lambda error: type(error).__name__,
)
def test_what_an_element_raises_costs_its_packet_and_nothing_of_it_goes_on(faulty, error):
    b = faulty(raises(error))
    assert b.through(udp(), udp()) == []
    assert b.dropped == {"raised": 2}


def changed(**values):
    def does(state, packet, context):
        for name, value in values.items():
            setattr(packet, name, value)
        yield 0, packet

    return does


def endless(state, packet, context):
    while True:
        yield 0, packet


def deep(state, packet, context):
    return deep(state, packet, context)


@pytest.mark.parametrize(
    "does",
    [
        endless,
        lambda *_: iter(lambda: Drop("refused"), None),
        deep,
        lambda state, packet, context: None,
        lambda state, packet, context: iter(()),
        lambda state, packet, context: [packet],
        lambda state, packet, context: [(0, packet, 0)],
        lambda state, packet, context: [(0, packet.data)],
        lambda state, packet, context: [("0", packet)],
        lambda state, packet, context: [(-1, packet)],
        lambda state, packet, context: [(1, packet)],
        lambda state, packet, context: [(1 << 70, packet)],
        lambda state, packet, context: [Drop("no such reason")],
        lambda state, packet, context: [Drop(["unhashable"])],
        lambda state, packet, context: sys.exit(1),
        changed(data=bytearray(5000)),
        changed(data=bytearray(70000)),
        changed(data="text"),
        changed(data=None),
        changed(data=10**9),
        changed(dst=-1),
        changed(dst=1 << 32),
        changed(dst=None),
        changed(paint=256),
        changed(vlan=1 << 16),
        changed(device=0.5),
        changed(time=1 << 32),
        changed(time=None),
        changed(net="here"),
        changed(net=0.5),
        changed(stripped=10**9),
    ],
)
def test_what_cannot_be_sent_on_is_bounded_and_dropped(faulty, does):
    b = faulty(does)
    assert b.through(udp()) == []
    assert b.dropped == {"raised": 1}


def test_what_raised_is_told_once_for_each_packet_with_its_place(faulty, capsys):
    faulty(raises(ValueError("two\nlines"))).through(udp())
    assert capsys.readouterr().err.startswith("ValueError: two lines (test_outcome.py:")


def due_raises(state, now):
    raise ValueError("not due")


def test_what_raises_when_it_is_asked_whether_it_is_due_is_asked_no_more(monkeypatch, faulty, capsys):
    monkeypatch.setattr(Faulty, "due", staticmethod(due_raises))
    b = faulty(lambda state, packet, context: [(0, packet)])
    assert len(b.through(udp(), udp())) == 2 and load64(b.core + CORE["task"]) == 0
    assert capsys.readouterr().err.count("not due") == 1


def test_what_raises_when_it_is_visited_loses_nothing_but_its_turn(monkeypatch, faulty, capsys):
    monkeypatch.setattr(Faulty, "due", staticmethod(lambda state, now: True))
    monkeypatch.setattr(Faulty, "visit", staticmethod(lambda state, context: 1 / 0))
    b = faulty(lambda state, packet, context: [(0, packet)])
    b.send(udp())
    for task, function in zip(b.tasks, b.functions, strict=True):
        store64(b.core + CORE["task"], task)
        function(load64(task + TASK["block"]), b.core, task, 64)
    for _ in range(4):
        b.slow[0].run()
    assert b.dropped == {} and load64(b.slow[0].inject + RING["head"]) == 1
    monkeypatch.setattr(Faulty, "due", staticmethod(lambda state, now: False))
    b.slow[0].__init__(b.core, b.tasks[0], b.shape, lambda: 0)
    b.heed()
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_many_packets_may_come_of_one_but_not_any_number(faulty):
    b = faulty(lambda state, packet, context: [(0, packet)] * 256)
    assert len(b.through(udp())) == 64, "what the path takes back in one turn"
    assert b.dropped == {"slow_path_full": 192}
    b = faulty(lambda state, packet, context: [(0, packet)] * 257)
    assert b.through(udp()) == []


def test_each_packet_is_as_it_was_when_it_was_yielded(faulty):
    def does(state, packet, context):
        for i in range(3):
            packet.data[-1] = i
            yield 0, packet

    assert [frame[-1] for frame in faulty(does).through(udp())] == [0, 1, 2]


def test_headers_may_grow_into_the_room_in_front(faulty):
    def does(state, packet, context):
        packet.strip(-64)
        yield 0, packet

    b = faulty(does)
    frame = udp(size=2048 - 42)
    (out,) = b.through(frame)
    assert out.endswith(bytes(64) + frame[14:])


def test_an_annotation_in_front_of_the_frame_stays_behind(bench):
    b = bench("FromDevice(eth0) -> Strip(14) -> MarkIPHeader -> Strip(20) -> Print(x, ACTIVE false) -> DecIPTTL" + OUT)
    assert b.through(udp()) == []
    assert b.dropped == {"no_ip_header": 1}


@pytest.mark.parametrize("place", [-1, 27, 4096, 1 << 40])
def test_an_annotation_that_points_to_no_header_is_unset(faulty, place):
    b = faulty(changed(net=place, mac=place), " -> DecIPTTL")
    assert b.through(udp(size=60)) == []
    assert b.dropped == {"no_ip_header": 1}


class Wild(Element):
    """Returns what a test wants.

    Syntax: `Wild`
    """

    state: ClassVar = {"code": "i8"}
    reasons = ("refused",)

    @staticmethod
    def process(state, packet):
        return state["code"]


@pytest.mark.parametrize(("code", "reason"), [(-1, "refused"), (-2, "out_of_fuel"), (-3, "failed")])
def test_codes_of_reasons_are_those_of_its_reasons(code, reason):
    assert guarded(Wild)({"code": code}, None) == code and Wild.reasons[-1 - code] == reason


@pytest.mark.parametrize("code", [-4, -5, -999, PUNT, TAKEN, -(1 << 62)])
def test_a_code_of_no_reason_counts_in_nobody_elses_memory(code):
    assert Wild.reasons[-1 - guarded(Wild)({"code": code}, None)] == "failed"


class Erring(InfiniteSource):
    """Makes packets, and mistakes: one at each second packet, none at the others.

    Syntax: `Erring`
    """

    state: ClassVar = InfiniteSource.state | {"turn": "i8"}

    @staticmethod
    def emit(state, packet, core):
        state["turn"] += 1
        turn = state["turn"]
        if turn > 12:
            return 0
        if turn == 10:
            return -99
        if turn == 11:
            return 1
        spare_packet(packet, core, state["size"])
        if turn == 2:
            raise ValueError
        if turn == 4:
            spare_packet(packet, core, state["size"])
        if turn == 6:
            return -1 - 7
        while turn == 8:
            state["count"] += 1
        copy(packet["data"], state["frame"], state["size"])
        return 1


@pytest.mark.parametrize("compiled", [False, True])
def test_a_source_of_others_that_fails_costs_what_it_was_making(monkeypatch, bench, compiled):
    load()
    monkeypatch.setitem(REGISTRY, "Erring", Erring)
    config = "Erring(LENGTH 64) -> ToDevice(eth1);"
    code = compile_shape(check(Source(config, "bench.click")).shape, cache=False) if compiled else None
    b = bench(config, code=code)
    b.settle()
    assert len(b.received()) == 6
    assert b.dropped == {"failed": 5, "out_of_fuel": 1}
    assert load64(b.core + CORE["spare_used"]) == 0


def keep(state, packet, context):
    ring = int(state["hold"])
    context.touched.add(ring)
    assert put_packet(ring, packet, 0)
    return []


def test_what_an_element_kept_before_it_raised_is_not_kept(faulty, monkeypatch):
    b = faulty(keep)
    assert b.through(*[udp()] * 3) == [] and b.dropped == {}

    def keep_and_raise(state, packet, context):
        keep(state, packet, context)
        raise ValueError

    monkeypatch.setattr(Faulty, "does", staticmethod(keep_and_raise))
    assert b.through(udp()) == [] and b.dropped == {"raised": 1}
    assert length(int(b.state("f")["hold"])) == 3


@pytest.mark.parametrize("sends", [[], [0]])
def test_what_an_element_took_out_of_its_ring_before_it_raised_is_dropped_with_its_packet(faulty, monkeypatch, sends):
    b = faulty(keep)
    b.through(*[udp()] * 3)

    def take_and_raise(state, packet, context):
        ring = int(state["hold"])
        context.touched.add(ring)
        add64(ring + RING["next_tail"], 2)
        for output in sends:
            yield output, packet
            raise ValueError

    monkeypatch.setattr(Faulty, "does", staticmethod(take_and_raise))
    assert b.through(udp()) == [] and b.dropped == {"raised": 3}
    assert length(int(b.state("f")["hold"])) == 1
