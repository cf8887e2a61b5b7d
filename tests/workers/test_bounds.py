# SPDX-License-Identifier: MIT
"""No configuration and no packet reads or changes a byte that is not its router's: random graphs of all elements.

Every buffer is full of what another router's packets might be, and another router is there. As plain Python each load
and store is held against what it may touch (:mod:`tests.fence`); compiled, all memory is the same afterwards.
"""

from __future__ import annotations

import random
import sys
from types import FunctionType

import numpy as np
import pytest

from shm.channel import CHANNEL
from shm.intrinsics import add64, load64
from shm.segment import WINDOW
from tests.fence import Fence
from tests.harness import Bench
from tests.workers.graphs import Graph, classes, frames
from vre.errors import ConfigError
from vre.language.checker import check
from vre.language.lexer import Source
from vre.memory.address_space import view
from workers.compiler.compile import compile_shape
from workers.domu.frontend import Frontend, give_returns, take_requests
from workers.element import load

BESIDE = "FromDevice(eth0) -> Counter -> Strip(14) -> CheckIPHeader -> Queue(64) -> ToDevice(eth1);"
ROUNDS, FRAMES = 2, 12
#: Segments that hold times, which are never the same twice.
TIMED = ("core",)


def graph(seed, cls):
    """Return a configuration with an element of a class, the first that is allowed."""
    chance = random.Random(f"{seed} {cls.__name__}")
    for _ in range(50):
        text = Graph(chance, cls).text
        if "ToDevice(eth1)" not in text:
            text += "\nIdle -> ToDevice(eth1);"
        try:
            check(Source(text, "x"))
        except ConfigError as error:
            refused = error
        else:
            return text
    raise AssertionError(f"no graph with {cls.__name__} is allowed: {refused}")


class Watched:
    """A bench among others' memory."""

    def __init__(self, config, chance, code=None):
        self.bench = Bench(config, code=code, vlan=chance.choice([-1, -1, 300]), slots=64, beside=BESIDE)
        self.bench.clock(1_000_000_000)
        self._chance = chance
        word = bytes(chance.sample(range(0x90, 0xFF), 4))
        self._words = [word[i:] + word[:i] for i in range(4)]
        segments = self.bench.builder.space.segments.items()
        for name, segment in segments:
            if "pool" in name:
                view(segment.base + 64, "u4", segment.size // 4 - 16)[:] = int.from_bytes(word, "little")
        self._beside = {name: _bytes(s) for name, s in segments if "beside" in name}
        self._guests = [Guest(channel, chance, self._words) for channel in self.bench.channels]
        self.out = []

    def run(self, turn):
        """Let packets through; `turn` is the bench's, or that inside a fence."""
        bench = self.bench
        for n in range(ROUNDS):
            bench.send(*frames(self._chance, FRAMES))
            for _ in range(12):
                moved = turn(32) + sum(guest.serve() for guest in self._guests)
                self.out += [(port, frame) for port in ("eth0", "eth1") for frame in bench.received(port)]
                if moved == 0:
                    break
            bench.clock(1_000_000_000 * (n + 2))

    def leaks(self):
        """Return what of others' memory went out, or has changed."""
        found = [frame.hex() for _, frame in self.out if any(word in frame for word in self._words)]
        segments = self.bench.builder.space.segments
        found += [name for name, before in self._beside.items() if _bytes(segments[name]) != before]
        return found + [leak for guest in self._guests for leak in guest.leaks]

    def memory(self):
        """Return all that its router and the pool hold; addresses in it count from where the platform's begin."""
        bench, found = self.bench, {}
        for name, segment in bench.builder.space.segments.items():
            kind = name.removeprefix(bench.directory.prefix)
            words = view(segment.base + 64, "i8", segment.size // 8 - 8).copy()
            here = (words >= bench.base) & (words < bench.base + WINDOW)
            words[here] -= bench.base
            found[kind] = words
        found |= {f"counts of {n.name}": bench.state(n.name)["drops"].tolist() for n in bench.graph.nodes}
        return found


class Guest:
    """A domU that returns whatever comes to its mind."""

    def __init__(self, channel, chance, words):
        self._chance, self._words, self.leaks = chance, words, []
        self._up = load64(channel + CHANNEL["up"])
        down = load64(channel + CHANNEL["down"])
        self._crossing = Frontend(down, self._up, {"take": take_requests, "give": give_returns, "wait": None})

    def serve(self):
        """Return what has come, changed."""
        crossing, chance = self._crossing, self._chance
        count = crossing.take()
        for row in crossing.table[:count]:
            slot = crossing.frames[row[0] & 0xFFFF]
            if any(word in slot.tobytes() for word in self._words):
                self.leaks.append("in a domU")
            row[3] = chance.choice([0, 0, 0, 1, 2, 0x80, 0x81, 9, 0x93])
            if chance.random() < 0.3:
                row[1], row[2] = chance.choice([0, 1, 20, 60, 2000, 65535]), chance.choice([0, 1, 64, 100, 255])
            if chance.random() < 0.3:
                slot[64 + chance.randrange(40)] = chance.randrange(128)
        if chance.random() < 0.3:
            crossing.make(b"own" * 20)
        crossing.give()
        return count


def _bytes(segment):
    return view(segment.base, "u1", segment.size).tobytes()


def fenced(config, seed):
    """Let a configuration run as plain Python; return the bench and what was wrong."""
    watched = Watched(config, random.Random(seed))
    fence = Fence(watched.bench)
    with fence.up():
        watched.run(fence.turn)
    return watched, fence.broken + watched.leaks()


def assert_bounded(config, seed):
    """Nothing that is not the router's is read, written or sent."""
    watched, wrong = fenced(config, seed)
    try:
        assert not wrong, f"{wrong[:5]}\n{config}"
        # Every packet is accounted for, every buffer has one owner.
        watched.bench.assert_sound()
    finally:
        watched.bench.close()


@pytest.mark.parametrize("cls", classes(), ids=lambda cls: cls.__name__)
def test_no_element_reaches_beyond_its_router(cls):
    assert_bounded(graph(0, cls), 0)


def touch(state, packet):
    add64(packet["data"], 1)
    return 0


def unstrip(state, packet):
    packet["data"] -= state["length"]
    packet["length"] += state["length"]
    return 0


@pytest.mark.parametrize(("name", "process"), [("Touch", touch), ("Unstrip(8)", unstrip)])
def test_an_element_that_reaches_beyond_is_noticed(monkeypatch, name, process):
    cls = load()[name.partition("(")[0]]
    # As one of the platform's own, with what that imports.
    process = FunctionType(process.__code__, vars(sys.modules[cls.__module__]))
    monkeypatch.setattr(cls, "process", staticmethod(process))
    config = (
        f"FromDevice(eth0) -> Strip(14) -> {'Null' if name == 'Touch' else 'Unstrip(14)'} -> {name} -> ToDevice(eth1);"
    )
    found = []
    for seed in range(3):
        watched, wrong = fenced(config, seed)
        watched.bench.close()
        found += wrong
    assert any(cls.__name__ in line for line in found)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 40))
