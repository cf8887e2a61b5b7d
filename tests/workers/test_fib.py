# SPDX-License-Identifier: MIT
"""The forwarding table against a plain dictionary of prefixes."""

from __future__ import annotations

import contextlib
import ctypes
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shm.intrinsics import load64
from tests.reference.lpm import SlowTable
from workers.datapath.fib import HOPS, Fib, FibError, chunks_for, lookup, table_bytes
from workers.elements.route import control

CHUNKS = 64


def table(chunks=CHUNKS):
    """Return (fib, address, memory to keep)."""
    memory = ctypes.create_string_buffer(table_bytes(chunks) + 64)
    address = -(-ctypes.addressof(memory) // 64) * 64
    return Fib(address, chunks), address, memory


# Few addresses, many lengths: prefixes nest and collide.
prefixes = st.tuples(
    st.sampled_from([0x0A000000, 0x0A000100, 0x0A00017F, 0x0A010203, 0xC0A80000, 0xFFFFFFFF, 0]), st.integers(0, 32)
)
steps = st.lists(st.tuples(st.booleans(), prefixes, st.integers(0, 3)), max_size=40)


@settings(max_examples=60, deadline=None)
@given(steps)
def test_add_and_remove_agree_with_the_slow_table(changes):
    fib, address, _keep = table()
    slow = SlowTable()
    for adding, (prefix, length), output in changes:
        if adding:
            fib.add(prefix, length, 0, output)
            slow.add(prefix, length, output)
        elif slow.remove(prefix, length):
            fib.remove(prefix, length)
        else:
            with pytest.raises(FibError):
                fib.remove(prefix, length)
    probes = [
        base + delta & 0xFFFFFFFF
        for base in (0x0A000000, 0x0A000100, 0x0A010203, 0xC0A80000, 0xFFFFFFFF, 0)
        for delta in (0, 1, 127, 128, 255, 256, 65535, -1)
    ]
    for probe in probes:
        entry = lookup(address, probe)
        found = fib._hops[entry - 1][1] if entry else None
        assert found == slow.find(probe), hex(probe)
        assert fib.find(probe) == (None if found is None else (0, found))


def test_a_full_table_says_so_and_keeps_its_routes():
    fib, address, _keep = table(chunks=1)
    fib.add(0x0A000000, 24, 0, 1)
    with pytest.raises(FibError, match="CAPACITY"):
        fib.add(0x0B000000, 24, 0, 1)
    assert lookup(address, 0x0A000001)


ROUTES = [("10.0.0.0", 8, 1), ("10.1.0.0", 16, 2), ("10.1.2.0", 24, 3)]


@pytest.mark.parametrize(
    "wrong",
    [
        "add 10.0.0.0/8 3",
        "set 1.0.0.0/8 4",
        "remove 99.0.0.0/8",
        "frob",
        "add",
        "set 1.2.3.4/33 1",
        "set 172.16.9.9/32 1",
    ],
)
def test_a_batch_is_carried_out_whole_or_not_at_all(wrong):
    fib, address, _keep = table(5)
    control(fib, 4, "ctrl", "\n".join(f"add {net}/{length} {output}" for net, length, output in ROUTES))
    routes = [dict(level) for level in fib.routes]
    probes = [0x0A000001, 0x0A010001, 0x0A010201, 0x0A020001, 0xC0A80001, 0]
    answers = [lookup(address, probe) for probe in probes]
    # The last but one takes all the room that there is.
    lines = [
        "remove 10.1.0.0/16",
        "set 10.0.0.0/8 9.9.9.9 2",
        "add 192.168.0.0/16 1",
        "add 10.1.2.3/32 0",
        "set 172.17.9.9/32 1",
        wrong,
    ]
    with pytest.raises(ValueError, match=r"\S"):
        control(fib, 4, "ctrl", "\n".join(lines))
    assert fib.routes == routes
    assert [lookup(address, probe) for probe in probes] == answers
    control(fib, 4, "ctrl", "\n".join(lines[:-2]))
    assert fib.find(0x0A010203) == (0, 0) and fib.find(0x0A010001) == (0x09090909, 2)


def test_100000_routes():
    chance = random.Random(1)
    routes = {(chance.getrandbits(32) & 0xFFFFFF00, 24): chance.randrange(4) for _ in range(90_000)}
    routes |= {(chance.getrandbits(32) & 0xFFFF0000, 16): chance.randrange(4) for _ in range(20_000)}
    wanted = [(address, length, 0, output) for (address, length), output in routes.items()]
    assert len(wanted) > 100_000
    fib, address, _keep = table(chunks_for((r[0], r[1]) for r in wanted))
    began = time.perf_counter()
    fib.load(wanted)
    print(f"{len(wanted)} routes in {time.perf_counter() - began:.2f} s")  # shown, never asserted
    for prefix, length, _, output in chance.sample(wanted, 500):
        entry = lookup(address, prefix | 7)
        assert fib._hops[entry - 1][1] == (output if length == 24 else fib.find(prefix | 7)[1])


def hop_at(fib, entry):
    return (int(fib._hops[entry - 1][0]), int(fib._hops[entry - 1][1])) if entry else None


def test_a_table_that_routes_have_left_is_as_empty_as_it_was():
    fib, _, _keep = table(chunks=2)
    waited = []
    fib.await_readers = lambda: waited.append(1)
    for i in range(1000):
        fib.add(0x0A000000 + (i << 8), 32, i + 1, 0)
        fib.remove(0x0A000000 + (i << 8), 32)
    for i in range(HOPS * 2):
        fib.add(0x0A000000, 8, i + 1, 0)
    assert waited, "what has been given back is used again only when no reader is there any more"
    fib.remove(0x0A000000, 8)
    fib._reclaim()
    assert len(fib) == 0 and len(fib._free) == 2 and len(fib._free_hops) == HOPS and not fib._hop_of
    assert not fib._first.any() and not fib._short_length.any()


def test_what_has_been_given_back_is_not_used_while_readers_may_be_there():
    fib, address, _keep = table(chunks=2)

    def busy():
        raise FibError("readers are there")

    fib.await_readers = busy
    fib.add(0x0A000001, 32, 0, 1)
    fib.remove(0x0A000001, 32)
    with pytest.raises(FibError, match="readers are there"):
        fib.add(0x0B000001, 32, 0, 1)
    assert len(fib) == 0 and lookup(address, 0x0B000001) == 0
    fib.await_readers = lambda: None
    fib.add(0x0B000001, 32, 0, 1)
    assert hop_at(fib, lookup(address, 0x0B000001)) == (0, 1)


def test_a_refused_route_takes_no_room():
    fib, _, _keep = table(chunks=1)
    for i in range(2 * HOPS):
        with pytest.raises(FibError, match="CAPACITY"):
            fib.add(0x0A000001, 32, i + 1, 1)
    fib.add(0x0A000000, 24, 7, 1)
    with pytest.raises(FibError, match="CAPACITY"):
        fib.add(0x0A000001, 32, 7, 1)
    assert fib.find(0x0A000001) == (7, 1) and len(fib._hop_of) == 1


def churn(steps, seed=1):
    """Change a small table at random, and compare a reader's answers to those of the slow table."""
    chance = random.Random(seed)
    fib, address, _keep = table(chunks=12)
    slow, refused = SlowTable(), 0
    for step in range(steps):
        base = chance.choice((0x0A000000, 0x0A010000, 0x0A010200, 0xC0A80000, 0xC0A80100, 0)) | chance.randrange(4)
        length = chance.choice((0, 8, 15, 16, 17, 23, 24, 25, 31, 32))
        output = chance.randrange(50)
        if chance.random() < 0.5:
            try:
                fib.add(base, length, 0, output)
                slow.add(base, length, output)
            except FibError:
                refused += 1
        elif slow.remove(base, length):
            fib.remove(base, length)
        probe = base ^ chance.choice((0, 1, 255, 256, 65536))
        found = hop_at(fib, lookup(address, probe))
        assert (found and found[1]) == slow.find(probe), (step, hex(probe))
    for prefix, length in list(slow.routes):
        fib.remove(prefix, length)
    fib._reclaim()
    assert len(fib._free) == 12 and len(fib._free_hops) == HOPS and not fib._first.any()
    assert not any(fib._needed) and not any(fib._hop_needed)


def crowded(fib, slow, chance):
    """Fill a table with long prefixes, of which many are in gaps of each other."""
    for _ in range(60):
        base, length = (
            chance.choice((0x0A000000, 0x0A010000, 0xC0A80000)) | chance.getrandbits(16),
            chance.randint(17, 32),
        )
        with contextlib.suppress(FibError):
            fib.add(base, length, 0, length % 50)
            slow.add(base, length, length % 50)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1 << 30), st.lists(st.tuples(st.integers(0, 17), st.booleans()), min_size=1, max_size=12))
