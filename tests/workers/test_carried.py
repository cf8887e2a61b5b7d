# SPDX-License-Identifier: MIT
"""A packet's bytes are those that it carried: nothing else in any buffer is read into it, or written through it."""

from __future__ import annotations

import numpy as np
import pytest

from shm.layout import LARGE_STRIDE, LINE, SMALL_STRIDE
from tests.workers.frames import IN, OUT, udp
from vre.memory.address_space import view
from workers.datapath.packet import GUARD, HEADROOM

#: What all buffers are full of: another router's packets, for all that this one knows.
OTHERS = b"\xd1\xc2\xb3\xa4"


def buffers(bench):
    """Return the bytes of each of the bench's buffers."""
    sizes = zip(bench.buffers(), (SMALL_STRIDE, LARGE_STRIDE), strict=True)
    return [view(bench.base + int(at) * LINE, "u1", size) for references, size in sizes for at in references]


def plant(bench):
    """Fill every buffer with other packets."""
    made = buffers(bench)
    for memory in made:
        memory[:] = np.resize(np.frombuffer(OTHERS, "u1"), len(memory))
    return made


def assert_clean(frames):
    """No four bytes in a row are another packet's."""
    turned = [OTHERS[i:] + OTHERS[:i] for i in range(4)]
    assert not [frame for frame in frames if any(word in frame for word in turned)]


@pytest.mark.parametrize("stripped", [21, 84, 128, 370, 440])
def test_a_copy_has_its_header_in_its_own_buffer(bench, stripped):
    b = bench(
        f"FromDevice(eth0) -> Strip(14) -> CheckIPHeader -> Strip({stripped}) -> t :: Tee(3) -> Discard;"
        f"t[1] -> Unstrip({stripped}) -> q :: Queue -> ToDevice(eth1);"
        f"t[2] -> DecIPTTL -> Unstrip({stripped}) -> ToDevice(eth2);"
    )
    made = plant(b)
    frames = [udp(size=512, ttl=9, id=i) for i in range(4)]
    b.send(*frames)
    b.settle()
    assert b.received("eth1") == [frame[14:] for frame in frames]
    out = b.received("eth2")
    assert [frame[8] for frame in out] == [8] * len(frames)
    assert [frame[12:] for frame in out] == [frame[26:] for frame in frames]
    # Of a buffer that was written to, all is another's but a packet: nothing was changed at random.
    for memory in made:
        others = bytes(memory) == bytes(np.resize(np.frombuffer(OTHERS, "u1"), len(memory)))
        assert others or any(frame[30:] in bytes(memory) for frame in frames)


@pytest.mark.parametrize(
    "path",
    [
        "Unstrip(64)",
        "Strip(14) -> Unstrip(15)",
        "Queue -> Unqueue -> Unstrip(1)",
        "Print(x, 0, ACTIVE false) -> Unstrip(8)",
        "Strip(20) -> EtherEncap(0x0800, 1:1:1:1:1:1, 2:2:2:2:2:2) -> Strip(14) -> Unstrip(21)",
        "t :: Tee(2) -> Discard; t[1] -> Unstrip(4)",
        "Strip(14) -> Print(x, 0, ACTIVE false) -> t :: Tee(2) -> Discard; t[1] -> Unstrip(15)",
    ],
)
def test_what_a_packet_never_carried_is_not_uncovered(bench, path):
    b = bench(f"FromDevice(eth0) -> {path} -> ToDevice(eth1);")
    plant(b)
    assert b.through(*[udp(size=size) for size in (60, 129, 900)]) == []
    assert b.dropped["no_headroom"] == 3


def test_frames_made_here_cover_nothing_up(bench):
    b = bench("InfiniteSource(LIMIT 3) -> Unstrip(4) -> ToDevice(eth1);")
    plant(b)
    b.settle()
    assert b.received() == []
    assert b.dropped["no_headroom"] == 3


@pytest.mark.parametrize(
    "path",
    [
        "Strip(300) -> Unstrip(300)",
        "Strip(14) -> Queue -> Unqueue -> Strip(20) -> Unstrip(34)",
        "Strip(40) -> Print(x, 0, ACTIVE false) -> Unstrip(40)",
        "Strip(500) -> Print(x, 0, ACTIVE false) -> Queue -> Unqueue -> t :: Tee(2) -> Discard; t[1] -> Unstrip(500)",
    ],
)
def test_what_was_stripped_can_be_uncovered_anywhere(bench, path):
    b = bench(f"FromDevice(eth0) -> {path} -> ToDevice(eth1);")
    plant(b)
    frames = [udp(size=size, id=size) for size in (512, 900, 1500)]
    assert b.through(*frames) == frames


def test_what_was_written_in_front_can_be_stripped_and_uncovered(bench):
    encap = "EtherEncap(0x0800, 1:1:1:1:1:1, 2:2:2:2:2:2)"
    b = bench(f"FromDevice(eth0) -> {encap} -> Strip(14) -> Strip(14) -> Unstrip(28) -> ToDevice(eth1);")
    plant(b)
    frame = udp()
    assert b.through(frame) == [bytes.fromhex("020202020202 010101010101 0800") + frame]


def test_headers_in_front_of_a_packet_are_not_read_on_the_slow_path(bench):
    b = bench(IN + "Strip(20) -> Print(x, 0, ACTIVE false) -> DecIPTTL" + OUT)
    plant(b)
    assert b.through(udp(size=300)) == []
    assert b.dropped == {"no_ip_header": 1}


@pytest.mark.parametrize("size", [0, 1, 7, 8, 13, 14, 60])
def test_a_tag_is_put_only_into_a_frame_with_addresses(bench, size):
    b = bench("FromDevice(eth0) -> Strip(1000) -> ToDevice(eth1);", vlan=300)
    plant(b)
    out = b.through(udp(size=1000 + size))
    assert [len(frame) for frame in out] == [size + 4] * (size >= 14)
    assert_clean(out)


@pytest.mark.parametrize("size", range(9))
def test_touch_touches_the_packet_alone(bench, size):
    b = bench("FromDevice(eth0) -> Strip(2040) -> Touch -> ToDevice(eth1);")
    made = plant(b)
    out = b.through(bytes(2040 + size))
    assert out == [b"\1".ljust(8, b"\0") if size == 8 else bytes(size)]
    assert sum(bytes(m[:8]) != (OTHERS * 2) for m in made) == 0


@pytest.mark.parametrize("size", range(10))
def test_a_classifier_compares_the_bytes_there_are(bench, size):
    b = bench(
        "FromDevice(eth0) -> Strip(2038) -> c :: Classifier(0/00 1/00 2/00 3/00 4/00 5/00 6/00 7/00 8/00, 0/0000, 0/00, -);"
        + "".join(f"c[{i}] -> k{i} :: Counter -> Discard;" for i in range(4))
    )
    plant(b)
    b.through(bytes(2038 + size))
    assert [int(b.state(f"k{i}")["count"]) for i in range(4)] == [size > 8, 1 < size < 9, size == 1, size == 0]


def test_encapsulation_keeps_the_guard_free(bench):
    encap = "EtherEncap(0x0800, 1:1:1:1:1:1, 2:2:2:2:2:2) -> "
    fits = (HEADROOM - GUARD) // 14
    b = bench("FromDevice(eth0) -> " + encap * (fits + 1) + "ToDevice(eth1);")
    assert b.through(udp()) == []
    assert b.dropped["no_headroom"] == 1
    b = bench("FromDevice(eth0) -> " + encap * fits + "ToDevice(eth1);")
    assert len(b.through(udp())) == 1
