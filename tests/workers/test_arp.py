# SPDX-License-Identifier: MIT
"""Address resolution where neighbours are many, dead or busy; frames by Scapy."""

from __future__ import annotations

import ctypes

import pytest
from scapy.layers.l2 import ARP, Ether

from shm.intrinsics import store64
from shm.layout import CORE
from shm.ring import length
from tests.workers.frames import HOST, MAC, arp, ip_of, udp
from vre.platform.handlers import HandlerError, Handlers
from workers.arguments import show_ip
from workers.datapath.neighbour_table import AT_ONCE, PROBES, SLOTS, first_place

SECOND = 1_000_000_000
DEAD, ALIVE = "10.0.0.7", "10.0.0.8"


def querier(bench, options=""):
    b = bench(
        "FromDevice(eth0) -> c :: Classifier(12/0800, 12/0806 20/0002);"
        f"c[0] -> Strip(14) -> CheckIPHeader -> q :: ARPQuerier(10.0.0.1, {MAC}{options}) -> ToDevice(eth1);"
        "c[1] -> [1] q;"
    )
    b.clock(SECOND)
    return b


def mac_of(address):
    return "02:00:" + ":".join(f"{int(part):02x}" for part in address.split("."))


def answer(address, **fields):
    return arp(2, address, "10.0.0.1", **({"hwsrc": mac_of(address), "hwdst": MAC, "mac": MAC} | fields))


def queries(frames):
    return [Ether(frame)[ARP].pdst for frame in frames if ARP in Ether(frame)]


def sent(frames):
    return [ip_of(frame).id for frame in frames if ARP not in Ether(frame)]


def flood(b, target, count, first=0):
    """Send packets, no more at once than the slow path takes; return all that comes out."""
    out = []
    for start in range(first, first + count, 16):
        out += b.through(*[udp(dst=target, id=i) for i in range(start, min(start + 16, first + count))])
    return out


def words(address, count):
    return list((ctypes.c_int64 * count).from_address(address))


def run(b):
    """Let the compiled path have a turn, and the slow path none."""
    store64(b.core + CORE["task"], b.tasks[0])
    b.functions[0](b.block, b.core, b.tasks[0], 64)
    store64(b.core + CORE["task"], 0)


def test_a_dead_neighbour_does_not_stop_resolution_and_its_latest_packets_are_kept(bench):
    b = querier(bench)
    assert queries(flood(b, DEAD, 200)) == [DEAD]
    assert queries(b.through(udp(dst=ALIVE, id=500))) == [ALIVE]
    assert sent(b.through(answer(ALIVE))) == [500]
    b.through(udp(dst=ALIVE, id=501))
    out = b.through(answer(DEAD))
    b.settle()
    assert sent(out + b.received()) == list(range(137, 200)), "in order, the latest 64 but for the one that made room"
    assert b.dropped == {"arp_queue_full": 137, "arp_consumed": 2}


def test_a_turn_full_of_packets_for_the_dead_leaves_the_slow_path_to_others(bench):
    b = querier(bench)
    b.through(udp(dst=DEAD))
    b.send(*[udp(dst=DEAD, id=i) for i in range(100)], udp(dst=ALIVE, id=500))
    b.turn(quantum=200)
    assert queries(b.through()) == [ALIVE]
    assert "slow_path_full" not in b.dropped


@pytest.mark.parametrize("more", [1, 3, 7, 20])
def test_packets_that_come_while_others_are_released_do_not_overtake_them(bench, more):
    """The released come back with the next turn, so the order is that of the turns' output."""
    b = querier(bench)
    flood(b, ALIVE, 60)
    b.send(answer(ALIVE))
    out, at = [], 60
    for _ in range(40):
        run(b)
        if b.slow[0].pending():
            b.slow[0].run()
        b.send(*[udp(dst=ALIVE, id=i) for i in range(at, at + more)])
        at += more
        out += b.received()
    b.settle()
    got = sent(out + b.received())
    assert got == sorted(got)
    assert len(got) + b.dropped["arp_queue_full"] == at
    b.settle()
    before = b.slow[0].pending()
    b.send(udp(dst=ALIVE, id=at))
    run(b)
    assert not before and sent(b.received()) == [at], "then they are sent at once again"
    b.assert_sound()


