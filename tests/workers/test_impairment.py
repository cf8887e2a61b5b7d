# SPDX-License-Identifier: MIT
"""Impaired links: what they do to frames by their parameters, exact in time, with fixed seeds; each frame accounted."""

from __future__ import annotations

import ctypes
from statistics import NormalDist

import numpy as np
import pytest

from shm.impairment_layout import IMPAIRMENT
from shm.intrinsics import load64
from shm.ring import length
from shm.wire_layout import FCS, FRAME_EXTRA
from tests.workers.impaired import Link
from workers.wire.impairment import take_frame
from workers.wire.loop import run_wire

COUNT = 20_000


def test_a_delay_is_exact_and_frames_of_one_time_keep_their_order():
    with Link(delay="5ms") as link:
        link.put(3)
        link.at(1_000)
        link.put(1)
        link.at(1_700)
        link.at(5_000_999)
        assert len(link.arrived()[0]) == 0 and link.account()["waiting"] == 4
        link.at(5_001_000)
        link.at(5_001_699)
        assert [found.tolist() for found in link.arrived()[:2]] == [[0, 1, 2], [5_001_000] * 3]
        link.at(6_000_000)
        assert [found.tolist() for found in link.arrived()[:2]] == [[3], [5_001_700]]
        assert link.account()["delayed"] == link.account()["arrived"] == 4


#: Where a number from 0 to 1 stands in each distribution, but for its mean and deviation.
U = (np.arange(2_000) + 0.5) / 2_000
NORMAL = np.array([NormalDist().inv_cdf(u) for u in U])
PARETO = np.minimum(((1 - U) ** (-1 / 3) - 1.5) / 0.75**0.5, 4)
LAWS = {"uniform": U, "normal": NORMAL, "pareto": PARETO, "paretonormal": 0.75 * PARETO + 0.25 * NORMAL}


@pytest.mark.parametrize("distribution", LAWS)
def test_jitter_has_its_distribution(distribution):
    law = (LAWS[distribution] - LAWS[distribution].mean()) / LAWS[distribution].std()
    deviation = 1 / 3**0.5 if distribution == "uniform" else 1
    with Link(delay="20ms", jitter="1ms", distribution=distribution, limit=100_000) as link:
        link.each(0, COUNT)
        link.at(10**9)
        late = link.arrived()[1] / 1e6 - 20
        assert len(late) == COUNT and (np.diff(late) >= 0).all()
        assert late.mean() == pytest.approx(0, abs=4 / COUNT**0.5)
        assert late.std() == pytest.approx(deviation, rel=0.04)
        for part in (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99):
            assert np.quantile(late, part) == pytest.approx(np.quantile(law, part) * deviation, rel=0.08, abs=0.02)


def test_jitter_is_correlated_and_keeps_its_distribution():
    with Link(delay="20ms", jitter="1ms", distribution="normal", correlation="60%", limit=100_000) as link:
        link.each(0, COUNT)
        link.at(10**9)
        numbers, times, _ = link.arrived()
        late = times[np.argsort(numbers)] - 20e6
        assert late.std() == pytest.approx(1e6, rel=0.05)
        for apart, expected in ((1, 0.6), (2, 0.36), (5, 0.6**5)):
            assert np.corrcoef(late[:-apart], late[apart:])[0, 1] == pytest.approx(expected, abs=0.05)


def runs(numbers, count):
    """Return the lengths of the runs of numbers that are missing."""
    missing = np.ones(count, bool)
    missing[numbers] = False
    edges = np.flatnonzero(np.diff(np.concatenate(([0], missing.astype(int), [0]))))
    return edges[1::2] - edges[::2]


def lost(**values):
    """Return which frames get through a link, of COUNT."""
    with Link(**values) as link:
        link.each(0, COUNT)
        numbers = link.arrived()[0]
        assert link.account()["lost"] == COUNT - len(numbers)
        assert (np.diff(numbers) > 0).all()
        return numbers


