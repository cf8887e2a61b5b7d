# SPDX-License-Identifier: MIT
"""A wire killed anywhere in a round: cut off at each line of the loop's twin in turn, and its round done again.

What sources, cable, link, capture and accounts have come to is compared with a round that was not cut off.
"""

from __future__ import annotations

import ctypes

import pytest

from shm.impairment_layout import IMPAIRMENT, LINK_STATE
from shm.intrinsics import load16, load64, store64
from shm.layout import COMMITTING, RING, SLOT
from shm.ring import publish, room, slot_at
from shm.wire_layout import CAPTURE, LINK, SOURCE, TALLY, WIRE
from tests.harness import Bench
from tests.workers.cut_off import cut_off
from tests.workers.frames import udp
from tests.workers.impaired import impairment
from vre.config.model import Cable, Capture, Generator
from vre.memory.address_space import view
from workers.datapath.nic import deliver
from workers.datapath.packet import frame_address
from workers.wire.accounts import stamp
from workers.wire.loop import run_round
from workers.wire.recovery import recover_wire

CONFIG = "FromDevice(eth0) -> ToDevice(eth1); FromDevice(eth2) -> ToDevice(eth3);"
BESIDE = "FromDevice(eth2) -> ToDevice(eth3);"
LINKS = {"eth0": (Generator(rate=1e6),), "eth1": (Cable("eth2"),), "eth3": (Capture("never written"),)}
#: An epoch, and the rounds in it, in ns.
EPOCH, ROUNDS = 128_000, (32_000, 64_000, 96_000)
MINE, ALL, NOBODY = "02:00:00:00:00:03", "ff:ff:ff:ff:ff:ff", "02:00:00:00:99:99"
#: What is sent by cable each time, and what to the capture, each by one of two routers.
BY_CABLE = [(router, udp(mac=mac)) for router, mac in ((0, MINE), (0, ALL), (1, ALL), (1, NOBODY), (0, ALL))]
CAPTURED = [(router, udp(size=size)) for router, size in ((1, 60), (1, 700), (0, 1514), (1, 60))]
IMPAIRED = {
    nic: {way: impairment(delay="10us", duplicate=1.0, limit=300)}
    for nic, way in (("eth0", "in"), ("eth1", "out"), ("eth3", "out"))
}
SLOW = [pytest.mark.slow, pytest.mark.timeout(300)]
COUNTED = ("packets", "bytes", "latency_count", "latency_sum", "unclaimed")


class World:
    """A wire with every kind of link, whose other end is this test. Each epoch does the same as the one before."""

    def __init__(self, bench):
        self.bench, self.wire, self.links = bench, bench.wire, bench.links
        self.time = 0
        store64(self.wire + WIRE["gate"], 1)
        store64(self.wire + WIRE["virtual"], 1)
        self.capture = self.links.captures["eth3"][0]
        store64(self.capture + CAPTURE["size"], 1 << 12)  # a small one has no room for some
        rings = {name: memory.rx for name, memory in bench.builder.routers.items()}
        self.rx = {(name, port): plan.address for name, rx in rings.items() for port, plan in rx.items()}
        self.tx = {port: memory.tx[0].address for port, memory in bench.builder.ports.items()}
        self.tallies = {
            (name, nic): at for name, memory in bench.builder.routers.items() for nic, at in memory.tallies.items()
        }

    def put(self, port, *frames):
        """Send frames, each of a router, as a core does."""
        ring = self.tx[port]
        for i, (router, frame) in enumerate(frames):
            keep = ctypes.create_string_buffer(frame, len(frame) + 64)
            if room(ring, 1):
                made_here = i == 2
                deliver(
                    ring, ctypes.addressof(keep), len(frame), 0 if made_here else stamp(self.time - 5000 * i), router
                )
        publish(ring)

    def epoch(self, line=0):
        """Let all rounds of an epoch pass, the second cut off at a line; return whether it was."""
        killed, before = False, self.time
        for at in ROUNDS:
            self.put("eth1", *BY_CABLE)
            self.put("eth3", *CAPTURED)
            store64(self.wire + WIRE["last_ns"], before)
            if line and at == ROUNDS[1]:
                killed = cut_off(lambda at=at: run_round(self.wire, self.time + at), line)
                self.recover()
            run_round(self.wire, self.time + at)
            before = self.time + at
        self.time += EPOCH
        return killed

    def recover(self):
        """Recover, cut off at first; all that is to hold between two transactions holds."""
        if load64(self.wire + WIRE["stage"]) == COMMITTING or load64(self.wire + WIRE["undo_count"]):
            cut_off(lambda: recover_wire(self.wire), 9)
        recover_wire(self.wire)
        for ring in (*self.rx.values(), *self.tx.values()):
            assert load64(ring + RING["head"]) == load64(ring + RING["next_head"])
            assert load64(ring + RING["tail"]) == load64(ring + RING["next_tail"])
        for at in self.tallies.values():
            account = view(at, TALLY.dtype)[0]
            assert account["buckets"].sum() == account["latency_count"] <= account["packets"]
        for plan in self.links.sources:
            sent, placed, full = (load64(plan.address + SOURCE[name]) for name in ("sent", "placed", "next"))
            missed = load64(load64(plan.address + SOURCE["full"]))
            delayed = load64(plan.address + SOURCE["impairment"])
            assert delayed or sent == placed + missed
            assert full == sent % load64(plan.address + SOURCE["count"])

    def came_to(self):
        """Return what there is now, and take it all: counts as they stand, frames, blocks of the capture."""
        counts = {(*key, name): load64(at + TALLY[name]) for key, at in self.tallies.items() for name in COUNTED}
        for key, at in self.tallies.items():
            account = view(at, TALLY.dtype)[0]
            counts |= {(*key, i): int(account["buckets"][i]) for i in account["buckets"].nonzero()[0]}
        for plan in self.links.sources:
            counts |= {name: load64(plan.address + SOURCE[name]) for name in ("sent", "placed", "bytes")}
        counts |= {(*key, "full"): load64(ring + RING["full"]) for key, ring in self.rx.items()}
        counts |= {name: load64(self.capture + CAPTURE[name]) for name in ("frames", "lost")}
        for nic, way in self.links.impaired.lines:
            address = self.links.impaired.records[nic, way]
            state = view(load64(address + IMPAIRMENT["state"]), LINK_STATE.dtype)[0]
            counts |= {(nic, name): int(state[name]) for name in ("order", "frames", "bytes", "arrived", "unclaimed")}
        counts["free"] = load64(self.links.speeds["eth3"] + LINK["free"])
        return counts, {key: self.frames(ring) for key, ring in self.rx.items()}, self.blocks()

    def frames(self, ring):
        """Take what is in an RX ring."""
        head, pool, found = load64(ring + RING["head"]), load64(ring + RING["pool"]), []
        for index in range(load64(ring + RING["tail"]), head):
            slot = slot_at(ring, index)
            found.append(ctypes.string_at(frame_address(slot, pool), load16(slot + SLOT["length"])))
        for name in ("tail", "next_tail"):
            store64(ring + RING[name], head)
        return found

    def blocks(self):
        """Take what is in the capture's ring; return whose lengths they are."""
        filled, emptied = (load64(self.capture + CAPTURE[name]) for name in ("filled", "emptied"))
        at, lengths = emptied & 0xFFFFFFFF, []
        buffer, mask = load64(self.capture + CAPTURE["buffer"]), (1 << 12) - 1
        while at != filled & 0xFFFFFFFF:
            size, length = (ctypes.c_uint32.from_address(buffer + (at + i & mask)).value for i in (4, 20))
            lengths.append(length)
            at += size
        assert len(lengths) == (filled >> 32) - (emptied >> 32)
        store64(self.capture + CAPTURE["emptied"], filled)
        return lengths


