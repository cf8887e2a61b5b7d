# SPDX-License-Identifier: MIT
"""Compiled paths are what their plain Python twins are, and hold no reference counts."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from shm.channel import CHANNEL, FAULTS, SLOT_BYTES, SLOT_START
from shm.intrinsics import load64
from tests.harness import Bench
from tests.workers.frames import arp, udp
from vre.language.checker import check
from vre.language.lexer import Source
from workers.compiler.compile import compile_shape
from workers.domu.frontend import Frontend, give_returns, take_requests

IN = "FromDevice(eth0) -> Strip(14) -> CheckIPHeader(INTERFACES 10.1.0.1/24, BADSRC 9.9.9.9) -> "
OUT = " -> EtherEncap(0x0800, 2:0:0:0:0:1, 2:0:0:0:0:2) -> ToDevice(eth1);"

ROUTER = """
FromDevice(eth0) -> Paint(1) -> own :: Punt(10.0.0.1) -> c :: Classifier(12/0806 20/0001, 12/0806 20/0002, 12/0800, -);
own[1] -> c; own[2] -> c;
c[0] -> ARPResponder(10.0.0.1 2:0:0:0:0:1) -> back :: Queue(50) -> ToDevice(eth0);
c[1] -> [1] q :: ARPQuerier(10.0.0.1, 2:0:0:0:0:1) -> back;
c[3] -> EtherMirror -> EtherRewrite(2:0:0:0:0:1, 2:0:0:0:0:2) -> Unstrip(0) -> m :: MarkIPHeader(14) -> Discard;
c[2] -> Strip(14) -> CheckIPHeader(INTERFACES 10.1.0.1/24, BADSRC 9.9.9.9)
  -> GetIPAddress(16)
  -> rt :: DirectIPLookup(198.19.0.0/16 0, 10.0.0.0/8 10.0.0.9 0, 198.19.7.0/24 1, 0/0 2);
rt[0] -> DropBroadcasts -> p :: PaintTee(1) -> o :: IPGWOptions(10.0.0.1) -> FixIPSrc(10.0.0.1)
  -> d :: DecIPTTL -> f :: IPFragmenter(300) -> EtherEncap(0x0800, 2:0:0:0:0:1, 2:0:0:0:0:2) -> out :: Queue(60) -> ToDevice(eth1);