@pytest.mark.parametrize("correlation", [0, 0.5])
def test_losses_have_their_chance_whatever_their_correlation(correlation):
    """A run of losses is geometric: it goes on with the chance of a repetition, or of another loss."""
    numbers = lost(loss={"p": "10%", "correlation": correlation})
    assert 1 - len(numbers) / COUNT == pytest.approx(0.1, abs=0.012)
    assert runs(numbers, COUNT).mean() == pytest.approx(1 / (1 - correlation - (1 - correlation) * 0.1), rel=0.06)


def test_gilbert_elliott_has_its_states():
    numbers = lost(loss={"p": "5%", "r": "25%"})
    assert 1 - len(numbers) / COUNT == pytest.approx(0.05 / 0.3, rel=0.12)
    assert runs(numbers, COUNT).mean() == pytest.approx(4, rel=0.1)
    numbers = lost(loss={"p": "5%", "r": "25%", "h": "50%", "k": "99%"})
    assert 1 - len(numbers) / COUNT == pytest.approx(0.5 * 0.05 / 0.3 + 0.01 * 0.25 / 0.3, rel=0.12)


def test_frames_are_duplicated_and_corrupted_by_one_bit():
    with Link(duplicate="5%", corrupt="2%") as link:
        link.each(0, COUNT)
        _, _, frames = link.arrived()
        account = link.account()
        assert account["arrived"] == len(frames) == COUNT + account["duplicated"]
        assert account["duplicated"] == pytest.approx(0.05 * COUNT, rel=0.1)
        assert account["corrupted"] == pytest.approx(0.02 * len(frames), rel=0.2)
    with Link(corrupt=1.0) as link:
        link.put(400)
        link.at(0)
        inverted = []
        for n, frame in enumerate(link.arrived()[2]):
            sent = bytes.fromhex("0200000000030200000000018888") + n.to_bytes(8, "little") + bytes(38)
            inverted.append(int.from_bytes(frame, "little") ^ int.from_bytes(sent, "little"))
        assert {bits.bit_count() for bits in inverted} == {1}
        assert len({bits.bit_length() for bits in inverted}) > 200


@pytest.mark.parametrize(("gap", "most"), [(1, 1.0), (5, 0.2)])
def test_reordered_frames_overtake_those_that_wait(gap, most):
    with Link(delay="10us", reorder={"p": "100%", "gap": gap}) as link:
        last = link.each(1_000, 1_000)
        link.at(last + 10**6)
        numbers, times, _ = link.arrived()
        assert link.account()["reordered"] == round(1_000 * most)
        early = numbers[times == numbers * 1_000]
        assert (early % gap == gap - 1).all() and len(early) == round(1_000 * most)
        assert (times[times != numbers * 1_000] == (numbers * 1_000 + 10_000)[times != numbers * 1_000]).all()
    with Link(delay="10us", reorder="25%") as link:
        link.each(1_000, 2_000)
        assert link.account()["reordered"] == pytest.approx(500, rel=0.15)


def test_a_rate_is_that_of_a_finite_link():
    """With its overhead of the wire the token bucket sends each frame at the ns at which the port's speed does."""
    with Link(rate="7Mbps", overhead=FCS + FRAME_EXTRA) as link, Link(speed=7e6, delay="1s") as port:
        for each in (link, port):
            for size in (60, 1000, 333, 1514):
                each.put(50, size)
            for ns in range(0, 10**9, 10**5):
                each.at(ns)
            each.at(3 * 10**9)
        mine, theirs = link.arrived()[1], port.arrived()[1] - 10**9
        assert len(mine) == len(theirs) == 200
        assert abs(mine - theirs).max() <= 10**5 + 1
        assert mine[-1] == pytest.approx(50 * (60 + 1000 + 333 + 1514 + 4 * 24) * 8 / 7e6 * 1e9, abs=2)


def test_a_token_bucket_lets_a_burst_pass():
    with Link(rate="8Mbps", burst=600) as link:
        link.put(20, 100)
        link.at(10**9)
        link.at(2 * 10**9)
        times = link.arrived()[1] - 10**9
        # A byte takes a us: six frames at once, then one every 100 us.
        assert times.tolist() == [0] * 6 + [100_000 * n for n in range(1, 15)]


