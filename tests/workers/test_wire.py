# SPDX-License-Identifier: MIT
"""The wire: pace, limits, histograms; and the traffic it is given."""

from __future__ import annotations

import ctypes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shm.intrinsics import record
from shm.layout import RING, TIME_UNIT_NS
from shm.wire_layout import FRAME, LINK, LINK_BITS, SOURCE, SOURCE_INTERVAL_BITS, TALLY_BUCKETS
from tests.harness import Bench
from tests.workers.frames import udp
from vre.config.model import IMIX, Generator
from vre.memory.address_space import view
from vre.platform.accounts import bucket_top
from workers.wire.accounts import bucket, latency, stamp
from workers.wire.replay import Sorter
from workers.wire.sink import sent_at
from workers.wire.source import due, run_source
from workers.wire.traffic import generated


@given(st.integers(0, 1 << 32))
def test_a_latency_is_counted_within_3_percent(units):
    at = bucket(units)
    assert 0 <= at < TALLY_BUCKETS
    if at < TALLY_BUCKETS - 1:
        assert units <= bucket_top(at) <= units + units // 32
        assert bucket(bucket_top(at)) == at and bucket(bucket_top(at) + 1) == at + 1


class Feed:
    """A source of one frame into a bench's RX ring, on a clock set by hand."""

    def __init__(self, bench, **fields):
        self.wire = bench.wire
        self._gate = ctypes.c_int64(1)
        self._frame = ctypes.create_string_buffer(udp(), 64)
        self._entries = (ctypes.c_int64 * 6)(
            ctypes.addressof(self._frame), 60, 0, ctypes.addressof(self._frame), 60, 700
        )
        self._memory = ctypes.create_string_buffer(SOURCE.size)
        self.address = ctypes.addressof(self._memory)
        self.source = record(self.address, SOURCE.dtype)
        self.ring = bench.builder.routers["r"].rx["eth0"].address
        settled = {
            "ring": self.ring,
            "full": self.ring + RING["full"],
            "frames": ctypes.addressof(self._entries),
            "count": 2,
            "limit": -1,
            "burst": 1,
        }
        for name, value in (settled | {"start_ns": -1, "gate": ctypes.addressof(self._gate)} | fields).items():
            self.source[name] = value
        assert FRAME.size == 24

    def at(self, ns):
        """Run at a time; return (frames offered, frames in the ring so far, frames missed so far)."""
        from shm.intrinsics import load64

        run_source(self.wire, self.address, ns, 0)
        return int(self.source["sent"]), load64(self.ring + RING["head"]), load64(self.ring + RING["full"])


@pytest.fixture
def bench():
    with Bench("FromDevice(eth0) -> ToDevice(eth1);") as one:
        yield one


def test_a_rate_is_kept_to_the_frame(bench):
    feed = Feed(bench, interval=1000 << SOURCE_INTERVAL_BITS)
    assert feed.at(5_000)[0] == 1
    assert feed.at(5_999)[0] == 1
    assert feed.at(6_000)[0] == 2
    assert feed.at(105_000)[0] == 101


YEARS = 10 * 365 * 86400 * 10**9


