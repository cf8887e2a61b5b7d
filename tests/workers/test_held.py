# SPDX-License-Identifier: MIT
"""Packets that wait in one ring, by queue: against lists, and with a worker killed anywhere."""

from __future__ import annotations

import ctypes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shm.ring import publish, release
from tests.harness import Bench
from tests.workers.frames import HOST, MAC, arp, udp
from tests.workers.test_recovery import run_and_kill
from workers.core.recovery import recover
from workers.datapath.held import QUEUE, Held, links_bytes
from workers.element import SlowPacket

CONFIG = f"""
FromDevice(eth0) -> c :: Classifier(12/0800, 12/0806 20/0002);
c[0] -> Strip(14) -> CheckIPHeader -> q :: ARPQuerier(10.0.0.1, {MAC}, CAPACITY 5) -> ToDevice(eth1);
c[1] -> [1] q;
"""
operations = st.lists(
    st.tuples(st.sampled_from(["append", "take", "replace", "again"]), st.integers(0, 2)), max_size=60
)


@pytest.fixture(scope="module")
def ring():
    with Bench(CONFIG) as bench:
        yield int(bench.state("q")["hold"])


@settings(max_examples=40, deadline=None)
@given(operations)
def test_queues_in_a_ring_are_lists(ring, done):
    links = ctypes.create_string_buffer(links_bytes(5))
    memory = ctypes.create_string_buffer(3 * QUEUE.size)
    queues = [ctypes.addressof(memory) + i * QUEUE.size for i in range(3)]
    held, lists = Held(ring, ctypes.addressof(links)), [[], [], []]
    for number, (what, i) in enumerate(done):
        packet = SlowPacket(bytearray(number.to_bytes(2, "big") * (9 if number % 2 else 200)), dst=i + 1)
        total = sum(map(len, lists))
        if what == "append":
            assert held.append(queues[i], packet) == (total < 5)
            lists[i] += [bytes(packet.data)] * (total < 5)
        elif what == "take" and lists[i]:
            assert bytes(held.take(queues[i]).data) == lists[i].pop(0)
        elif what == "replace" and total:
            victim = max(range(3), key=lambda n: len(lists[n]))
            held.replace(queues[victim], queues[i], packet)
            lists[victim].pop(0)
            lists[i].append(bytes(packet.data))
        else:
            held.end()
            assert held.links_fit()
        assert len(held) == sum(map(len, lists))
        assert sorted(held.queue_at(n) for n in range(len(held))) == sorted(
            queue for queue, packets in zip(queues, lists, strict=True) for _ in packets
        )
    for queue, packets in zip(queues, lists, strict=True):
        assert [bytes(held.take(queue).data) for _ in packets] == packets
    publish(ring)
    release(ring)


def test_a_kill_at_any_line_loses_only_the_packets_in_hand():
    """Whatever is left waiting is sent when its neighbour answers, and each packet is accounted for."""
    macs = {f"10.0.0.{i}": f"02:00:00:00:01:{i:02}" for i in range(7, 10)}
    line, kills = 1, 0
    while True:
        with Bench(CONFIG) as b:
            b.clock(1_000_000_000)
            # The answers are not taken before the others wait: there is one packet in a slow turn.
            b.send(*[udp(dst=to, id=i) for i, to in enumerate([*macs, *macs, "10.0.0.7"])])
            b.turn()
            b.received()
            b.send(udp(dst="10.0.0.9", id=9), arp(2, "10.0.0.7", "10.0.0.1", hwsrc=macs["10.0.0.7"], hwdst=MAC))
            if not run_and_kill(b, line):
                break
            kills += 1
            recover(b.core, b.inputs, b.outputs)
            b.assert_sound()
            answers = [arp(2, to, "10.0.0.1", hwsrc=mac, hwdst=MAC) for to, mac in macs.items()]
            b.send(*answers, *answers)
            b.settle()
            b.received()
            b.assert_sound()
            assert int(b.state("q")["hold"]) and b.reader.routers()[0].in_flight == 0
        line += 41
    assert kills > 30
    assert HOST
