# SPDX-License-Identifier: MIT
"""Captures of every kind, whole and damaged: what Scapy writes, what the drafts allow, and what is neither."""

from __future__ import annotations

import gzip
import os
import random
import struct

import pytest

from tests.captures import read_capture
from tests.workers.frames import udp
from workers.wire.capture_reader import CaptureError, Findings, read_records

START_NS = 1_600_000_000_123_456_789
FRAMES = [udp(size=60 + 3 * i) for i in range(5)]


def pcap(order="<", ticks=10**9, kind=1, frames=FRAMES, cut=0, extra=b""):
    """Return a pcap file whose frames are 1 us and 1 ns apart; of each the last `cut` bytes are missing."""
    magic = {10**9: 0xA1B23C4D, 10**6: 0xA1B2C3D4}[ticks]
    if extra:
        magic = 0xA1B2CD34
    out = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, kind)
    for i, frame in enumerate(frames):
        seconds, part = divmod(START_NS + 1001 * i, 10**9)
        data = frame[: len(frame) - cut]
        out += struct.pack(order + "IIII", seconds, part * ticks // 10**9, len(data), len(frame)) + extra + data
    return out


def block(order, kind, body):
    body += bytes(-len(body) % 4)
    return struct.pack(order + "II", kind, 12 + len(body)) + body + struct.pack(order + "I", 12 + len(body))


def section(order="<"):
    return block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))


def option(order, code, data):
    return struct.pack(order + "HH", code, len(data)) + data + bytes(-len(data) % 4)


def interface(order="<", kind=1, snaplen=0, **options):
    codes = {"resolution": 9, "offset": 14, "check": 13}
    found = b"".join(option(order, codes[name], data) for name, data in options.items())
    return block(order, 1, struct.pack(order + "HHI", kind, 0, snaplen) + found + option(order, 0, b""))


def packet(order, number, ticks, frame, original=None):
    length = len(frame)
    head = struct.pack(order + "IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, length, original or length)
    return block(order, 6, head + frame)


@pytest.fixture
def file(tmp_path):
    def write(content):
        (tmp_path / "x.pcap").write_bytes(content)
        return tmp_path / "x.pcap"

    return write


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("ticks", [10**6, 10**9])
def test_pcap_times_are_exact_to_the_nanosecond(file, order, ticks):
    found = read_capture(file(pcap(order, ticks)))
    assert [record.data for record in found] == FRAMES
    exact = [START_NS + 1001 * i for i in range(5)]
    assert [record.time_ns for record in found] == [t // (10**9 // ticks) * (10**9 // ticks) for t in exact]


def test_pcap_as_scapy_writes_it_and_pcapng_as_scapy_reads_it(file, tmp_path):
    from scapy.layers.l2 import Ether
    from scapy.utils import PcapNgWriter, wrpcap

    wrpcap(str(tmp_path / "s.pcap"), [Ether(f) for f in FRAMES])
    assert [r.data for r in read_capture(tmp_path / "s.pcap")] == FRAMES
    with PcapNgWriter(str(tmp_path / "s.pcapng")) as writer:
        for frame in FRAMES:
            writer.write(Ether(frame))
    assert [r.data for r in read_capture(tmp_path / "s.pcapng")] == FRAMES


def test_gzip_and_the_variant_with_longer_records(file):
    assert [r.data for r in read_capture(file(gzip.compress(pcap())))] == FRAMES
    assert [r.data for r in read_capture(file(pcap(ticks=10**6, extra=bytes(8))))] == FRAMES


@pytest.mark.parametrize("order", "<>")
def test_interfaces_of_a_pcapng_have_their_own_clocks_and_link_types(file, order):
    a, b, c = FRAMES[:3]
    shift = (1000).to_bytes(8, "big" if order == ">" else "little")
    content = section(order) + interface(order, resolution=b"\x09") + interface(order) + interface(order, kind=101)
    content += interface(order, resolution=b"\x8a", offset=shift) + interface(order, resolution=b"")
    content += packet(order, 0, START_NS, a) + packet(order, 1, 7_000_001, b) + packet(order, 2, 5, b"raw IP")
    content += packet(order, 3, 512, c) + packet(order, 4, 3, a) + block(order, 0xBAD, b"unknown")
    findings = Findings()
    found = list(read_records(file(content), findings))
    assert [(r.data, r.time_ns) for r in found] == [
        (a, START_NS),
        (b, 7_000_001_000),
        (c, 1000 * 10**9 + 500_000_000),
        (a, 3000),
    ]
    assert findings.foreign == {101: 1} and "1 frame of link type 101 left out" in findings.notes()[0]


def test_sections_simple_and_old_packet_blocks(file):
    b, c = FRAMES[1:3]
    content = section("<") + interface("<", snaplen=70) + block("<", 3, struct.pack("<I", 200) + udp(size=200)[:70])
    content += block("<", 2, struct.pack("<HHIIII", 0, 0, 0, 9, len(b), len(b)) + b)
    content += section(">") + interface(">", check=b"\x04") + packet(">", 0, 1, c + b"\1\2\3\4")
    found = read_capture(file(content))
    assert [(r.data, r.time_ns, r.original) for r in found] == [
        (udp(size=200)[:70], None, 200),
        (b, 9000, len(b)),
        (c, 1000, len(c)),
    ]


def test_a_check_sequence_that_was_captured_is_taken_off(file):
    content = pcap(kind=1 | 1 << 26 | 2 << 28, frames=[f + b"\1\2\3\4" for f in FRAMES])
    assert [r.data for r in read_capture(file(content))] == FRAMES


def test_a_last_record_that_is_cut_short_loses_itself_alone(file):
    for content in (
        pcap()[:-7],
        gzip.compress(pcap())[:-30],
        section() + interface() + packet("<", 0, 1, FRAMES[0])[:-9],
    ):
        findings = Findings()
        try:
            found = list(read_records(file(content), findings))
        except CaptureError as error:
            assert "holds no whole frame" in str(error)
            continue
        assert [r.data for r in found] == FRAMES[: len(found)] and found
        assert "the file is damaged" in findings.notes()[-1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"hello, this is no capture at all, not even nearly so", "is not a pcap or pcapng file"),
        (pcap(kind=101), "link type 101"),
        (section() + interface(kind=113) + packet("<", 0, 1, bytes(60)), "link type 113"),
        (pcap(frames=[]), "holds no frames"),
        (section() + interface(), "holds no frames"),
        (pcap()[:12], "truncated"),
        (pcap()[:45], "truncated"),
        (pcap()[:24] + b"\xff" * 16, "a record of 4294967295 bytes"),
        (section() + packet("<", 0, 1, FRAMES[0]), "an interface that is not there"),
        (section() + interface() + block("<", 6, bytes(8)), "too short"),
        (section()[:8] + bytes(20), "byte order"),
        (section() + struct.pack("<II", 6, 1 << 30), "a block of 1073741824 bytes"),
        (gzip.compress(b""), "is empty"),
        (b"\x1f\x8b" + bytes(30), "gzip"),
    ],
)
def test_files_that_are_no_captures(file, content, message):
    with pytest.raises(CaptureError, match=message) as caught:
        read_capture(file(content))
    assert "x.pcap" in str(caught.value)


