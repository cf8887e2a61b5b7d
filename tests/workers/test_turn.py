# SPDX-License-Identifier: MIT
"""The pieces of a turn: one never handles a packet that it has not claimed."""

from __future__ import annotations

import pytest

from shm.intrinsics import store64
from shm.layout import CORE, MODEL_BITS, TASK
from tests.harness import Bench
from workers.datapath.turn import look

FRAME = bytes(60)
FITS = 4


def _in_virtual_time(bench):
    """Give a turn the time of FITS packets."""
    store64(bench.core + CORE["virtual"], 1)
    store64(bench.core + CORE["turn_ticks"], 100 * FITS)
    store64(bench.tasks[0] + TASK["model_ticks"], (100 << MODEL_BITS) - 1)


@pytest.mark.parametrize("count", range(1, FITS + 4))
def test_a_look_at_the_clock_goes_no_further_than_there_are_packets(count):
    with Bench("FromDevice(eth0) -> Discard;") as bench:
        _in_virtual_time(bench)
        # The packet that takes the turn past its time is handled, too.
        assert look(bench.core, bench.tasks[0], 0, count) == min(count, FITS + 1)


@pytest.mark.parametrize("sent", range(FITS - 1, FITS + 3))
def test_each_packet_is_handled_once_where_a_turn_has_just_time_for_all(sent):
    with Bench("FromDevice(eth0) -> c :: Counter -> Discard;") as bench:
        _in_virtual_time(bench)
        bench.send(*[FRAME] * sent)
        handled = 0
        while done := bench.turn():
            handled += done
        stats = bench.reader.routers()[0]
        assert (handled, stats.injected, stats.in_flight) == (sent, sent, 0)
        assert stats.balance == 0
