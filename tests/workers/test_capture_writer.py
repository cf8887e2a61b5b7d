# SPDX-License-Identifier: MIT
"""A capture on its way to a file: in order, whole, counted; and whatever the file is, nobody waits for it."""

import ctypes
import errno
import os
import random
import resource

import pytest

from shm.intrinsics import load64, store64
from shm.wire_layout import CAPTURE
from tests.captures import read_capture
from vre.config.captures import finish, row
from workers.wire.capture import capture_frame
from workers.wire.capture_writer import CaptureFile

ROOM = 1 << 14


class Tap:
    """A capture whose wire is this test."""

    def __init__(self, path, overwrite=False):
        self.memory = ctypes.create_string_buffer(CAPTURE.size + ROOM + 128)
        self.at = -(-ctypes.addressof(self.memory) // 128) * 128
        store64(self.at + CAPTURE["buffer"], self.at + CAPTURE.size)
        store64(self.at + CAPTURE["size"], ROOM)
        # Nearly all bits of both counts are about to turn over.
        for word in ("filled", "next_filled", "emptied"):
            store64(self.at + CAPTURE[word], ((1 << 31) - 5) << 32 | (1 << 32) - 4096)
        self.path = str(path)
        self.file = CaptureFile(self.at, self.path, overwrite)

    def send(self, *frames):
        for frame in frames:
            data = ctypes.create_string_buffer(frame, len(frame))
            capture_frame(self.at, ctypes.addressof(data), len(frame), 5)
        store64(self.at + CAPTURE["filled"], load64(self.at + CAPTURE["next_filled"]))

    @property
    def account(self):
        found = row("eth1", self.at, self.path)
        assert found["sent"] == found["written"] + found["lost"] + found["waiting"]
        return found["written"], found["lost"], found["waiting"]

    @property
    def error(self):
        return load64(self.at + CAPTURE["error"])


def frames(count, seed=1, most=1500):
    dice = random.Random(seed)
    return [dice.randbytes(dice.randrange(14, most)) for _ in range(count)]


def test_frames_come_into_the_file_in_order_however_the_ring_is_filled(tmp_path):
    tap, sent = Tap(tmp_path / "x.pcapng"), frames(300)
    for i in range(0, 300, 5):
        tap.send(*sent[i : i + 5])
        for _ in range(i % 4):
            tap.file.pump()
        if tap.account[2] > 4:
            tap.file.drain(1)
    tap.file.drain(1)
    tap.file.close()
    assert tap.account == (300, 0, 0)
    assert [record.data for record in read_capture(tmp_path / "x.pcapng")] == sent


def test_frames_without_room_are_counted_and_the_rest_is_whole(tmp_path):
    tap, sent = Tap(tmp_path / "x.pcapng"), frames(100, most=1000)
    tap.send(*sent)
    written, lost, waiting = tap.account
    assert written == 0 and lost > 0 and waiting > 0
    tap.file.drain(1)
    assert tap.account == (waiting, lost, 0)
    got = [record.data for record in read_capture(tmp_path / "x.pcapng")]
    assert len(got) == waiting and got == [frame for frame in sent if frame in got]


def test_a_fifo_makes_nobody_wait(tmp_path):
    os.mkfifo(tmp_path / "x")
    tap, sent = Tap(tmp_path / "x"), frames(200)
    tap.send(*sent[:10])
    assert not tap.file.pump() and tap.account == (0, 0, 10), "nobody reads"
    reader = os.open(tmp_path / "x", os.O_RDONLY | os.O_NONBLOCK)
    tap.file._open_at = 0.0
    while tap.file.pump() or tap.account[2]:
        pass
    assert tap.account == (10, 0, 0)
    for i in range(10, 200, 5):
        # The reader has stopped: the pipe fills, then the ring.
        tap.send(*sent[i : i + 5])
        for _ in range(8):
            tap.file.pump()
    written, lost, waiting = tap.account
    assert written < 150 and lost > 0 and waiting > 0 and tap.error == 0
    os.close(reader)
    tap.file.drain(1)
    assert tap.error == errno.EPIPE and tap.account[2] == 0
    tap.send(*sent[:3])
    tap.file.drain(1)
    assert sum(tap.account) == 203 and tap.account[2] == 0
    finish(tap.at)


def test_a_full_disk_ends_its_capture_with_a_whole_frame(tmp_path):
    tap, sent = Tap(tmp_path / "x.pcapng"), frames(40, most=400)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, before[1]))
        for i in range(0, 40, 10):
            tap.send(*sent[i : i + 10])
            tap.file.drain(1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    written, lost, waiting = tap.account
    assert tap.error == errno.EFBIG and waiting == 0 and written > 5 and lost == 40 - written
    assert [record.data for record in read_capture(tmp_path / "x.pcapng")] == sent[:written]


def test_a_device_without_room_ends_its_capture():
    tap = Tap("/dev/full")
    tap.send(*frames(5))
    tap.file.drain(1)
    assert tap.error == errno.ENOSPC and tap.account == (0, 5, 0)


def test_a_file_that_is_removed_ends_its_capture(tmp_path):
    tap, sent = Tap(tmp_path / "x"), frames(5)
    tap.send(*sent)
    tap.file.drain(1)
    (tmp_path / "x").unlink()
    tap.file._check_at = 0.0
    tap.file.pump()
    tap.send(*sent)
    tap.file.drain(1)
    assert tap.error == errno.ENOENT and tap.account == (5, 5, 0)


def test_a_file_that_holds_something_is_replaced_only_where_that_is_said(tmp_path):
    (tmp_path / "x").write_bytes(b"somebody's work")
    (tmp_path / "empty").touch()
    tap = Tap(tmp_path / "x")
    tap.send(*frames(2))
    tap.file.drain(1)
    assert tap.error == errno.EEXIST and tap.account == (0, 2, 0)
    assert (tmp_path / "x").read_bytes() == b"somebody's work"
    for tap in (Tap(tmp_path / "x", overwrite=True), Tap(tmp_path / "empty")):
        tap.send(*frames(2))
        tap.file.drain(1)
        assert tap.error == 0 and tap.account == (2, 0, 0)
    assert [record.data for record in read_capture(tmp_path / "x")] == frames(2)


def test_a_file_that_takes_nothing_is_given_up_where_time_is_logical(tmp_path):
    os.mkfifo(tmp_path / "x")
    tap = Tap(tmp_path / "x")
    tap.send(*frames(2))
    tap.file.drain(0.0)
    assert tap.error == errno.ETIMEDOUT and tap.account == (0, 2, 0)


@pytest.mark.parametrize("bad", ["", "no/such/folder/x"])
def test_a_file_that_cannot_be_opened_ends_its_capture(tmp_path, bad):
    tap = Tap(tmp_path / bad)
    tap.send(*frames(1))
    tap.file.drain(1)
    assert tap.error in (errno.EISDIR, errno.ENOENT) and tap.account == (0, 1, 0)