rt[1] -> [0] q;
rt[2] -> t :: Tee(2); t[0] -> s :: Switch(0); s[0] -> Counter -> Queue(10) -> Unqueue -> Discard; s[1] -> Discard;
t[1] -> CheckPaint(1) -> CheckLength(200) -> Null -> Spend(3) -> Touch -> Discard;
p[1] -> ICMPError(10.0.0.1, redirect, host) -> rt;
o[1] -> ICMPError(10.0.0.1, parameterproblem) -> rt;
d[1] -> ICMPError(10.0.0.1, timeexceeded) -> rt;
f[1] -> ICMPError(10.0.0.1, unreachable, needfrag) -> rt;
"""
SOURCES = "InfiniteSource(LIMIT 7, LENGTH 200) -> ToDevice(eth1); RatedSource(RATE 1000, LIMIT 9) -> Idle; FromDevice(eth0) -> SetIPAddress(1.2.3.4) -> MemoryHog(1) -> ToDevice(eth1);"


def traffic(seed, count):
    """Return frames of every kind that the router tells apart, many of them wrong."""
    chance = random.Random(seed)
    frames = []
    for i in range(count):
        kind = chance.randrange(10)
        if kind == 0:
            frames.append(arp(chance.choice([1, 2]), "10.0.0.7", chance.choice(["10.0.0.1", "10.0.0.2"])))
        elif kind == 1:
            frames.append(chance.randbytes(chance.randrange(14, 80)))
        else:
            frame = bytearray(
                udp(
                    src=chance.choice(["198.18.0.1", "9.9.9.9", "10.1.0.255", "127.0.0.1"]),
                    dst=chance.choice(["198.19.0.1", "198.19.7.1", "10.2.2.2", "8.8.8.8", "224.0.0.1"]),
                    ttl=chance.choice([0, 1, 2, 64]),
                    size=chance.choice([42, 60, 129, 700]),
                    id=i,
                    mac=chance.choice(
                        ["02:00:00:00:00:01"] * 4 + ["ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "02:00:00:00:00:44"]
                    ),
                    flags=chance.choice(["", "DF"]),
                )
            )
            if kind == 2:
                frame[chance.randrange(12, 34)] ^= 1 << chance.randrange(8)
            frames.append(bytes(frame))
    return frames


def outcome(config, code=None):
    """Return all that a router does with the traffic: frames by port, drops, counters."""
    with Bench(config, code=code) as bench:
        bench.clock(1_000_000_000)
        sent = {"eth0": [], "eth1": []}
        for seed in range(6):
            bench.send(*traffic(seed, 48))
            bench.settle()
            for port, frames in sent.items():
                frames += bench.received(port)
            bench.clock(1_000_000_000 * (seed + 2))
        bench.assert_sound()
        states = {
            n.name: {
                k: bench.state(n.name)[k].tolist() for k in ("made", "drops", "count") if k in n.cls.layout().fields
            }
            for n in bench.graph.nodes
        }
        return sent, dict(bench.dropped), states


@pytest.fixture(scope="module", params=[ROUTER, SOURCES], ids=["router", "sources"])
def compiled(request):
    """Return a configuration and its tasks, compiled afresh: what comes from the cache cannot be looked into."""
    return request.param, compile_shape(check(Source(request.param, "x")).shape, cache=False)


def test_compiled_paths_equal_their_twins(compiled):
    config, code = compiled
    expected, found = outcome(config), outcome(config, code)
    assert found == expected
    assert sum(len(f) for f in expected[0].values()) > 20


def test_no_composed_path_counts_references(compiled):
    for entry in compiled[1]:
        text = entry.inspect_llvm()
        # What Numba's reference counting is called in generated code.
        assert "NRT_incref" not in text and "NRT_decref" not in text
        assert "define" in text


def test_every_fast_element_is_in_the_comparison():
    from workers.element import load

    fast = {name for name, cls in load().items() if cls.process}
    same = {"PollDevice", "StaticIPLookup", "RadixIPLookup"}  # other names of what is there
    same.add("Untrusted")  # compared below: somebody must send packets back
    assert {name for name in fast - same if name not in ROUTER + SOURCES} == set()


def test_crossing_is_the_same_compiled_and_as_its_twin():
    element = Path(__file__).parents[1] / "shm" / "element.py"
    config = (
        f"FromDevice(eth0) -> Strip(14) -> CheckIPHeader -> u :: Untrusted({element}:Nothing) -> DecIPTTL -> "
        "EtherEncap(0x0800, 1:1:1:1:1:1, 2:2:2:2:2:2) -> ToDevice(eth1); u[1] -> Counter -> Discard;"
    )
    graph = check(Source(config, "t"))
    seen = []
    for code in (None, compile_shape(graph.shape, cache=False)):
        with Bench(config, code=code) as bench:
            channel = bench.channels[0]
            down, up = (load64(channel + CHANNEL[name]) for name in ("down", "up"))
            crossing = Frontend(down, up, {"take": take_requests, "give": give_returns, "wait": None})
            for ttl in range(1, 40):
                bench.send(bytes(udp(ttl=ttl, size=60 + 40 * ttl)))
                bench.turn()
                count = crossing.take()
                # Some to the other output, some dropped, some nonsense, some whose header lies now.
                crossing.table[:count, 3] = (0, 1, 0x80, 0, 9, 0x93)[ttl % 6]
                if ttl % 5 == 0:
                    crossing.memory[int(crossing.table[0, 0] & 0xFFFF) * SLOT_BYTES + SLOT_START + 1] ^= 1
                crossing.make(b"own" * 20)
                crossing.give()
            bench.settle()
            bench.assert_sound()
            faults = [load64(channel + CHANNEL["faults"] + 8 * i) for i in range(len(FAULTS))]
            seen.append((bench.received(), bench.dropped, faults))
    assert seen[0] == seen[1] and len(seen[0][0]) > 10
