# SPDX-License-Identifier: MIT
"""Rings, as a model says they should be, and as machine code."""

from __future__ import annotations

from collections import deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shm.layout import APART, RING
from shm.ring import available, held, is_empty, is_waiting, length, pop, publish, release, room, used
from tests.harness import Bench
from workers.datapath.slow_packet import put_packet, read_packet
from workers.element import SlowPacket


class RingMachine(RuleBasedStateMachine):
    """A ring of 5 beside a deque: both ends commit when they like."""

    def __init__(self):
        super().__init__()
        self.bench = Bench("FromDevice(eth0) -> q :: Queue(5) -> ToDevice(eth1);")
        self.ring = int(self.bench.state("q")["ring"])
        self.filled, self.published, self.number = deque(), deque(), 0
        self.claimed = 0

    def teardown(self):
        references = self.bench.references()
        assert len(set(references.tolist())) == len(references)
        self.bench.close()

    @rule(size=st.integers(0, 300))
    def push(self, size):
        in_use = len(self.filled) + len(self.published) + self.claimed
        data = bytes([self.number % 256]) * size
        placed = put_packet(self.ring, SlowPacket(bytearray(data), dst=self.number), self.number % 100)
        assert placed == (in_use < 5)
        if placed:
            self.filled.append((data, self.number))
            self.number += 1

    @rule()
    def publish(self):
        publish(self.ring)
        self.published += self.filled
        self.filled.clear()

    @precondition(lambda self: self.published)
    @rule()
    def pop(self):
        assert available(self.ring, 1) == 1
        packet, entry = read_packet(self.ring, pop(self.ring, 1))
        data, number = self.published.popleft()
        assert (bytes(packet.data), packet.dst, entry) == (data, number, number % 100)
        self.claimed += 1

    @rule()
    def give_back(self):
        release(self.ring)
        self.claimed = 0

    @invariant()
    def counts_agree(self):
        assert available(self.ring, 99) == len(self.published)
        assert room(self.ring, 99) == 5 - len(self.filled) - len(self.published) - self.claimed
        assert length(self.ring) == len(self.published) + self.claimed
        assert held(self.ring) == len(self.filled) + len(self.published)
        assert used(self.ring) == 5 - room(self.ring, 99)
        assert is_waiting(self.ring) == (length(self.ring) > 0)
        assert is_empty(self.ring) == (not self.filled and not self.published and not self.claimed)


RingMachine.TestCase.settings = settings(max_examples=20, stateful_step_count=30, deadline=None)
TestRing = RingMachine.TestCase


def test_the_other_sides_index_is_loaded_and_stored_atomically():
    import numba

    from shm import codegen, ring

    codegen.register_kernels()
    for function, wanted in (
        (ring.room, "load atomic i64"),
        (ring.available, "load atomic i64"),
        (ring.publish, "store atomic i64"),
        (ring.release, "store atomic i64"),
    ):
        kernel = numba.njit(function)
        kernel.compile((numba.int64,) * function.__code__.co_argcount)
        text = "".join(kernel.inspect_llvm().values())
        ordering = " acquire," if "load" in wanted else " release,"
        assert any(wanted in line and ordering in line for line in text.splitlines()), function.__name__


def test_a_polled_word_is_loaded_each_time_round():
    import numba

    from shm import codegen
    from shm.intrinsics import relaxed64

    def wait(address, wanted):
        turns = 0
        while relaxed64(address) != wanted:
            turns += 1
        return turns

    codegen.register_kernels()
    kernel = numba.njit(wait)
    kernel.compile((numba.int64, numba.int64))
    text = "".join(kernel.inspect_llvm().values())
    assert "load atomic i64" in text and " monotonic," in text


def test_what_the_other_side_polls_does_not_share_a_line_with_what_changes_for_each_packet():
    lines = {name: RING[name] // APART for name in RING.dtype.names}
    for polled in ("head", "tail"):
        assert [name for name, line in lines.items() if line == lines[polled]] == [polled]
    assert lines["next_head"] != lines["next_tail"] != lines["slots"]