@pytest.mark.parametrize("capacity", [1, 3, 64, 100, 1000])
def test_all_that_is_kept_comes_out_in_order_a_bounded_part_at_a_time(bench, capacity):
    b = querier(bench, f", CAPACITY {capacity}")
    flood(b, ALIVE, capacity + 5)
    hold = int(b.state("q")["hold"])
    assert length(hold) == capacity
    b.send(answer(ALIVE))
    run(b)
    out, slow = [], b.slow[0]
    while slow.pending():
        before = length(hold)
        slow.run()
        assert before - length(hold) <= AT_ONCE
        run(b)
        out += b.received()
    assert sent(out) == list(range(5, capacity + 5))


def test_one_neighbour_may_have_a_limit_of_its_own(bench):
    b = querier(bench, ", ENTRY_PACKET_CAPACITY 3")
    flood(b, DEAD, 10)
    assert sent(b.through(answer(DEAD))) == [7, 8, 9]


def crowd(count):
    """Return addresses that all want the same places of the table, which are PROBES."""
    wanted = (address for address in range(0x0A010000, 0x0B000000) if first_place(address) == 77)
    return [show_ip(address) for address, _ in zip(wanted, range(count), strict=False)]


def test_more_addresses_than_the_table_holds_do_not_fill_it(bench):
    b = querier(bench)
    first, *others, last = crowd(3 * PROBES)
    b.through(udp(dst=first), answer(first))
    for address in others:
        b.through(udp(dst=address))
    assert int(b.state("q")["queries"]) == 3 * PROBES - 1
    assert sent(b.through(udp(dst=first, id=7))) == [7], "who has answered is not forgotten for those who have not"
    b.through(udp(dst=last, id=8))
    assert sent(b.through(answer(last))) == [8]
    assert b.dropped == {"arp_given_up": 2 * PROBES, "arp_consumed": 2}


def test_the_oldest_answers_go_when_a_table_is_full_of_them(bench):
    b = querier(bench)
    for i, address in enumerate(crowd(2 * PROBES)):
        b.clock(SECOND + i * 1000)
        b.through(udp(dst=address))
        b.through(answer(address))
    for address in crowd(2 * PROBES)[PROBES:]:
        assert sent(b.through(udp(dst=address, id=3))) == [3]
    assert b.dropped == {"arp_consumed": 2 * PROBES}


def test_an_address_that_has_expired_gives_its_place_back(bench):
    b = querier(bench, ", TIMEOUT 5")
    for i, address in enumerate(crowd(2 * PROBES)):
        b.clock(SECOND * (1 + i))
        b.through(udp(dst=address), answer(address))
    assert sum(bool(word) for word in words(int(b.state("q")["table"]), SLOTS * 4)[::4]) < PROBES


def test_a_known_neighbour_loses_nothing_while_it_is_asked_for_again(bench):
    b = querier(bench)
    b.through(udp(dst=ALIVE), answer(ALIVE))
    b.through(answer(ALIVE))
    asked = []
    for second in range(62, 70):
        b.clock(second * SECOND)
        b.send(*[udp(dst=ALIVE, id=i) for i in range(150)])
        b.turn(quantum=200)
        out = b.through()
        assert sent(out) == list(range(150)), "in order, though no slow path takes so many at once"
        asked.append(len(queries(out + b.through(*[udp(dst=ALIVE, id=i) for i in range(50)]))))
    assert asked == [1] * 8, "once a second"
    b.clock(70 * SECOND)
    b.through(answer(ALIVE))
    assert queries(b.through(udp(dst=ALIVE))) == []
    assert b.dropped == {"arp_consumed": 3}


def test_what_waits_for_a_neighbour_that_never_answers_is_given_up(bench):
    b = querier(bench, ", TIMEOUT 5")
    flood(b, DEAD, 20)
    b.clock(4 * SECOND)
    b.settle()
    assert b.dropped == {}
    b.clock(8 * SECOND)
    b.settle()
    assert b.dropped == {"arp_given_up": 20}


def test_a_clock_that_goes_back_makes_no_answer_good_for_longer(bench):
    b = querier(bench)
    b.clock(5000 * SECOND)
    b.through(udp(dst=ALIVE), answer(ALIVE))
    b.clock(10 * SECOND)
    b.settle()
    assert queries(b.through(udp(dst=ALIVE))) == []
    b.clock(75 * SECOND)
    out = b.through(udp(dst=ALIVE, id=7))
    assert (sent(out), queries(out + b.through(udp(dst=ALIVE)))) == ([7], [ALIVE])
    b.clock(400 * SECOND)
    assert sent(b.through(udp(dst=ALIVE))) == []


