# SPDX-License-Identifier: MIT
"""Segments, and the layouts in them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from shm.intrinsics import load64, store64
from shm.layout import HEADER, Layout
from shm.segment import PAGE, Segment, SegmentError, claim_window, free_window

NAME = f"vre.{os.geteuid()}.test-segment"


@pytest.fixture
def base():
    """An address that nothing is mapped at."""
    window = claim_window("test")
    yield window
    free_window(window)


def test_a_segment_is_at_the_same_address_everywhere(base):
    segment = Segment.create(NAME, "probe", 10_000, base)
    try:
        assert segment.size == 3 * PAGE
        store64(base + HEADER.size, 4711)
        code = (
            "from shm.segment import Segment, SegmentEntry; from shm.intrinsics import load64;"
            f"Segment.attach({segment.entry!r}); print(load64({base + HEADER.size}))"
        )
        assert subprocess.check_output([sys.executable, "-c", code], text=True) == "4711\n"
        assert load64(base + HEADER["base"]) == base
        with pytest.raises(SegmentError, match="exists already"):
            Segment.create(NAME, "probe", 4096, base + 16 * PAGE)
        with pytest.raises(SegmentError, match="cannot map"):
            Segment.create(NAME + "-two", "probe", 4096, base)
    finally:
        segment.detach()
        segment.unlink()
    with pytest.raises(SegmentError, match="is gone"):
        Segment.attach(segment.entry)


def test_no_room_is_an_error_with_the_number_of_bytes(base):
    wanted = 1 << 50
    with pytest.raises(SegmentError, match=f"no room for {wanted} bytes"):
        Segment.create(NAME + "-big", "probe", wanted, base)


def test_layouts_reject_overlap_and_misalignment():
    with pytest.raises(ValueError, match="overlaps"):
        Layout("bad", {"a": "i8", "b": ("i8", 4)})
    with pytest.raises(ValueError, match="do not hold"):
        Layout("bad", {"a": "i8", "b": "i8"}, size=8)
    good = Layout("good", {"a": "u1", "b": "i8", "c": "3*u4", "d": "S5"})
    assert [good[f] for f in "abcd"] == [0, 8, 16, 28]
    assert good.dtype.itemsize == good.size == 40