@pytest.mark.parametrize(
    "interval",
    [
        (10 << SOURCE_INTERVAL_BITS) + 1,
        1000 << SOURCE_INTERVAL_BITS,
        (333 << SOURCE_INTERVAL_BITS) + 21_845,
        1 << 47,
        (1 << 54) - 1,
    ],
)
def test_a_rate_is_kept_for_years(bench, interval):
    """What is due is exact in whole numbers, however long the stream has run."""
    feed = Feed(bench, ring=0, interval=interval)
    feed.at(0)
    for now in (10**9, 39 * 3600 * 10**9, 40 * 3600 * 10**9, 41 * 3600 * 10**9 + 1, YEARS // 1000, YEARS):
        offered = int(feed.source["sent"]) + due(bench.wire, feed.address, now)
        exact = (now << SOURCE_INTERVAL_BITS) // interval + 1
        assert abs(offered - exact) <= (now > 10**14 and interval >= 1 << 47), now
        feed.source["sent"] = offered


def test_recorded_times_are_kept_for_years(bench):
    feed = Feed(bench, ring=0, interval=-1, period_ns=10**15)
    feed.source["start_ns"] = 0
    for rounds in (0, 1, 50, 315):
        feed.source["sent"], feed.source["next"] = 2 * rounds + 1, 1
        assert [due(bench.wire, feed.address, rounds * 10**15 + ns) for ns in (0, 699, 700)] == [0, 0, 1]


@pytest.mark.parametrize("start", [0, YEARS, 1 << 62])
def test_a_link_has_its_speed_for_years(start):
    memory = (ctypes.c_int64 * (LINK.size // 8))()
    link = ctypes.addressof(memory)
    view(link, LINK.dtype)[0]["byte_time"] = round(8e9 / 100e9 * (1 << LINK_BITS))
    ends = [sent_at(link, 60, start, start + 10**9) for _ in range(1000)]
    assert ends[0] == start + 6 and ends[-1] - start == pytest.approx(1000 * 84 * 0.08, rel=1e-4)
    assert sent_at(link, 60, start, ends[-1]) == -1


def test_a_link_serves_cores_whose_clocks_differ():
    """In dilated time each core has a clock of its own: one that is ahead holds up nobody else at their port."""
    memory = (ctypes.c_int64 * (LINK.size // 8))()
    link = ctypes.addressof(memory)
    view(link, LINK.dtype)[0]["byte_time"] = round(8e9 / 1e9 * (1 << LINK_BITS))
    for ahead, behind in ((10**10, 5 * 10**9), (2 * 10**10, 6 * 10**9)):
        assert sent_at(link, 60, ahead - 1000, ahead) == ahead - 1000 + 672
        assert sent_at(link, 60, behind - 1000, behind) == behind - 1000 + 672
        assert [sent_at(link, 2048, behind - 1000, behind) for _ in range(2)] == [behind - 328 + 2072 * 8, -1]


def test_latencies_up_to_two_minutes_are_told():
    for start in (0, YEARS):
        for seconds in (0, 70, 136):
            told = latency(stamp(start), stamp(start + seconds * 10**9))
            assert abs(told * TIME_UNIT_NS - seconds * 10**9) < 64
    assert latency(stamp(YEARS), stamp(YEARS - 10_000)) == 0, "one clock was read a moment before the other"


def test_bursts_come_whole(bench):
    feed = Feed(bench, interval=1000 << SOURCE_INTERVAL_BITS, burst=10)
    assert [feed.at(t)[0] for t in (0, 9_999, 10_000, 25_000)] == [10, 10, 20, 30]


def test_a_full_ring_drops_at_the_nic_and_counts(bench):
    feed = Feed(bench, interval=1 << SOURCE_INTERVAL_BITS)
    for t in range(0, 2001, 100):
        sent, placed, missed = feed.at(t)
    assert placed == 512 and sent == placed + missed == 2001
    bench.settle()
    assert bench.dropped["rx_ring_full"] == 2001 - 512
    bench.received()
    bench.assert_sound()


def test_as_fast_as_it_is_taken_never_drops(bench):
    feed = Feed(bench, interval=0)
    for t in range(5):
        sent, placed, missed = feed.at(t)
    assert (sent, placed, missed) == (512, 512, 0)


def test_recorded_times_and_limits(bench):
    feed = Feed(bench, interval=-1, period_ns=1000)
    assert [feed.at(t)[0] for t in (0, 699, 700, 999, 1000, 1700)] == [1, 1, 2, 2, 3, 4]
    feed = Feed(bench, interval=0, limit=3)
    assert feed.at(0)[0] == 3 and int(feed.source["done"]) == 1


def test_frames_for_nobody_are_counted_and_giants_dropped(bench):
    feed = Feed(bench, ring=0, interval=0, limit=7)
    assert run_source(bench.wire, feed.address, 0, 0) == 0 and int(feed.source["sent"]) == 7


def test_generated_frames_are_valid_and_mixed_as_asked():
    from tests.workers.frames import ip_of

    link = Generator(size="imix", flows=48, ttl=9, destinations=("10.0.0.0/8", "192.168.1.7/32"), seed=3)
    (frames,) = generated(link, [0x020000000001], IMIX)
    sizes = [len(f.data) for f in frames]
    assert [sizes.count(s) * 12 / len(sizes) for s in (60, 572, 1514)] == [7, 4, 1], "sizes count the check sequence"
    first = ip_of(frames[0].data)
    assert first.ttl == 9
    chosen = first.copy()
    del chosen.chksum
    assert type(first)(bytes(chosen)).chksum == first.chksum
    assert {ip_of(f.data).dst for f in frames} >= {"192.168.1.7", "10.0.0.1"}
    assert generated(link, [1], IMIX) == generated(link, [1], IMIX)


def test_sorting_by_mac_and_vlan_like_a_nic_with_a_queue_per_router():
    tag = b"\x81\x00\x00\x07"
    plain, cast, other = udp(), udp(mac="ff:ff:ff:ff:ff:ff"), udp(mac="02:00:00:00:00:55")
    tagged = plain[:12] + tag + plain[12:]
    sorter = Sorter([(0x020000000001, -1), (0x020000000002, -1), (None, 7)])
    assert sorter.sort(plain) == ([0], plain)
    assert sorter.sort(cast) == ([0, 1], cast)
    assert sorter.sort(other) == ([], other)
    assert sorter.sort(tagged) == ([2], plain), "the tag is taken off"
    priority = plain[:12] + b"\x81\x00\xe0\x00" + plain[12:]
    assert sorter.sort(priority) == ([0], plain), "VLAN 0 is a priority and no VLAN"
    assert sorter.sort(plain[:13]) == ([], plain[:13]), "a frame without a header is for nobody"