def test_an_answer_expires_and_zero_means_never(bench):
    b = querier(bench, ", TIMEOUT 0, POLL_TIMEOUT 0")
    b.through(udp(dst=ALIVE))
    assert sent(b.through(udp(dst=ALIVE, id=1))) == [], "who has not answered is not known, either"
    b.through(answer(ALIVE))
    b.clock(1 << 61)
    assert sent(b.through(udp(dst=ALIVE, id=2))) == [2]


@pytest.mark.parametrize(
    "fields",
    [{"hwtype": 6}, {"ptype": 0x86DD}, {"hwlen": 8}, {"plen": 16}, {"op": 1}, {"hwsrc": "01:00:5e:00:00:01"}],
    ids=lambda fields: next(iter(fields)),
)
def test_only_a_host_s_answer_over_ethernet_is_believed(bench, fields):
    b = querier(bench)
    b.through(udp(dst=ALIVE, id=1))
    wrong = ARP(**({"op": 2, "psrc": ALIVE, "pdst": "10.0.0.1", "hwsrc": HOST, "hwdst": MAC} | fields))
    assert sent(b.through(bytes(Ether(dst=MAC, src=HOST) / wrong), answer("10.0.0.99"))) == []
    assert sent(b.through(answer(ALIVE))) == [1]


@pytest.mark.parametrize(
    "fields",
    [{"hwtype": 6}, {"ptype": 0x86DD}, {"hwlen": 8}, {"plen": 16}, {"op": 2}, {"hwsrc": "01:00:5e:00:00:01"}],
    ids=lambda fields: next(iter(fields)),
)
def test_answers_go_to_the_sender_s_hardware_address(bench, fields):
    b = bench(f"FromDevice(eth0) -> ARPResponder(10.0.0.1 {MAC}) -> ToDevice(eth1);")
    host = "02:00:00:00:00:55"
    asked = {"op": 1, "psrc": "10.0.0.9", "pdst": "10.0.0.1", "hwsrc": host}
    (out,) = b.through(bytes(Ether(dst="ff:ff:ff:ff:ff:ff", src=HOST) / ARP(**asked)))
    assert (Ether(out).dst, Ether(out)[ARP].hwdst, Ether(out)[ARP].op) == (host, host, 2)
    assert b.through(bytes(Ether(dst="ff:ff:ff:ff:ff:ff", src=HOST) / ARP(**(asked | fields)))) == []


def test_handlers(bench):
    b = querier(bench)
    handlers = Handlers(b.model, b.builder)
    handlers.write("r", "q.insert", f"{ALIVE} {HOST}")
    b.settle()
    assert sent(b.through(udp(dst=ALIVE, id=1))) == [1]
    flood(b, DEAD, 20)
    b.clock(2 * SECOND)
    b.settle()
    assert handlers.read("r", "q.table").splitlines() == [
        f"{DEAD} 0 00:00:00:00:00:00 0.000000",
        f"{ALIVE} 1 {HOST} 1.000000",
    ]
    assert [handlers.read("r", f"q.{name}") for name in ("count", "length", "queries", "drops")] == [
        "2",
        "20",
        "1",
        "0",
    ]
    handlers.write("r", "q.delete", ALIVE)
    handlers.write("r", "q.delete", DEAD)
    b.settle()
    assert [handlers.read("r", f"q.{name}") for name in ("count", "length", "drops")] == ["0", "0", "20"]
    assert queries(b.through(udp(dst=ALIVE), udp(dst=DEAD))) == [ALIVE, DEAD]
    handlers.write("r", "q.clear", "")
    b.settle()
    assert [handlers.read("r", f"q.{name}") for name in ("table", "length")] == ["", "0"]
    for wrong in ("10.0.0.1", "10.0.0.1 x", f"0.0.0.0 {HOST}", f"{ALIVE} 01:00:00:00:00:00"):
        with pytest.raises(HandlerError):
            handlers.write("r", "q.insert", wrong)
    for _ in range(64):
        handlers.write("r", "q.clear", "")
    with pytest.raises(HandlerError, match="wait to be made"):
        handlers.write("r", "q.clear", "")