def test_no_element_reaches_beyond_its_router_in_many_graphs(seed):
    for cls in classes():
        assert_bounded(graph(seed, cls), seed)


def assert_alike(config, seed):
    """Compiled, a configuration does to all memory what it does as plain Python."""
    watched, wrong = fenced(config, seed)
    plain, out = watched.memory(), watched.out
    watched.bench.close()
    assert not wrong, config
    watched = Watched(config, random.Random(seed), compile_shape(check(Source(config, "x")).shape, cache=False))
    watched.run(watched.bench.turn)
    assert watched.leaks() == [] and watched.out == out
    found = watched.memory()
    watched.bench.close()
    different = [name for name in plain if not name.startswith(TIMED) and not np.array_equal(plain[name], found[name])]
    assert not different, config


COMPILED = (
    "FromDevice(eth0) -> Unstrip(64) -> ToDevice(eth1);",
    "FromDevice(eth0) -> t :: Tee(4); t[0] -> Strip(14) -> CheckIPHeader -> Strip(100) -> s :: Tee(2) -> Discard;"
    "s[1] -> DecIPTTL -> Unstrip(114) -> Queue(64) -> ToDevice(eth1); t[1] -> Strip(60) -> Touch -> Queue(32) -> Unqueue"
    "-> Unstrip(60) -> EtherMirror -> ToDevice(eth1); t[2] -> MarkIPHeader(14) -> Strip(30) -> IPGWOptions(10.0.0.1)"
    "-> FixIPSrc(10.0.0.1) -> IPFragmenter(300) -> Unstrip(20) -> Queue(64) -> ToDevice(eth0);"
    "t[3] -> c :: Classifier(0/02, 12/08, -) -> Strip(127) -> Unstrip(128) -> ToDevice(eth0); c[1] -> Discard; c[2] -> Discard;",
)


@pytest.mark.parametrize("config", COMPILED)
def test_compiled_paths_change_the_same_memory(config):
    assert_alike(config, 1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 130))
def test_random_graphs_change_the_same_memory_compiled(seed):
    assert_alike(graph(seed, random.Random(seed).choice(classes())), seed)
