# SPDX-License-Identifier: MIT
"""Super-frames: cut into frames, and merged from them, with Scapy's headers and checksums for comparison."""

from __future__ import annotations

import ctypes
import random
import struct

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
from scapy.packet import Raw

from shm.offload_layout import MERGE, MOST, VNET_ECN, VNET_NEEDS_SUM, VNET_SIZE, VNET_TCPV4, VNET_TCPV6, VNET_UDP
from workers.compiler.compile import compile_kernel
from workers.wire.merging import begin_merge, finish_merge, merge_into
from workers.wire.segmentation import cut, headers_size, segment_count

ETHER = Ether(dst="02:00:00:00:00:01", src="02:00:00:00:00:99")
TAGS = {"untagged": ETHER, "tagged": ETHER / Dot1Q(vlan=7), "QinQ": ETHER / Dot1AD(vlan=9) / Dot1Q(vlan=7)}
NETS = {
    "IPv4": lambda number: IP(src="10.0.0.1", dst="10.0.1.2", id=(65530 + number) % 65536),
    "IPv6": lambda number: IPv6(src="fd00::1", dst="fd00:1::2"),
}
STAMPS = [("NOP", None), ("NOP", None), ("Timestamp", (1000, 2000))]
GUARD = b"\xa5" * 64


class Memory:
    """Bytes at an address, with a guard behind them."""

    def __init__(self, data=b"", size=0):
        self.size = max(size, len(data))
        self._bytes = ctypes.create_string_buffer(data.ljust(self.size, b"\0") + GUARD, self.size + len(GUARD))
        self.address = ctypes.addressof(self._bytes)

    def read(self, size, at=0):
        assert self._bytes.raw[self.size :] == GUARD, "nothing is written behind the end"
        return self._bytes.raw[at : at + size]


def vnet(kind, size, frame, field):
    """Return the VNET header of a super-frame; `field` is the offset of the checksum in the segment."""
    segment = len(frame) - len(frame.getlayer(TCP if kind != VNET_UDP else UDP))
    return struct.pack("=BBHHHH", VNET_NEEDS_SUM, kind, 0, size, segment, field)


def data(size):
    """Return bytes that are all different in one segment."""
    return random.Random(size).randbytes(size)


def cut_all(frame, header, kernels=(headers_size, cut)):
    """Return the frames that a super-frame becomes."""
    sizes, cutter = kernels
    whole, described = Memory(frame), Memory(header)
    headers = sizes(whole.address, len(frame), described.address)
    if headers == 0:
        return None
    step = struct.unpack("=BBHHHH", header)[3]
    found = []
    for number in range(segment_count(len(frame), headers, step)):
        target = Memory(size=headers + step)
        length = cutter(whole.address, len(frame), described.address, headers, number, target.address)
        found.append(target.read(length))
    assert whole.read(len(frame)) == frame
    return found


def tcp_segments(tag, net, payload, step, flags="PFA", first=0xFFFFFF00):
    """Return the segments of a stream as Scapy makes them."""
    pieces = [payload[at : at + step] for at in range(0, len(payload), step)]
    found = []
    for number, piece in enumerate(pieces):
        seen = "".join(flag for flag in flags if flag not in "PF" or number == len(pieces) - 1)
        seen = seen.replace("C", "") if number else seen
        tcp = TCP(sport=5, dport=80, seq=(first + number * step) % (1 << 32), ack=77, flags=seen, options=STAMPS)
        found.append(bytes(TAGS[tag] / NETS[net](number) / tcp / Raw(piece)))
    return found


@pytest.fixture(scope="module")
def compiled():
    """Return the kernels, compiled."""
    return {
        kernel.__name__: compile_kernel(kernel) for kernel in (headers_size, cut, begin_merge, merge_into, finish_merge)
    }


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("net", NETS)
def test_a_tcp_super_frame_is_cut_into_what_the_stack_would_have_sent(tag, net, compiled):
    payload, step = data(10_001), 1400
    tcp = TCP(sport=5, dport=80, seq=0xFFFFFF00, ack=77, flags="PFAC", options=STAMPS)
    frame = TAGS[tag] / NETS[net](0) / tcp / Raw(payload)
    kind = (VNET_TCPV4 if net == "IPv4" else VNET_TCPV6) | VNET_ECN
    header = vnet(kind, step, frame, 16)
    expected = tcp_segments(tag, net, payload, step, "PFAC")
    assert cut_all(bytes(frame), header) == expected
    assert cut_all(bytes(frame), header, (compiled["headers_size"], compiled["cut"])) == expected


