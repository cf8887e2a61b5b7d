# SPDX-License-Identifier: MIT
"""The I/O channel against a domU that knows everything: each rule is named after what teaches it.

The domU's side is written by hand here, word by word; dom0's is the real path of a router on a bench.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shm.channel import (
    CHANNEL,
    DATA,
    DOWN,
    DOWN_BYTES,
    FAULTS,
    GIFTS,
    IMPOSSIBLE_INDEX,
    LONGEST,
    MOST_KEPT,
    SLOT_BYTES,
    SLOT_START,
    SLOTS,
    UP,
    lent,
)
from shm.futex import sleep_on
from shm.intrinsics import add64, load64, store64
from shm.memfd import make_memory, map_at, read_only, renew
from tests.harness import Bench
from tests.workers.frames import udp
from vre.language.checker import check
from vre.language.lexer import Source
from workers.compiler.compile import compile_shape

ELEMENT = f"Untrusted({Path(__file__).parent}/element.py:Nothing)"
CONFIG = f"FromDevice(eth0) -> u :: {ELEMENT} -> ToDevice(eth1); u[1] -> Discard;"
DROPPED = 0x80


class Rogue:
    """The domU's side, by hand."""

    def __init__(self, bench):
        self.channel = bench.channels[0]
        self.down, self.up = (load64(self.channel + CHANNEL[name]) for name in ("down", "up"))
        self.sent = 0

    def requests(self):
        """Return (slot and generation, length) of all requests so far, gifts left out."""
        count = load64(self.down)
        words = [load64(self.down + DOWN.size + 16 * (i % SLOTS)) for i in range(max(0, count - SLOTS), count)]
        return [(w & 0xFFFFFFFF, w >> 32 & 0xFFFF) for w in words if w >> 56 & 0xFF == 1]

    def returns(self, *words):
        """Write words as returns, and publish them."""
        for word in words:
            ctypes.c_uint64.from_address(self.up + UP.size + 8 * (self.sent % SLOTS)).value = word & (1 << 64) - 1
            self.sent += 1
        store64(self.up, self.sent)

    def data(self, slot):
        """Return a slot's bytes."""
        return (ctypes.c_ubyte * SLOT_BYTES).from_address(self.up + DATA + (slot & 0xFFFF) * SLOT_BYTES)

    @property
    def faults(self):
        """Return the counts of refused returns by reason."""
        return {name: load64(self.channel + CHANNEL["faults"] + 8 * i) for i, name in enumerate(FAULTS)}

    @property
    def verdict(self):
        """Return why the channel must be closed."""
        return load64(self.channel + CHANNEL["verdict"])


def word(slot, length, start=SLOT_START, verdict=0):
    return slot | length << 32 | start << 48 | verdict << 56


@pytest.fixture
def bench():
    with Bench(CONFIG) as bench:
        yield bench
        assert bench.balance() == 0


def cross(bench, count=4):
    rogue = Rogue(bench)
    frames = [bytes(udp(ttl=10 + i)) for i in range(count)]
    bench.send(*frames)
    bench.turn()
    return rogue, frames


def test_packets_cross_and_come_back_as_the_domu_left_them(bench):
    rogue, frames = cross(bench)
    for slot, _ in rogue.requests():
        rogue.data(slot)[SLOT_START + 20] ^= 0xFF
    rogue.returns(*(word(slot, length) for slot, length in rogue.requests()))
    bench.turn()
    changed = [f[:20] + bytes([f[20] ^ 0xFF]) + f[21:] for f in frames]
    assert [bytes(f) for f in bench.received("eth1")] == changed
    bench.assert_sound()


def test_a_word_is_fetched_once_xsa_155():
    from shm import codegen
    from shm.channel import fetch, kind_of, length_in, outcome_of, slot_in
    from workers.compiler.compile import numba

    def take(channel, index):
        found = fetch(channel, index)
        return kind_of(channel, found) + outcome_of(found) + slot_in(found) + length_in(found)

    codegen.register_kernels()
    kernel = numba.njit("int64(int64, int64)", error_model="numpy")(take)
    text = next(iter(kernel.inspect_llvm().values()))
    assert text.count("load atomic i64") == 1


