# SPDX-License-Identifier: MIT
"""What comes by a cable is sorted as what is replayed: by VLAN, by MAC, runts, priorities and groups."""

from __future__ import annotations

import ctypes
import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from shm.intrinsics import load16, load64, store64
from shm.layout import RING, SLOT
from shm.ring import slot_at
from shm.wire_layout import CLAIM, CLAIMS
from tests.harness import Bench
from tests.workers.frames import udp
from workers.datapath.nic import arrive
from workers.datapath.packet import frame_address
from workers.datapath.wire_transaction import commit
from workers.wire.replay import Sorter

ONE, TWO = 0x020000000001, 0x020000000002
TARGETS = ("02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:77", "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01")
TAGS = (None, 0, 7, 9)
CLAIMED = ((ONE, -1), (TWO, -1), (None, -1), (ONE, 7), (TWO, 7), (None, 7))
PORTS = "".join(f"FromDevice(eth{i}) -> Discard; " for i in range(len(CLAIMED)))


def tagged(frame, tag):
    """Return a frame with a VLAN's tag, of the highest priority."""
    return frame if tag is None else frame[:12] + b"\x81\x00" + (0xE000 | tag).to_bytes(2, "big") + frame[12:]


def last_of(ring):
    """Return the frame that came last."""
    slot = slot_at(ring, load64(ring + RING["head"]) - 1)
    return ctypes.string_at(frame_address(slot, load64(ring + RING["pool"])), load16(slot + SLOT["length"]))


FRAMES = [
    tagged(udp(mac=mac), tag)[:size] for mac, tag, size in itertools.product(TARGETS, TAGS, (0, 5, 13, 14, 17, 18, 64))
]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(CLAIMED), max_size=6, unique=True))
def test_cables_and_replays_agree_on_who_gets_a_frame_and_how(claimed):
    with Bench(PORTS) as b:
        rings = [b.builder.routers["r"].rx[f"eth{i}"].address for i in range(len(claimed))]
        table = ctypes.create_string_buffer(CLAIM.size * 8)
        claims = ctypes.create_string_buffer(CLAIMS.size)
        first, at = ctypes.addressof(table), ctypes.addressof(claims)
        store64(at, first)
        store64(at + CLAIMS["count"], len(claimed))
        for i, (mac, vlan) in enumerate(claimed):
            store64(first + i * CLAIM.size, -1 if mac is None else mac)
            store64(first + i * CLAIM.size + CLAIM["vlan"], vlan)
            store64(first + i * CLAIM.size + CLAIM["ring"], rings[i])
        sorter = Sorter(claimed)
        for frame in FRAMES:
            memory = ctypes.create_string_buffer(frame, len(frame) + 64)
            before = [load64(ring + RING["head"]) for ring in rings]
            found = arrive(b.wire, at, ctypes.addressof(memory), len(frame), 1)
            commit(b.wire)
            got = {i: last_of(ring) for i, ring in enumerate(rings) if load64(ring + RING["head"]) != before[i]}
            takers, data = sorter.sort(frame)
            assert got == dict.fromkeys(takers, data) and found == len(takers), (frame.hex(), claimed)
            for ring in rings:
                store64(ring + RING["tail"], load64(ring + RING["next_head"]))