@pytest.mark.parametrize("net", NETS)
def test_a_udp_super_frame_is_cut_into_datagrams(net):
    payload, step = data(3000), 1000
    frame = ETHER / NETS[net](0) / UDP(sport=5, dport=9) / Raw(payload)
    expected = [
        bytes(ETHER / NETS[net](i) / UDP(sport=5, dport=9) / Raw(payload[i * step : (i + 1) * step])) for i in range(3)
    ]
    assert cut_all(bytes(frame), vnet(VNET_UDP, step, frame, 6)) == expected


def test_what_cannot_be_cut_is_not():
    frame = ETHER / NETS["IPv4"](0) / TCP(flags="A") / Raw(data(3000))
    good = vnet(VNET_TCPV4, 1000, frame, 16)
    assert len(cut_all(bytes(frame), good)) == 3
    for kind, size, start in ((0, 1000, 34), (VNET_TCPV6, 1000, 34), (3, 1000, 34), (VNET_TCPV4, 0, 34)):
        assert cut_all(bytes(frame), struct.pack("=BBHHHH", 1, kind, 0, size, start, 16)) is None
    for start in (0, 33, 3040, 65535):
        assert cut_all(bytes(frame), struct.pack("=BBHHHH", 1, VNET_TCPV4, 0, 1000, start, 16)) is None
    chance = random.Random(1)
    for _ in range(2000):
        # Whatever a stack may say: nothing is read or written beyond, which the guards and the sizes show.
        broken = bytearray(bytes(frame)[: chance.randrange(1, 200)])
        broken[chance.randrange(len(broken))] = chance.randrange(256)
        cut_all(bytes(broken), struct.pack("=BBHHHH", 1, chance.choice((1, 4, 5)), 0, 500, chance.randrange(70), 16))


