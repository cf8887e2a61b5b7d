# SPDX-License-Identifier: MIT
"""Many changes of a forwarding table at once: as route by route."""

from __future__ import annotations

import random
import time

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference.lpm import SlowTable, mask
from tests.workers.frames import IN, udp
from tests.workers.test_fib import CHUNKS, hop_at, prefixes, table
from workers.datapath.fib import GROUPS, HOPS, NOWHERE, chunks_for, lookup
from workers.datapath.fib_bulk import remove_routes, set_routes

batches = st.lists(st.tuples(st.booleans(), st.lists(st.tuples(prefixes, st.integers(0, 3)), max_size=12)), max_size=8)
PROBES = [
    base + delta & 0xFFFFFFFF
    for base in (0x0A000000, 0x0A000100, 0x0A010203, 0xC0A80000, 0xFFFFFFFF, 0)
    for delta in (0, 1, 127, 128, 255, 256, 65535, -1)
]


def words(values):
    return np.array(list(values), np.int64)


@settings(max_examples=80, deadline=None)
@given(batches)
def test_batches_agree_with_the_slow_table_and_leave_nothing(changes):
    fib, address, _keep = table()
    slow = SlowTable()
    for adding, routes in changes:
        wanted = {(prefix & mask(length), length): output for (prefix, length), output in routes}
        addresses, lengths = words(a for a, _ in wanted), words(n for _, n in wanted)
        if adding:
            hops = [(0, 0), (7, 1), (0, 2), (7, 3)]
            assert set_routes(fib, addresses, lengths, hops, words(wanted.values())) == []
            for (prefix, length), output in wanted.items():
                slow.add(prefix, length, output)
        else:
            gone = [slow.remove(*key) for key in wanted]
            assert remove_routes(fib, addresses, lengths) == sum(gone)
        for probe in PROBES:
            found = hop_at(fib, lookup(address, probe))
            assert (found and found[1]) == slow.find(probe), hex(probe)
    left = [(prefix, length) for length, level in enumerate(fib.routes) for prefix in level]
    remove_routes(fib, words(a for a, _ in left), words(n for _, n in left))
    fib._reclaim()
    assert len(fib) == 0 and len(fib._free) == CHUNKS and len(fib._free_hops) == HOPS and not fib._hop_of
    assert not fib._needed.any() and not any(fib._hop_needed) and not fib._first.any()


def test_what_has_no_room_is_named_and_the_rest_is_there():
    fib, address, _keep = table(chunks=2)
    addresses = words([0x0A000100, 0x0B000100, 0x0C000100, 0x0A000200])
    failed = set_routes(fib, addresses, words([24] * 4), [(0, 1)], words([0] * 4))
    assert failed == [2] and len(fib) == 3
    assert lookup(address, 0x0A000201) and lookup(address, 0x0B000101) and not lookup(address, 0x0C000101)


def test_groups_come_and_go_with_the_routes_that_need_them():
    fib, address, _keep = table(chunks=4)
    for i in range(3 * GROUPS):
        hop = fib.group(((i + 1, 0), (i + 2, 1)))
        fib.add(0x0A000000, 24, *hop)
        assert fib.members(hop) == [(i + 1, 0), (i + 2, 1)] == fib.members(hop_at(fib, lookup(address, 0x0A000001)))
    fib.remove(0x0A000000, 24)
    fib._reclaim()
    assert len(fib._free_groups) == GROUPS and not fib._groups


def test_a_large_table_is_set_and_removed():
    chance = random.Random(1)
    keys = list({(chance.getrandbits(16) << 16 | chance.getrandbits(8) << 8, 24) for _ in range(150_000)})[:100_000]
    fib, address, _keep = table(chunks_for(keys))
    addresses, lengths = words(a for a, _ in keys), words(n for _, n in keys)
    began = time.perf_counter()
    for part in np.array_split(np.arange(len(keys)), 100):
        assert not set_routes(fib, addresses[part], lengths[part], [(9, 1), (0, 2)], addresses[part] >> 8 & 1)
    print(f"set: {time.perf_counter() - began:.2f} s")  # shown, never asserted
    for prefix, _ in chance.sample(keys, 300):
        assert hop_at(fib, lookup(address, prefix | 7)) == ((0, 2) if prefix >> 8 & 1 else (9, 1))
    began = time.perf_counter()
    for part in np.array_split(np.arange(len(keys)), 100):
        assert remove_routes(fib, addresses[part], lengths[part]) == len(part)
    print(f"removed: {time.perf_counter() - began:.2f} s")
    assert len(fib) == 0 and not fib._first.any()


def test_flows_keep_to_one_of_several_next_hops(bench):
    away = "EtherEncap(0x0800, 2:0:0:0:0:1, 2:0:0:0:0:2)"
    b = bench(
        f"{IN}rt :: RadixIPLookup(0/0 0, 99.0.0.0/8 1) -> {away} -> ToDevice(eth1); rt[1] -> {away} -> ToDevice(eth0);"
    )
    fib = b.builder.routers["r"].program.fibs["rt"]
    fib.add(0, 0, *fib.group(((0, 0), (0, 0), (0, 1))))
    fib.add(0x0A630000, 16, 0, NOWHERE)
    frames = [udp(dst=f"10.1.0.{n}") for n in range(1, 250)]
    first = [b.through(frame) for frame in frames[:100]]
    assert [b.through(frame) for frame in frames[:100]] == first
    b.received("eth0")
    there = sum(len(b.through(frame)) for frame in frames)
    # Two thirds of the hash's range: three standard deviations are 22 flows.
    assert 249 * 2 / 3 - 22 < there < 249 * 2 / 3 + 22 and there + len(b.received("eth0")) == 249
    assert b.through(udp(dst="10.99.0.1")) == [] and b.dropped["no_route"] == 1