@pytest.mark.parametrize("compiled", [False, True], ids=["twin", "compiled"])
def test_who_sleeps_is_woken_by_the_next_packet(compiled):
    code = compile_shape(check(Source(CONFIG, "bell")).shape) if compiled else None
    with Bench(CONFIG, code=code) as bench:
        rogue = Rogue(bench)
        bench.send(bytes(udp()))
        bench.turn()
        seen = load64(rogue.down)
        store64(rogue.up + UP["asleep"], 1)
        sleeper = threading.Thread(target=sleep_on, args=(rogue.down, seen, 60.0))
        sleeper.start()
        sleeper.join(0.2)
        assert sleeper.is_alive()
        bench.send(bytes(udp()))
        bench.turn()
        sleeper.join(30)
        assert not sleeper.is_alive()
        # Where the word is another already, nobody sleeps.
        sleep_on(rogue.down, seen, 60.0)


@pytest.mark.parametrize("index", [SLOTS + 1, 1 << 40, (1 << 63) - 1, -1, -(1 << 63)])
def test_an_impossible_producer_index_ends_it_at_once_xsa_39(bench, index):
    rogue, _ = cross(bench)
    store64(rogue.up, index)
    bench.turn()
    assert rogue.verdict == IMPOSSIBLE_INDEX
    bench.send(bytes(udp()))
    bench.turn()
    assert bench.dropped["domu_down"] == 1


def test_dom0_never_reads_back_what_it_shares_af_xdp(bench):
    rogue, frames = cross(bench)
    returns = [word(slot, length) for slot, length in rogue.requests()]
    head = load64(rogue.down)
    ctypes.memset(rogue.down, 0xFF, DOWN_BYTES)
    rogue.returns(*returns)
    bench.turn()
    assert [bytes(f) for f in bench.received("eth1")] == frames
    bench.send(bytes(udp()))
    bench.turn()
    # dom0 goes on with the index that it knows: a packet, and the gifts that came with the first return.
    assert load64(rogue.down) == head + 1 + GIFTS


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        (lambda slot: 0, "replayed"),
        (lambda slot: (1 << 64) - 1, "no_such_slot"),
        (lambda slot: word((slot & ~0xFFFF) | 1024, 60), "no_such_slot"),
        (lambda slot: word(slot ^ 0x10000, 60), "replayed"),
        (lambda slot: word(slot, 0), "bad_length"),
        (lambda slot: word(slot, LONGEST + 1), "bad_length"),
        (lambda slot: word(slot, 0xFFFF), "bad_length"),
        (lambda slot: word(slot, LONGEST, 255), "bad_length"),
        (lambda slot: word(slot, 60, verdict=16), "bad_verdict"),
        (lambda slot: word(slot, 60, verdict=0xFF), "bad_verdict"),
    ],
)
def test_every_field_is_masked_or_checked_xsa_448(bench, bad, fault):
    rogue, _ = cross(bench, 1)
    rogue.returns(bad(rogue.requests()[0][0]))
    bench.turn()
    assert {name for name, count in rogue.faults.items() if count} == {fault}
    assert bench.received("eth1") == []


def test_an_output_that_is_not_connected_is_a_bad_return(bench):
    rogue, _ = cross(bench, 1)
    rogue.returns(word(*rogue.requests()[0], verdict=9))
    bench.turn()
    assert bench.dropped["bad_return"] == 1


def test_a_return_counts_once_cve_2022_23036(bench):
    rogue, frames = cross(bench, 2)
    first = rogue.requests()[0]
    rogue.returns(word(*first), word(*first), word(*first))
    bench.turn()
    assert [bytes(f) for f in bench.received("eth1")] == frames[:1]
    assert rogue.faults["replayed"] == 2 and lent(rogue.channel) == 1


def test_an_old_generation_is_a_replay_cve_2022_23036(bench):
    rogue, _ = cross(bench, 1)
    old = rogue.requests()[0]
    rogue.returns(word(*old, verdict=DROPPED))
    bench.turn()
    for _ in range(SLOTS):
        bench.send(bytes(udp()))
        bench.turn()
        slot, length = rogue.requests()[-1]
        if slot & 0xFFFF == old[0] & 0xFFFF:
            break
        rogue.returns(word(slot, length, verdict=DROPPED))
        bench.turn()
    assert slot != old[0] and slot & 0xFFFF == old[0] & 0xFFFF
    rogue.returns(word(*old))
    bench.turn()
    assert rogue.faults["replayed"] == 1 and lent(rogue.channel) == 1


