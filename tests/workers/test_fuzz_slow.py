# SPDX-License-Identifier: MIT
"""No packet makes any slow element of the platform's own raise, whatever stands in its header or its annotations."""

from __future__ import annotations

import pytest

from tests.fuzz.slow_elements import Fuzzed, frames, mutated, slow_classes, variants


@pytest.mark.parametrize("cls", slow_classes(), ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("seed", range(3))
def test_no_packet_makes_a_slow_element_raise(cls, seed):
    one = Fuzzed(cls, seed)
    with one.bench:
        for frame in frames()[seed::3]:
            for packet in variants(frame):
                one.send(packet)
            for _ in range(50):
                one.send(mutated(one.chance, frame))
            one.check(frame)


def test_all_slow_elements_are_found():
    assert {cls.__name__ for cls in slow_classes()} >= {
        "ARPQuerier",
        "ICMPError",
        "IPFragmenter",
        "IPGWOptions",
        "Print",
    }