def test_never_more_wait_than_the_limit():
    with Link(delay="1ms", limit=10) as link:
        link.put(25)
        link.at(0)
        account = link.account()
        assert (account["waiting"], account["over_limit"]) == (10, 15)
        link.at(10**6)
        assert link.arrived()[0].tolist() == list(range(10))
        link.change(limit=3)
        link.put(25)
        link.at(2 * 10**6)
        assert link.account()["waiting"] == 3


def test_a_frame_that_no_buffer_holds_has_no_room():
    with Link(delay="1ms") as link:
        link.put(1)
        link.at(0)
        address = link.links.impaired.records["eth1", "out"]
        giant = ctypes.create_string_buffer(b"\xff" * 9000, 9000)
        for size in (2048, 2049, 9000):
            take_frame(address, load64(address + IMPAIRMENT["state"]), ctypes.addressof(giant), size, 0, 0)
        link.at(10**6)
        assert [len(frame) for frame in link.arrived()[2]] == [60, 2048]
        assert link.account()["over_limit"] == 2


def test_a_later_change_keeps_the_earlier_ones_and_frames_that_wait():
    with Link(delay="1ms", loss="10%") as link:
        link.put(100)
        link.at(0)
        link.change(jitter="10us", duplicate="50%")
        link.put(100)
        link.at(100_000)
        link.at(10**7)
        numbers, times, _ = link.arrived()
        first = numbers < 100
        assert (times[first] == 10**6).all() and (abs(times[~first] - 1_100_000) <= 10_000).all()
        account = link.account()
        assert 5 < account["lost"] < 40 and 30 < account["duplicated"] < 70
        assert link.bench.model.nics["eth1"].impaired["out"].as_dict() == {
            "delay": 10**6, "jitter": 10**4, "loss.p": 0.1, "duplicate.p": 0.5,
        }  # fmt: skip


def test_the_same_seed_and_port_give_the_same_and_others_do_not():
    found = []
    for seed, extra in ((1, {}), (1, {"duplicate": 0.0}), (2, {})):
        with Link(seed=seed, loss="30%", **extra) as link:
            link.put(300)
            link.at(0)
            found.append(link.arrived()[0].tolist())
    assert found[0] == found[1] != found[2]
    with Link(loss="30%", corrupt="30%", delay="1ms", jitter="1ms") as link:
        link.put(300)
        link.at(0)
        assert link.account()["lost"] == 300 - len(found[0]), "what else is set does not change which frames are lost"


def test_twins_and_machine_code_do_the_same():
    everything = {
        "delay": "1ms", "jitter": "300us", "distribution": "pareto", "correlation": 0.3, "duplicate": "10%",
        "loss": {"p": "10%", "r": "40%"}, "reorder": "10%", "corrupt": "10%", "rate": "100Mbps", "limit": 40,
    }  # fmt: skip
    found = []
    for loop in (run_wire, None):
        with Link(loop=loop, **everything) as link:
            for n in range(6):
                link.put(10)
                link.at(n * 100_000)
            link.at(10**7)
            numbers, times, frames = link.arrived()
            found.append((numbers.tolist(), times.tolist(), frames, link.account()))
    assert found[0] == found[1]
    assert all(found[0][3][name] for name in ("lost", "over_limit", "duplicated", "reordered", "corrupted"))


def test_frames_arrive_at_a_router_with_their_time_and_strays_are_counted():
    with Link(cable=True, delay="1ms") as link:
        link.put(5)
        link.at(0)
        rx = link.bench.builder.routers["r"].rx["eth2"].address
        assert length(rx) == 0
        link.at(10**6)
        assert length(rx) == 5 and link.account()["arrived"] == 5
        link.change(corrupt="100%")
        link.put(400)
        link.at(2 * 10**6)
        link.at(4 * 10**6)
        account = link.account()
        assert 0 < account["unclaimed"] == 405 - length(rx)
        assert link.bench.reader.unclaimed() == account["unclaimed"]
