# SPDX-License-Identifier: MIT
"""Replays: when frames are due, how much memory they take, and that a file is read piece by piece."""

from __future__ import annotations

import ctypes

import pytest

from shm.intrinsics import load64
from shm.wire_layout import FRAME
from tests.workers.frames import udp
from tests.workers.test_capture_reader import pcap
from workers.datapath.packet import LARGE_ROOM
from workers.wire.capture_reader import CaptureError
from workers.wire.replay import LONGEST_GAP_NS, Replayed, Timeline

DAY = 24 * 3600 * 10**9


def due(*times):
    timeline = Timeline()
    return [timeline.due(time) for time in times], timeline.gaps


def test_frames_are_due_as_they_were_captured():
    assert due(1000, 3000, 3000, 8500) == ([0, 2000, 2000, 7500], 0)
    assert due(1000, 5000, 4000, 6000) == ([0, 4000, 4000, 5000], 0), "out of order: with the one before"
    assert due(None, 7, None, 9) == ([0, 0, 0, 2], 0)


def test_a_clock_that_was_set_is_no_wait():
    assert due(0, 50 * 365 * DAY, 50 * 365 * DAY + 7) == ([0, 0, 7], 1), "a first time of zero"
    assert due(DAY, DAY + 5, 0, DAY + 9, DAY + 12) == ([0, 5, 5, 5, 8], 2), "a zero in between"
    assert due(DAY, DAY + 5, 99 * DAY, DAY + 6, DAY + 8) == ([0, 5, 5, 5, 7], 2), "one that is far off"
    assert due(0, LONGEST_GAP_NS) == ([0, LONGEST_GAP_NS], 0)


def replayed(tmp_path, content, claims=((None, -1),)):
    (tmp_path / "x.pcap").write_bytes(content)
    return Replayed(tmp_path / "x.pcap", claims)


def placed(part):
    """Give a part memory; return what is there after it has been written."""
    memory = ctypes.create_string_buffer(part.room + 64)
    entries = ctypes.create_string_buffer(part.count * FRAME.size)
    part.blob, part.entries = ctypes.addressof(memory), ctypes.addressof(entries)
    part.write()
    found = []
    for i in range(part.count):
        at = part.entries + i * FRAME.size
        found.append((ctypes.string_at(load64(at), load64(at + FRAME["length"])), load64(at + FRAME["time_ns"])))
    return found


def test_frames_that_were_cut_are_as_long_as_they_were(tmp_path):
    whole = [udp(size=300), udp(size=1000)]
    capture = replayed(tmp_path, pcap(frames=whole, cut=200))
    part, nobody = capture.measure()
    assert "2 of 2 frames were cut" in capture.notes[0] and nobody.count == 0
    assert placed(part) == [(whole[0][:100] + bytes(200), 0), (whole[1][:800] + bytes(200), 1001)]


@pytest.mark.parametrize("tagged", [False, True])
def test_what_no_buffer_holds_is_kept_as_such_whatever_its_length(tmp_path, tagged):
    tag = b"\x81\x00\x00\x07" if tagged else b""
    plain = udp(size=60)
    frames = [plain[:12] + tag + plain[12:] + bytes(n - 60) for n in (LARGE_ROOM, LARGE_ROOM + 1, 9000, 200_000)]
    part, _ = replayed(tmp_path, pcap(frames=frames), [(None, 7 if tagged else -1)]).measure()
    lengths = [len(data) for data, _ in placed(part)]
    assert lengths[0] == LARGE_ROOM and all(LARGE_ROOM < length < LARGE_ROOM + 8 for length in lengths[1:])


def test_a_file_that_changes_between_its_readings_is_refused(tmp_path):
    for other in (pcap(frames=[udp()] * 3), pcap(frames=[udp()] * 9), pcap(frames=[udp(size=1400)] * 5)):
        part, _ = replayed(tmp_path, pcap(frames=[udp()] * 5)).measure()
        (tmp_path / "x.pcap").write_bytes(other)
        with pytest.raises(CaptureError, match="has changed while it was read"):
            placed(part)


def test_memory_does_not_grow_with_the_file(tmp_path):
    import tracemalloc

    content = pcap(frames=[udp(size=1400)] * 4000)
    capture = replayed(tmp_path, content)
    del content
    tracemalloc.start()
    capture.measure()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 500_000


def test_whoever_reads_a_long_capture_can_do_something_else_meanwhile(tmp_path):
    from vre.config.model import Generator
    from workers.wire.traffic import BETWEEN_PAUSES, generated

    pauses = []
    part, _ = (capture := replayed(tmp_path, pcap(frames=[udp()] * 5 * BETWEEN_PAUSES))).measure(
        lambda: pauses.append(1)
    )
    assert len(pauses) == 5 and capture.total == part.count
    generated(Generator(flows=10 * BETWEEN_PAUSES), [1, 2], ((64, 1),), lambda: pauses.append(2))
    assert pauses.count(2) == 20