def test_changes_of_short_prefixes_among_long_ones_agree_with_the_slow_table(seed, changes):
    chance = random.Random(seed)
    fib, address, _keep = table()
    slow = SlowTable()
    crowded(fib, slow, chance)
    for number, (length, adding) in enumerate(changes):
        base = chance.choice((0x0A000000, 0x0A010000, 0xC0A80000))
        if adding:
            fib.add(base, length, 0, number)
            slow.add(base, length, number)
        elif slow.remove(base, length):
            fib.remove(base, length)
        for _ in range(20):
            probe = chance.choice((0x0A000000, 0x0A010000, 0xC0A80000)) | chance.getrandbits(16)
            found = hop_at(fib, lookup(address, probe))
            assert (found and found[1]) == slow.find(probe), (number, hex(probe))
    fib.flush()
    fib._reclaim()
    assert len(fib) == 0 and len(fib._free) == CHUNKS and len(fib._free_hops) == HOPS and not fib._hop_of
    assert not any(lookup(address, base) for base in (0x0A000000, 0x0A010000, 0xC0A80000))
    crowded(fib, SlowTable(), chance)


@pytest.mark.parametrize("length", [0, 1, 8, 16])
def test_a_short_prefix_touches_no_chunk_however_many_there_are(length):
    fib, address, _keep = table()
    slow = SlowTable()
    crowded(fib, slow, random.Random(3))
    before = fib._chunks.copy()
    fib.add(0, length, 0, 1)
    fib.add(0, length, 0, 2)
    assert (fib._chunks == before).all() and hop_at(fib, lookup(address, 1)) == (0, 2)
    fib.remove(0, length)
    assert (fib._chunks == before).all() and lookup(address, 1) == 0


def test_an_answer_is_an_old_or_a_new_one_when_the_table_changes_within_a_lookup(monkeypatch):
    """A short prefix comes, and the longer one goes, while a reader is on its way from one to the other."""
    from workers.datapath import fib as module

    fib, address, _keep = table()
    fib.add(0x0A000000, 24, 0, 1)
    fib.add(0x0A000100, 24, 0, 3)

    def interrupted(place):
        first = load64(place)
        fib.add(0, 0, 0, 2)
        fib.remove(0x0A000100, 24)
        return first

    monkeypatch.setattr(module, "load64", interrupted)
    assert hop_at(fib, lookup(address, 0x0A000101)) == (0, 2)


def test_churn_agrees_with_the_slow_table_and_leaves_nothing():
    churn(5_000)


@pytest.mark.slow
def test_a_hundred_thousand_changes_agree_with_the_slow_table():
    churn(100_000)
