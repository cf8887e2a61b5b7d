# SPDX-License-Identifier: MIT
"""Ticks and nanoseconds, in whole numbers, and what they are measured against."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.core.clock import RATE_BITS, Calibration, calibrate, to_ns

YEARS = 10 * 365 * 86400


@given(st.integers(0, 1 << 62), st.integers(1, 1 << RATE_BITS))
def test_ticks_in_ns_are_exact(ticks, rate):
    assert to_ns(ticks, rate) == ticks * rate >> RATE_BITS


@pytest.mark.parametrize("hz", [24e6, 1e9, 2.66e9, 5e9])
def test_a_clock_tells_a_nanosecond_after_ten_years_and_never_goes_back(hz):
    rate = Calibration(0, 1e9 / hz).rate
    start = round(YEARS * hz)
    shown = [to_ns(start + tick, rate) for tick in range(2000)]
    assert shown == sorted(shown)
    assert shown[-1] - shown[0] == pytest.approx(1999 * 1e9 / hz, abs=1.001)
    assert len(set(shown)) == min(2000, shown[-1] - shown[0] + 1)


class Host:
    """A processor whose ticks, clocks and interruptions are logical; a reading of anything takes 20 ns."""

    def __init__(self, hz, seed, first=10**15):
        self.now, self.hz, self.first, self.chance = 0, hz, first, random.Random(seed)

    def pass_time(self):
        # Now and then somebody else has the processor for some milliseconds.
        self.now += 20 if self.chance.random() < 0.7 else self.chance.randrange(10**5, 10**7)

    def ticks(self):
        self.pass_time()
        return self.first + round(self.now * self.hz / 1e9)

    def clock(self):
        self.pass_time()
        return 77 * 10**9 + self.now

    def world(self):
        return self.clock() + 10**18

    def sleep(self, seconds):
        self.now += round(seconds * 1e9)


@pytest.mark.parametrize("seed", range(5))
def test_a_clock_is_calibrated_on_a_busy_host(seed):
    host = Host(3e9, seed)
    found = calibrate(host.ticks, 0.02, host.clock, host.sleep, host.world)
    assert found.ns_per_tick == pytest.approx(1 / 3, rel=5e-6)
    assert found.ns_per_tick * (1 << RATE_BITS) == found.rate
    began_ns = (found.epoch_ticks - host.first) / 3
    assert found.epoch_unix_ns - 10**18 - 77 * 10**9 == pytest.approx(began_ns, abs=100), "no stamp is in the future"
