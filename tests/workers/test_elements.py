# SPDX-License-Identifier: MIT
"""What elements do to packets, against Scapy. Paths run as plain Python; test_compiled.py holds them equal."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

from shm.ring import length
from tests.workers.frames import HOST, IN, MAC, OUT, arp, ip_of, udp
from workers.datapath.slow_packet import read_packet


def test_ttl_is_decremented_with_a_right_checksum(bench):
    b = bench(IN + "DecIPTTL" + OUT)
    sent = [udp(ttl=t, id=t * 257) for t in (2, 64, 255)]
    out = b.through(*sent, udp(ttl=1), udp(ttl=0))
    assert [ip_of(f).ttl for f in out] == [1, 63, 254]
    for frame in out:
        fresh = ip_of(frame).copy()
        del fresh.chksum
        assert IP(bytes(fresh)).chksum == ip_of(frame).chksum
    assert b.dropped["ttl_expired"] == 2


@pytest.mark.parametrize("source", ["02:00:00:00:00:01", "fe:dc:ba:98:76:54", "00:80:00:00:00:ff"])
@pytest.mark.parametrize("ethertype", [0x0800, 0xFFFF])
def test_any_ethernet_header_can_be_prepended(bench, source, ethertype):
    b = bench(f"{IN}EtherEncap({ethertype:#x}, {source}, ff:81:00:c0:de:f0) -> ToDevice(eth1);")
    (frame,) = (Ether(bytes(f)) for f in b.through(udp()))
    assert (frame.dst, frame.src, frame.type) == ("ff:81:00:c0:de:f0", source, ethertype)


@pytest.mark.parametrize("checksum", [0xFFFE, 0xFFFF, 0x0000, 0x0001])
def test_incremental_checksums_at_the_edges_of_ones_complement(bench, checksum):
    # Find an identification that gives the checksum wanted: RFC 1624's corner cases.
    packet = IP(src="10.0.0.1", dst="10.0.0.2", ttl=9) / UDP()
    frame = None
    for number in range(65536):
        packet.id = number
        if number % 8192 == 0:
            base = IP(bytes(packet))
        # One's complement: the checksum goes down as the identification goes up.
        guess = (base.chksum - (number - base.id) + 2 * 65535) % 65535
        if guess == checksum % 65535:
            frame = bytes(Ether(dst=MAC, src=HOST) / packet)
            break
    assert frame
    out = bench(IN + "DecIPTTL" + OUT).through(frame)
    fresh = ip_of(out[0]).copy()
    del fresh.chksum
    assert ip_of(out[0]).chksum == IP(bytes(fresh)).chksum


@pytest.mark.parametrize(
    ("reason", "frame"),
    [
        ("not_ip", lambda: udp()[:30]),
        ("ip_version", lambda: udp(version=6)),
        ("ip_header_length", lambda: udp(ihl=4)),
        ("ip_header_length", lambda: udp(ihl=15)),
        ("ip_length", lambda: udp(len=19)),
        ("ip_length", lambda: udp(len=1000)),
        ("ip_checksum", lambda: udp(chksum=0x1234)),
        ("ip_source", lambda: udp(src="255.255.255.255")),
        ("ip_source", lambda: udp(src="0.0.0.0")),
        ("ip_source", lambda: udp(src="10.1.0.255")),
    ],
)
def test_bad_headers_are_dropped_by_name(bench, reason, frame):
    b = bench("FromDevice(eth0) -> Strip(14) -> CheckIPHeader(INTERFACES 10.1.0.1/24) -> Null" + OUT)
    assert b.through(frame()) == []
    assert b.dropped == {reason: 1}


def test_bad_headers_take_output_1_where_it_is_connected(bench):
    b = bench("FromDevice(eth0) -> Strip(14) -> c :: CheckIPHeader -> Discard; c[1] -> Unstrip(14) -> ToDevice(eth1);")
    frame = udp(chksum=1)
    assert b.through(frame, udp()) == [frame]
    assert b.dropped == {"discard": 1}


def test_link_padding_is_cut_off(bench):
    out = bench(IN + "Null" + OUT).through(udp(size=0) + bytes(18))
    assert len(out[0]) == 14 + ip_of(out[0]).len == 42


def test_routes_longest_prefix_first_and_gateway_becomes_the_destination(bench):
    b = bench(
        IN + "rt :: StaticIPLookup(10.0.0.0/8 0, 10.1.0.0/16 1, 10.1.2.3/32 192.168.0.1 2);"
        "rt[0] -> a :: Counter -> Discard; rt[1] -> b :: Counter -> Discard; rt[2] -> c :: Counter -> Discard;"
    )
    b.through(udp(dst="10.9.0.1"), udp(dst="10.1.9.9"), udp(dst="10.1.2.3"), udp(dst="11.0.0.1"))
    assert [int(b.state(n)["count"]) for n in "abc"] == [1, 1, 1]
    assert b.dropped == {"no_route": 1, "discard": 3}


def test_classifier_takes_the_first_match(bench):
    b = bench(
        "FromDevice(eth0) -> c :: Classifier(12/0806 20/0001, 12/0806 20/0002, 12/0800 30/c613%ffff, !12/0800, -);"
        + "".join(f"c[{i}] -> k{i} :: Counter -> Discard;" for i in range(5))
    )
    other = bytes(Ether(dst=MAC, src=HOST, type=0x86DD) / Raw(bytes(50)))
    b.through(arp(1, "1.1.1.1", "2.2.2.2"), arp(2, "1.1.1.1", "2.2.2.2"), udp(), udp(dst="9.9.9.9"), other, bytes(13))
    assert [int(b.state(f"k{i}")["count"]) for i in range(5)] == [1, 1, 1, 2, 1]


def test_arp_responder_answers_like_rfc_826(bench):
    b = bench(f"FromDevice(eth0) -> ARPResponder(10.0.0.1 10.0.1.0/24 {MAC}) -> ToDevice(eth1);")
    out = b.through(arp(1, "10.0.0.9", "10.0.0.1"), arp(1, "10.0.0.9", "10.0.1.77"), arp(1, "10.0.0.9", "10.0.2.1"))
    assert len(out) == 2
    for frame, address in zip(out, ("10.0.0.1", "10.0.1.77"), strict=True):
        answer = Ether(frame)
        assert (answer.dst, answer.src, answer[ARP].op) == (HOST, MAC, 2)
        assert (answer[ARP].psrc, answer[ARP].hwsrc, answer[ARP].pdst, answer[ARP].hwdst) == (
            address,
            MAC,
            "10.0.0.9",
            HOST,
        )
    assert b.dropped == {"arp_not_ours": 1}


ARP_CONFIG = f"""
FromDevice(eth0) -> c :: Classifier(12/0800, 12/0806 20/0002);
c[0] -> Strip(14) -> CheckIPHeader -> q :: ARPQuerier(10.0.0.1, {MAC}, CAPACITY 4) -> ToDevice(eth1);
c[1] -> [1] q;
"""


def test_arp_querier_asks_holds_and_sends_on(bench):
    b = bench(ARP_CONFIG)
    b.clock(1_000_000_000)
    out = b.through(udp(dst="10.0.0.7", id=1), udp(dst="10.0.0.7", id=2), udp(dst="10.0.0.8", id=3))
    assert [Ether(f)[ARP].pdst for f in out] == ["10.0.0.7", "10.0.0.8"], "one query for each address"
    assert all(Ether(f).dst == "ff:ff:ff:ff:ff:ff" and Ether(f)[ARP].op == 1 for f in out)
    mac = "02:00:00:00:00:77"
    out = b.through(arp(2, "10.0.0.7", "10.0.0.1", hwsrc=mac, hwdst=MAC, mac=MAC))
    assert [(Ether(f).dst, ip_of(f).id) for f in out] == [(mac, 1), (mac, 2)]
    # Known now: the fast path, and the one still waiting has kept its place.
    out = b.through(udp(dst="10.0.0.7", id=4))
    assert [(Ether(f).dst, Ether(f).src, ip_of(f).id) for f in out] == [(mac, MAC, 4)]
    out = b.through(arp(2, "10.0.0.8", "10.0.0.1", hwsrc=mac, hwdst=MAC, mac=MAC))
    assert [ip_of(f).id for f in out] == [3]


def test_arp_querier_bounds_what_waits_and_maps_groups(bench):
    b = bench(ARP_CONFIG)
    b.clock(1_000_000_000)
    out = b.through(*[udp(dst="10.0.0.7", id=i) for i in range(6)], udp(dst="224.1.2.3"), udp(dst="0.0.0.0"))
    assert b.dropped == {"arp_queue_full": 2, "no_destination": 1}
    assert "01:00:5e:01:02:03" in [Ether(f).dst for f in out]
    b.through(arp(2, "10.0.0.7", "10.0.0.1", hwsrc="02:00:00:00:00:77"))


def test_arp_querier_asks_at_most_once_a_second_and_forgets(bench):
    b = bench(ARP_CONFIG)
    b.clock(1_000_000_000)
    assert len(b.through(udp(dst="10.0.0.7"))) == 1
    b.clock(1_500_000_000)
    assert b.through(udp(dst="10.0.0.7")) == []
    b.clock(2_500_000_000)
    assert len(b.through(udp(dst="10.0.0.7"))) == 1
    b.through(arp(2, "10.0.0.7", "10.0.0.1", hwsrc="02:00:00:00:00:77"))
    # After POLL_TIMEOUT it is asked for again while in use; after TIMEOUT it is not used.
    b.clock(70_000_000_000)
    kinds = [ARP in Ether(f) for f in b.through(udp(dst="10.0.0.7"))]
    assert sorted(kinds) == [False, True]
    b.clock(400_000_000_000)
    assert [ARP in Ether(f) for f in b.through(udp(dst="10.0.0.7"))] == [True]
    b.through(arp(2, "10.0.0.7", "10.0.0.1", hwsrc="02:00:00:00:00:77"))


def test_tee_copies_to_all_outputs_and_the_copies_are_independent(bench):
    b = bench(IN + "t :: Tee(3); t[0] -> Discard; t[1] -> DecIPTTL" + OUT + "t[2]" + OUT)
    out = b.through(udp(ttl=9, size=900))
    assert sorted(ip_of(f).ttl for f in out) == [8, 9]


def test_queue_drops_what_it_cannot_hold_and_keeps_order(bench):
    b = bench(IN + "q :: Queue(5) -> Unqueue -> Null" + OUT)
    b.send(*[udp(id=i) for i in range(9)])
    b.functions[0](b.block, b.core, b.tasks[0], 64)
    assert int(b.state("q")["highwater"]) == 5
    b.settle()
    assert [ip_of(f).id for f in b.received()] == [0, 1, 2, 3, 4]
    assert b.dropped == {"queue_full": 4}


def test_packets_pass_a_queue_by_again_after_their_port_was_full(bench):
    b = bench("FromDevice(eth0) -> q :: Queue(1000) -> ToDevice(eth1);")
    queue = int(b.state("q")["ring"])
    burst = [udp(id=i) for i in range(64)]
    while length(queue) < len(burst):
        b.send(*burst)
        b.turn(len(burst))
    for _ in range(3):
        # As many arrive as ever: the queue must be emptied faster than it fills.
        assert b.received()
        b.send(*burst)
        b.turn(len(burst))
    assert length(queue) == 0
    assert [ip_of(f).id for f in b.received()[-64:]] == list(range(64))


def test_annotations_survive_a_queue(bench):
    b = bench(
        "FromDevice(eth0) -> Paint(5) -> Strip(14) -> CheckIPHeader -> Queue -> Unqueue"
        "-> CheckPaint(5) -> DropBroadcasts -> DecIPTTL -> StaticIPLookup(198.19.0.0/16 0)" + OUT
    )
    assert len(b.through(udp(), udp(mac="ff:ff:ff:ff:ff:ff"))) == 1
    assert b.dropped == {"link_broadcast": 1}


def test_switch_mirror_rewrite_and_counters(bench):
    b = bench(
        "FromDevice(eth0) -> k :: Counter -> s :: Switch(1); s[0] -> Discard;"
        "s[1] -> EtherMirror -> ToDevice(eth1); s[2] -> EtherRewrite(1:1:1:1:1:1, 2:2:2:2:2:2) -> ToDevice(eth1);"
    )
    out = Ether(b.through(udp(size=100))[0])
    assert (out.src, out.dst) == (MAC, HOST)
    b.state("s")["output"] = 2
    out = Ether(b.through(udp())[0])
    assert (out.src, out.dst) == ("01:01:01:01:01:01", "02:02:02:02:02:02")
    b.state("s")["output"] = -1
    assert b.through(udp()) == []
    assert (int(b.state("k")["count"]), int(b.state("k")["byte_count"])) == (3, 220)


def test_sources_make_packets_up_to_their_limit(bench):
    b = bench(
        "InfiniteSource(\\<00 11 22>, LIMIT 5) -> ToDevice(eth1); RatedSource(RATE 10, LIMIT 3) -> ToDevice(eth1);"
    )
    b.turn()
    assert b.received() == [b"\x00\x11\x22"] * 5 + [bytes(range(64))]
    b.clock(100_000_000)
    b.turn()
    b.turn()
    assert len(b.received()) == 1, "ten a second, by the core's clock"


@pytest.mark.parametrize("rate", [3e6, 7e8, 1e-3])
def test_a_rated_source_has_its_rate_to_a_hundred_thousandth(bench, rate):
    b = bench(f"RatedSource(RATE {rate:.3f}) -> c :: Counter -> Discard;")
    start = 10 * 365 * 86400 * 10**9
    b.clock(start)
    b.turn()
    for step in range(1, 500):
        b.clock(start + step * 1000)
        b.turn(2000)
    assert int(b.state("c")["count"]) == pytest.approx(1 + 499e-6 * rate, abs=2)


def test_a_rated_source_goes_on_when_its_clock_goes_back(bench):
    b = bench("RatedSource(RATE 1000) -> c :: Counter -> Discard;")
    for now in (3600 * 10**9, 10**9, 10**9 + 999_999, 10**9 + 1_000_000):
        b.clock(now)
        b.turn()
    assert int(b.state("c")["count"]) == 3


def test_print_shows_packets_as_click_does(bench, capfd):
    b = bench("FromDevice(eth0) -> Print(seen, 6) -> ToDevice(eth1);")
    frame = udp()
    assert b.through(frame) == [frame]
    assert capfd.readouterr().err == "seen:   60 | 02000000 0001\n"


def test_a_packet_knows_the_vlan_it_came_in_by(bench):
    b = bench("FromDevice(eth0) -> q :: Queue -> Unqueue -> Discard;", vlan=300)
    b.send(udp())
    b.functions[0](b.block, b.core, b.tasks[0], 1)
    packet, _ = read_packet(int(b.state("q")["ring"]), 0)
    assert packet.vlan == 300


def test_a_vlan_port_inserts_its_tag(bench):
    b = bench("FromDevice(eth0) -> ToDevice(eth1);", vlan=300)
    out = Ether(b.through(udp())[0])
    assert (out.type, out.vlan, out[UDP].dport) == (0x8100, 300, 9)


def test_a_cycle_of_compiled_elements_goes_round_by_turns(bench):
    b = bench(
        "FromDevice(eth0) -> a :: Counter -> c :: CheckPaint(2) -> ToDevice(eth1);"
        "c[1] -> p :: CheckPaint(1) -> Paint(2) -> a; p[1] -> Paint(1) -> a;"
    )
    frame = udp()
    assert b.through(frame) == [frame]
    assert int(b.state("a")["count"]) == 3


def test_a_memory_hog_touches_its_area_and_passes_packets_on(bench):
    import ctypes

    b = bench("FromDevice(eth0) -> MemoryHog(1) -> ToDevice(eth1);")
    b.send(*[udp()] * 50)
    b.turn()
    assert len(b.received("eth1")) == 50
    area = b.builder.routers["r"].program.elements[1]["areas"]["area"]
    words = (ctypes.c_int64 * (1 << 17)).from_address(area)
    touched = [i for i, word in enumerate(words) if word]
    assert sum(words) == 50 * 16 and len(touched) > 700 and {i % 8 for i in touched} == {0}


def test_strip_and_unstrip(bench):
    b = bench("FromDevice(eth0) -> Strip(40) -> Unstrip(40) -> ToDevice(eth1);")
    frame = udp(size=200)
    assert b.through(frame, bytes(20)) == [frame]
    assert b.dropped == {"too_short": 1}