def test_a_visit_is_bounded_xsa_391(bench):
    rogue, _ = cross(bench, 64)
    rogue.returns(*([0] * SLOTS))
    before = load64(rogue.channel + CHANNEL["tail"])
    bench.turn(quantum=16)
    assert load64(rogue.channel + CHANNEL["tail"]) == before + 16


def test_a_full_channel_drops_in_dom0_xsa_392(bench):
    for _ in range(SLOTS // 64 + 2):
        bench.send(*[bytes(udp())] * 64)
        bench.turn()
    assert bench.dropped["channel_full"] == 128 and lent(bench.channels[0]) == SLOTS


def test_what_comes_back_is_validated_again_chromium():
    config = (
        f"FromDevice(eth0) -> Strip(14) -> CheckIPHeader -> {ELEMENT} -> DecIPTTL -> "
        "EtherEncap(0x0800, 1:1:1:1:1:1, 2:2:2:2:2:2) -> ToDevice(eth1);"
    )
    with Bench(config) as bench:
        rogue, _ = cross(bench, 3)
        (a, length), (b, _), (c, _) = rogue.requests()
        rogue.data(a)[SLOT_START] = 0x4F  # fifteen words of header, of which the packet has five
        rogue.data(b)[SLOT_START + 16] ^= 1  # a checksum that is wrong now
        rogue.returns(word(a, length), word(b, length), word(c, length))
        bench.turn()
        assert len(bench.received("eth1")) == 1 and bench.dropped["bad_header_returned"] == 2
        bench.assert_sound()


def test_nothing_of_others_is_left_in_a_slot_xsa_216(bench):
    rogue = Rogue(bench)
    for plan in bench.rings():
        for i in range(plan.count):
            small, large = (ctypes.c_uint32.from_address(plan.slots + 16 * i + 4 * k).value for k in (0, 1))
            ctypes.memset(bench.base + small * 64, 0xAB, 192)
            ctypes.memset(bench.base + large * 64, 0xAB, 2112)
    bench.send(bytes(udp(size=61)))
    bench.turn()
    everything = ctypes.string_at(rogue.up, DATA + SLOTS * SLOT_BYTES) + ctypes.string_at(rogue.down, DOWN_BYTES)
    assert b"\xab\xab" not in everything


def test_what_was_stripped_is_zeros_afterwards():
    config = f"FromDevice(eth0) -> Strip(14) -> {ELEMENT} -> Unstrip(14) -> ToDevice(eth1);"
    with Bench(config) as bench:
        rogue, frames = cross(bench, 1)
        rogue.returns(word(*rogue.requests()[0]))
        bench.turn()
        assert [bytes(f) for f in bench.received("eth1")] == [bytes(14) + frames[0][14:]]


def test_closing_is_idempotent_and_counts_what_is_lost_xsa_424(bench):
    from shm.channel import reset

    rogue, _ = cross(bench, 5)
    store64(rogue.channel + CHANNEL["open"], 0)
    assert (reset(rogue.channel), reset(rogue.channel)) == (5, 0)
    store64(rogue.channel + CHANNEL["lost"], 5)
    assert bench.dropped["domu_lost"] == 5


def test_memory_is_sealed_and_fresh_for_each_incarnation():
    fd = make_memory("vre-test", 8192)
    try:
        for change in (lambda: os.ftruncate(fd, 4096), lambda: os.ftruncate(fd, 16384)):
            with pytest.raises(PermissionError):
                change()
        with pytest.raises(PermissionError):
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
        reader = read_only(fd)
        with pytest.raises(PermissionError):
            mmap.mmap(reader, 4096, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        os.close(reader)
    finally:
        os.close(fd)


def test_a_new_incarnation_has_other_memory(bench):
    rogue = Rogue(bench)
    store64(rogue.up + 8, 42)
    old = os.dup(load64(rogue.channel + CHANNEL["up_fd"]))
    for fd in renew(rogue.channel):
        os.close(fd)
    assert load64(rogue.up + 8) == 0
    where = map_at(0, old, 4096)
    assert load64(where + 8) == 42
    ctypes.CDLL(None).munmap(ctypes.c_void_p(where), ctypes.c_size_t(4096))
    os.close(old)


def test_gifts_become_packets_of_the_routers_own(bench):
    rogue, _ = cross(bench, 1)
    rogue.returns(word(*rogue.requests()[0], verdict=DROPPED))
    bench.turn()
    count = load64(rogue.down)
    gifts = [load64(rogue.down + DOWN.size + 16 * (i % SLOTS)) for i in range(1, count)]
    assert len(gifts) == GIFTS and all(w >> 56 == 2 for w in gifts)
    ctypes.memmove(ctypes.addressof(rogue.data(gifts[0])) + SLOT_START, b"made here" * 8, 72)
    rogue.returns(word(gifts[0] & 0xFFFFFFFF, 72))
    bench.turn()
    assert [bytes(f) for f in bench.received("eth1")] == [b"made here" * 8]
    bench.assert_sound()


KEPT = 0x82


def test_a_packet_that_is_kept_is_in_flight_until_an_empty_slot_brings_it(bench):
    rogue, _ = cross(bench, 3)
    rogue.returns(*(word(*request, verdict=KEPT) for request in rogue.requests()))
    bench.turn()
    assert lent(rogue.channel) == 3 and bench.received("eth1") == []
    gifts = [load64(rogue.down + DOWN.size + 16 * i) & 0xFFFFFFFF for i in range(3, load64(rogue.down))]
    ctypes.memset(ctypes.addressof(rogue.data(gifts[0])) + SLOT_START, 0x11, 60)
    # One leaves, one is dropped, one stays: and what is kept and returned empty is an empty slot no longer.
    rogue.returns(word(gifts[0], 60), word(gifts[1], 0, verdict=DROPPED))
    bench.turn()
    assert len(bench.received("eth1")) == 1 and bench.dropped["domu_dropped"] == 1 and lent(rogue.channel) == 1
    bench.assert_sound()


def test_what_may_be_kept_is_bounded(bench):
    rogue, _ = cross(bench, 4)
    store64(rogue.channel + CHANNEL["kept"], MOST_KEPT - 1)
    rogue.returns(*(word(*request, verdict=KEPT) for request in rogue.requests()))
    bench.turn()
    assert load64(rogue.channel + CHANNEL["kept"]) == MOST_KEPT and bench.dropped["domu_dropped"] == 3
    store64(rogue.channel + CHANNEL["kept"], 1)


@given(
    st.lists(st.integers(0, (1 << 64) - 1) | st.sampled_from(["good", "again", "drop", "keep", "index"]), max_size=60)
)
@settings(max_examples=60, deadline=None)
def test_no_sequence_of_returns_breaks_an_account(words):
    with Bench(CONFIG) as bench:
        rogue, _ = cross(bench, 40)
        todo, last = rogue.requests(), (0, 60)
        verdicts = {"good": 0, "drop": DROPPED, "keep": KEPT}
        for one in words:
            if one == "index":
                add64(rogue.up, 3)
                rogue.sent += 3
            elif one == "again" or (one in verdicts and not todo):
                rogue.returns(word(*last))
            elif one in verdicts:
                last = todo.pop()
                rogue.returns(word(*last, verdict=verdicts[one]))
            else:
                rogue.returns(one)
            bench.turn()
        bench.assert_sound()
        table = load64(rogue.channel + CHANNEL["table"])
        kinds = [load64(table + 8 * i) & 3 for i in range(SLOTS)]
        free = load64(rogue.channel + CHANNEL["freed"]) - load64(rogue.channel + CHANNEL["head"])
        assert kinds.count(0) == free and kinds.count(2) == load64(rogue.channel + CHANNEL["gifts"])


def test_release_closes_what_renew_opened(bench):
    before = len(os.listdir("/proc/self/fd"))
    with Bench(CONFIG) as other:
        assert len(os.listdir("/proc/self/fd")) == before + 4  # two memories, the run directory and its lock
        assert other.channels
    assert len(os.listdir("/proc/self/fd")) == before