def test_what_is_no_regular_file_holds_nobody_up(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, "/dev/zero"):
        with pytest.raises(CaptureError, match=r"it is not a regular file|it is a folder"):
            read_capture(path)
    with pytest.raises(CaptureError, match=r"cannot read .*missing: No such file"):
        read_capture(tmp_path / "missing")


def test_any_damage_gives_frames_or_an_error(file):
    chance = random.Random(7)
    base = [pcap(), pcap(">", 10**6), section() + interface(resolution=b"\x09") + packet("<", 0, 5, FRAMES[0]) * 4]
    for _ in range(3000):
        content = bytearray(chance.choice(base))
        for _ in range(chance.choice((1, 1, 3, 20))):
            content[chance.randrange(len(content))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        content = content[: chance.choice((len(content), chance.randrange(len(content))))]
        try:
            for record in read_capture(file(bytes(content))):
                assert len(record.data) <= 1 << 18 and record.original >= len(record.data)
        except CaptureError:
            pass


def test_a_capture_of_other_things_than_frames_is_read_with_pauses(file):
    pauses = []
    for other in (block("<", 5, b"") * 2048, section("<") * 2048, block("<", 5, bytes(1 << 20)) * 4):
        content = gzip.compress(section("<") + interface("<") + other + interface("<") + packet("<", 0, 5, FRAMES[0]))
        if other.startswith(section("<")):
            content = gzip.compress(other + interface("<") + packet("<", 0, 5, FRAMES[0]))
        pauses.clear()
        assert len(list(read_records(file(content), Findings(), lambda: pauses.append(1)))) == 1
        assert len(pauses) == 4


def test_an_interface_with_a_million_options_takes_linear_work(file):
    body = struct.pack("<HHI", 1, 0, 0) + option("<", 9, b"\x09") + struct.pack("<HH", 2988, 0) * (1 << 21)
    content = section("<") + block("<", 1, body) + packet("<", 0, START_NS, FRAMES[0])
    (record,) = read_records(file(content), Findings())
    assert (record.data, record.time_ns) == (FRAMES[0], START_NS)