class Merger:
    """A MERGE record with its buffer; frames go in, super-frames come out."""

    def __init__(self, kernels=None):
        kernels = kernels or {}
        self._begin, self._into = kernels.get("begin_merge", begin_merge), kernels.get("merge_into", merge_into)
        self._finish = kernels.get("finish_merge", finish_merge)
        self._buffer, self._record = Memory(size=64 + MOST), Memory(size=MERGE.size)
        words = [self._buffer.address + 64] + [0] * (MERGE.size // 8 - 1)
        ctypes.memmove(self._record.address, struct.pack(f"={len(words)}q", *words), MERGE.size)

    def through(self, frames):
        """Return (VNET header, frame) of each that leaves."""
        found, open_ = [], False
        for frame in frames:
            held = Memory(frame)
            if not (open_ and self._into(self._record.address, held.address, len(frame))):
                found += [self._take()] if open_ else []
                self._begin(self._record.address, held.address, len(frame))
                open_ = True
        return found + ([self._take()] if open_ else [])

    def _take(self):
        start = self._finish(self._record.address) - self._buffer.address
        length = struct.unpack("=8q", self._record.read(64))[MERGE["length"] // 8]
        return self._buffer.read(VNET_SIZE, start), self._buffer.read(length, start + VNET_SIZE)


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("net", NETS)
def test_a_stream_is_merged_and_can_be_cut_again(tag, net, compiled):
    frames = tcp_segments(tag, net, data(20_000), 1400, "PA")
    for kernels in (None, compiled):
        [(header, frame)] = Merger(kernels).through(frames)
        assert len(frame) > 20_000 and cut_all(frame, header) == frames


def test_a_stream_is_merged_up_to_what_a_packet_holds(compiled):
    frames = tcp_segments("untagged", "IPv4", data(200_000), 1400, "A")
    found = Merger(compiled).through(frames)
    assert [len(frame) > 60_000 for _, frame in found] == [True, True, True, False]
    assert [one for header, frame in found for one in cut_all(frame, header)] == frames
    assert all(IP(frame[14:]).len <= 65535 for _, frame in found)


def changed(frame, **fields):
    """Return a frame with other fields, and checksums that hold."""
    packet = Ether(frame)
    for name, value in fields.items():
        layer = TCP if name in ("seq", "ack", "window", "flags", "dport", "options") else IP if name != "src" else Ether
        setattr(packet[layer], name, value)
    del packet[IP].chksum, packet[TCP].chksum, packet[TCP].dataofs
    del packet[IP].len
    return bytes(packet)


@pytest.mark.parametrize(
    "fields",
    [
        {"seq": 5},
        {"ack": 78},
        {"window": 1},
        {"dport": 81},
        {"ttl": 3},
        {"tos": 3},
        {"id": 9},
        {"flags": "SA"},
        {"flags": "FA"},
        {"flags": "UA"},
        {"flags": "EA"},
        {"dst": "10.0.1.3"},
        {"src": "02:00:00:00:00:98"},
        {"options": [("NOP", None), ("NOP", None), ("Timestamp", (1001, 2000))]},
        {"frag": 1},
    ],
    ids=str,
)
def test_what_differs_is_not_merged(fields):
    first, second = tcp_segments("untagged", "IPv4", data(2000), 1000, "A")
    assert len(Merger().through([first, second])) == 1
    other = changed(second, **fields)
    assert [frame for _, frame in Merger().through([first, other])] == [first, other]
    assert all(header == bytes(VNET_SIZE) for header, _ in Merger().through([first, other]))


def test_a_packet_that_is_not_to_be_fragmented_needs_no_identification():
    first, second = (changed(f, flags="A") for f in tcp_segments("untagged", "IPv4", data(2000), 1000, "A"))
    packets = [Ether(f) for f in (first, second)]
    for packet in packets:
        packet[IP].flags, packet[IP].id = "DF", 0
        del packet[IP].chksum
    assert len(Merger().through([bytes(p) for p in packets])) == 1


def test_a_wrong_checksum_is_not_made_right():
    frames = tcp_segments("untagged", "IPv4", data(3000), 1000, "A")
    for number in range(3):
        for at in (24, 50, 70, 900):
            broken = bytearray(frames[number])
            broken[at] ^= 4
            sent = [*frames[:number], bytes(broken), *frames[number + 1 :]]
            found = [frame for header, whole in Merger().through(sent) for frame in (cut_all(whole, header) or [whole])]
            assert found == sent


def test_what_pushes_or_is_short_ends_a_super_frame():
    frames = tcp_segments("untagged", "IPv4", data(6000), 1000, "A")
    pushed = [*frames[:2], changed(frames[2], flags="PA"), *frames[3:]]
    assert [len(cut_all(frame, header)) for header, frame in Merger().through(pushed)] == [3, 3]
    short = tcp_segments("untagged", "IPv4", data(2500), 1000, "A")
    more = tcp_segments("untagged", "IPv4", data(1000), 1000, "A", (0xFFFFFF00 + 2500) % (1 << 32))
    assert len(Merger().through(short + more)) == 2


def test_other_frames_pass_one_by_one():
    frames = [
        bytes(ETHER),
        bytes(ETHER / IP() / UDP() / Raw(b"x" * 100)),
        bytes(ETHER / IPv6() / UDP() / Raw(b"x" * 100)),
        bytes(ETHER / IP() / TCP(flags="A")).ljust(60, b"\0"),
        bytes(ETHER / IP() / TCP(flags="S")),
        bytes(ETHER / Raw(b"\0" * 1500)),
        bytes(ETHER / IP(options=[b"\1\1\1\1"]) / TCP(flags="A") / Raw(b"x" * 50)),
    ]
    chance = random.Random(2)
    frames += [chance.randbytes(chance.randrange(1, 300)) for _ in range(200)]
    base = tcp_segments("untagged", "IPv4", data(100), 100, "A")[0]
    frames += [base[:at] for at in range(1, len(base))]
    assert [frame for _, frame in Merger().through(frames)] == frames
