# SPDX-License-Identifier: MIT
"""Routes of a kernel's table reach a forwarding table: those of a real namespace, read by a real reader."""

from __future__ import annotations

import ctypes
import random
import threading
import time
from ipaddress import IPv4Network

import pytest

from shm.intrinsics import load64, store64
from shm.route_layout import CHANGE, FEED
from tests.netns import namespaces  # noqa: F401
from vre.control_plane.routes import Exit, RouteFeed, prepare
from workers.control.namespace import inside
from workers.control.route_messages import parse_messages
from workers.control.route_reader import RouteReader
from workers.datapath.fib import GROUP, Fib, table_bytes

RING = 1 << 14
GATEWAYS = {2: "10.0.0.2", 3: "10.0.1.2"}


class Reading:
    """A namespace with two ports, its reader in a thread, and a table that the routes go to."""

    def __init__(self, namespace, parse, chunks=4096, most=1 << 21):
        self.namespace = namespace
        namespace.ip(*(f"link add p{n} index {n + 2} type veth peer q{n} index {n + 12}" for n in (0, 1)))
        namespace.ip(
            *(f"addr add 10.0.{n}.1/24 dev p{n}" for n in (0, 1)),
            *(f"link set {side}{n} up" for n in (0, 1) for side in "pq"),
        )
        self._memory = ctypes.create_string_buffer(FEED.size + RING * CHANGE.size + table_bytes(chunks) + 256)
        feed = -(-ctypes.addressof(self._memory) // 128) * 128
        prepare(feed, feed + FEED.size, RING, most)
        self.fib = Fib(feed + FEED.size + RING * CHANGE.size, chunks)
        exits = {n + 2: Exit(n, (IPv4Network(f"10.0.{n}.0/24"),)) for n in (0, 1)}
        self._beats = 0
        self.feed = RouteFeed(feed, exits, self.fib, beats=self._beat)
        reader = inside(namespace.fd, lambda: RouteReader(feed, parse))
        self._thread = threading.Thread(target=reader.run)
        self._thread.start()

    def _beat(self):
        self._beats += 1
        return [self._beats]

    def word(self, name):
        return load64(self.feed.feed + FEED[name])

    def until(self, condition, seconds=60):
        """Apply changes until something is so."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, (len(self.fib), self.feed.counts, self.word("error"))
            if not self.feed.look(0.001):
                time.sleep(0.0005)

    def close(self):
        store64(self.feed.feed + FEED["stop"], 1)
        self._thread.join()


@pytest.fixture
def reading(namespaces):  # noqa: F811
    made = []

    def make(parse=parse_messages, **options):
        made.append(Reading(namespaces(), parse, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(scope="module")
def compiled():
    """The parser as the zygote compiles it."""
    from workers.compiler.compile import compile_kernel

    return compile_kernel(parse_messages)


def routes(fib):
    return {(address, length): hop for length, level in enumerate(fib.routes) for address, hop in level.items()}


def prefixes(count, seed=1):
    """Return so many different prefixes of 24 bits in 11.0.0.0/8 and behind."""
    chance = random.Random(seed)
    return sorted(f"{11 + (n >> 16)}.{n >> 8 & 255}.{n & 255}.0/24" for n in chance.sample(range(2 * count), count))


def via(n):
    return f"via {GATEWAYS[n]}"


def test_routes_come_change_and_go(reading):
    r = reading()
    r.until(lambda: len(r.fib) == 2)
    assert set(routes(r.fib)) == {(0x0A000000, 24), (0x0A000100, 24)}
    r.namespace.ip("route add 20.0.0.0/8 via 10.0.0.2", "route add blackhole 21.0.0.0/8")
    r.namespace.ip("route add 22.0.0.0/8 nexthop via 10.0.0.2 weight 1 nexthop via 10.0.1.2 weight 3")
    r.until(lambda: len(r.fib) == 5)
    assert r.fib.find(0x14000001) == (0x0A000002, 0)
    several = r.fib.find(0x16000001)
    assert several[1] & GROUP and r.fib.members(several) == [(0x0A000002, 0)] + 3 * [(0x0A000102, 1)]
    # The best of two with the same prefix counts; that of the other takes its place.
    r.namespace.ip("route add 20.0.0.0/8 via 10.0.1.2 metric 5", "route add 23.0.0.0/8 via 10.0.1.2 metric 5")
    r.until(lambda: len(r.fib) == 6)
    assert r.fib.find(0x14000001) == (0x0A000002, 0)
    r.namespace.ip("route del 20.0.0.0/8 via 10.0.0.2")
    r.until(lambda: r.fib.find(0x14000001) == (0x0A000102, 1))
    # Nothing tells of the routes that go with a link; the address of the other takes its own with it.
    r.namespace.ip("link set p1 down")
    r.until(lambda: set(routes(r.fib)) <= {(0x0A000000, 24), (0x15000000, 8), (0x16000000, 8)})
    r.namespace.ip("addr del 10.0.0.1/24 dev p0")
    r.until(lambda: set(routes(r.fib)) == {(0x15000000, 8)})
    assert r.feed.counts.refused == 0 and not r.feed.waiting


def test_what_this_router_does_not_have_is_refused(reading):
    r = reading(chunks=2, most=6)
    r.namespace.ip("addr add 10.0.9.1/24 dev q0")
    r.namespace.ip("route add 20.0.0.0/8 via 10.0.7.7 dev p0 onlink", "route add 20.1.1.0/24 via 10.0.1.2")
    r.until(lambda: r.feed.counts.refused >= 2 and len(r.fib) == 3)
    assert set(routes(r.fib)) == {(0x0A000000, 24), (0x0A000100, 24), (0x14010100, 24)}
    r.namespace.ip("route add 30.0.0.0/24 via 10.0.0.2")
    r.until(lambda: list(r.feed.waiting) == [0x1E000000 << 6 | 24])
    r.namespace.ip("link set p1 down")
    r.until(lambda: not r.feed.waiting and r.fib.find(0x1E000001))
    r.namespace.ip(*(f"route add 4{n}.0.0.0/8 via 10.0.0.2" for n in range(6)))
    r.until(lambda: r.word("beyond") >= 1)
    assert r.word("routes") <= 6


def test_ten_thousand_routes_and_as_many_flaps_leave_the_table_as_it_was(reading, compiled):
    r = reading(compiled)
    listed = prefixes(10_000)
    r.namespace.ip(*(f"route add {p} {via(2)}" for p in listed))
    r.until(lambda: len(r.fib) == 10_002)
    before = routes(r.fib)
    flapping = threading.Thread(
        target=r.namespace.ip,
        args=[f"route {what} {listed[7]} {via(3)}" for _ in range(5000) for what in ("replace", "del")],
    )
    flapping.start()
    r.until(lambda: not flapping.is_alive())
    r.namespace.ip(f"route add {listed[7]} {via(2)}", f"route add 99.0.0.0/8 {via(3)}")
    r.until(lambda: routes(r.fib) == before | {(0x63000000, 8): (0x0A000102, 1)})
    # A reader that begins anew, or a table that is another's: what has gone meanwhile goes.
    r.fib.add(0x63010000, 16, 0, 1)
    r.feed.want_all()
    r.until(lambda: routes(r.fib) == before | {(0x63000000, 8): (0x0A000102, 1)})


def test_a_hold_keeps_routes_that_the_daemon_has_taken_back(reading):
    r = reading()
    r.namespace.ip(f"route add 20.0.0.0/8 {via(2)}")
    r.until(lambda: r.fib.find(0x14000001))
    store64(r.feed.feed + FEED["hold_until_ns"], 1 << 62)
    r.namespace.ip("route del 20.0.0.0/8", f"route add 21.0.0.0/8 {via(3)}")
    dumps = r.word("dumps")
    r.until(lambda: r.word("dumps") > dumps + 1 and r.fib.find(0x15000001))
    assert r.fib.find(0x14000001) == (0x0A000002, 0)
    store64(r.feed.feed + FEED["hold_until_ns"], 0)
    r.until(lambda: r.fib.find(0x14000001) is None)


@pytest.mark.slow
@pytest.mark.parametrize("count", [100_000, 1_000_000])
def test_a_large_table_is_read_and_a_change_is_seen(reading, compiled, count):
    r = reading(compiled, chunks=40_000)
    listed = prefixes(count)
    r.namespace.ip(*(f"route add {p} {via(2)}" for p in listed))
    r.until(lambda: len(r.fib) == count + 2, 300)
    r.fib.flush()
    began = time.monotonic()
    r.feed.want_all()
    r.until(lambda: len(r.fib) == count + 2, 300)
    print(f"{count} routes: {time.monotonic() - began:.2f} s")  # shown, never asserted
    for n in range(5):
        began = time.monotonic()
        r.namespace.ip(f"route add 200.0.{n}.0/24 {via(3)}")
        r.until(lambda n=n: r.fib.find(0xC8000001 | n << 8))
        print(f"a change: {(time.monotonic() - began) * 1e3:.1f} ms, ip(8) included")