@pytest.mark.parametrize(
    ("more", "step"),
    [
        ({}, 53),
        ({"queues": {"eth2": "single"}}, 97),
        ({"impaired": IMPAIRED}, 1999),
        pytest.param({}, 5, marks=SLOW),
        pytest.param({"impaired": IMPAIRED}, 97, marks=SLOW),
    ],
    ids=["plain", "single", "impaired", "plain-all", "impaired-all"],
)
def test_a_kill_at_any_line_of_a_round_changes_nothing(monkeypatch, more, step):
    monkeypatch.setattr("vre.memory.impairments._LEAST", 1)  # a short delay line is mended fast
    with Bench(CONFIG, slots=8, beside=BESIDE, links=LINKS, speeds={"eth3": 1e9}, **more) as bench:
        world, last, line = World(bench), {}, 1

        def difference():
            nonlocal last
            counts, *content = world.came_to()
            more = {name: count - last.get(name, 0) for name, count in counts.items() if count != last.get(name, 0)}
            last = counts
            return more, content

        for _ in range(4):  # frames wait on a link from one to the next
            world.epoch()
            usual = difference()
        world.epoch()
        assert difference() == usual
        more, (frames, lengths) = usual
        assert more["frames"] == len(lengths) and any(frames.values())
        unclaimed = {("eth1", "unclaimed"), ("beside", "eth1", "unclaimed")} & set(more)
        assert {"lost", "sent", "free"} <= set(more) and len(unclaimed) == 1
        assert any(name[-1] == "full" for name in more if isinstance(name, tuple))
        while world.epoch(line):
            assert difference() == usual, line
            line += step
        assert line > 2000


def test_a_frame_for_more_routers_than_the_log_has_room_for_waits(monkeypatch):
    """A transaction ends before its log is full; what is left is sent by the next."""
    with Bench(CONFIG, slots=8, beside=BESIDE, links=LINKS, speeds={"eth3": 1e9}) as bench:
        monkeypatch.setattr("workers.datapath.wire_transaction.UNDO_LIMIT", 3)
        world = World(bench)
        world.put("eth1", *((i % 2, udp(mac=NOBODY)) for i in range(6)))
        counts, rounds = {}, 0
        while load64(world.tx["eth1"] + RING["tail"]) < 6:
            run_round(world.wire, 32_000)
            world.recover()
            rounds += 1
        counts, _, _ = world.came_to()
        assert rounds > 2 and counts["r", "eth1", "unclaimed"] == counts["beside", "eth1", "unclaimed"] == 3
