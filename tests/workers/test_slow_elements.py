# SPDX-License-Identifier: MIT
"""What is done to packets in the interpreter, against Scapy: fragments, options, ICMP errors."""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, IP, UDP, IPOption, IPOption_RR
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from tests.workers.frames import HOST, IN, MAC, OUT, ip_of, udp
from workers.core.slow_path import run_slow


def test_fragments_reassemble_to_the_packet(bench):
    b = bench(IN + "IPFragmenter(576)" + OUT)
    frame = bytes(
        Ether(dst=MAC, src=HOST) / IP(src="1.1.1.1", dst="2.2.2.2", id=7) / UDP() / Raw(bytes(range(256)) * 5)
    )
    out = [ip_of(f) for f in b.through(frame)]
    assert all(len(f) <= 576 and f.id == 7 for f in out)
    payload = b"".join(bytes(f.payload)[: f.len - 20] for f in sorted(out, key=lambda f: f.frag))
    assert payload == bytes(Ether(frame)[IP].payload)
    assert [f.flags.MF for f in out] == [True] * (len(out) - 1) + [False]
    position = 0
    for f in out:
        assert f.frag * 8 == position
        position += f.len - 20
        fresh = f.copy()
        del fresh.chksum
        assert IP(bytes(fresh)).chksum == f.chksum


def test_dont_fragment_is_honoured(bench):
    b = bench(IN + "f :: IPFragmenter(576)" + OUT + " f[1] -> Discard;")
    assert b.through(udp(size=1400, flags="DF")) == []
    assert b.dropped == {"discard": 1}


def test_options_are_copied_to_later_fragments_only_with_the_flag(bench):
    security = IPOption(copy_flag=1, optclass=0, option=2, value=bytes(9))
    route = IPOption_RR(routers=["0.0.0.0"] * 2, pointer=4)
    b = bench(IN + "IPFragmenter(400)" + OUT)
    out = [ip_of(f) for f in b.through(udp(size=1200, options=[route, security]))]
    assert [[o.option for o in f.options if o.option] for f in out] == [[7, 2]] + [[2]] * (len(out) - 1)


def test_record_route_and_timestamp_are_filled_in(bench):
    b = bench(IN + "IPGWOptions(10.9.8.7)" + OUT)
    out = ip_of(b.through(udp(options=[IPOption_RR(routers=["0.0.0.0"] * 3, pointer=4)]))[0])
    assert out.options[0].routers[0] == "10.9.8.7"
    assert out.options[0].pointer == 8
    fresh = out.copy()
    del fresh.chksum
    assert IP(bytes(fresh)).chksum == out.chksum
    stamp = IPOption(copy_flag=0, optclass=2, option=4, value=bytes([5, 1] + [0] * 8))
    raw = bytes(ip_of(b.through(udp(options=[stamp]))[0]))
    assert raw[20:28] == bytes([68, 12, 13, 1, 10, 9, 8, 7])


def test_malformed_options_go_to_output_1_and_name_the_octet(bench):
    b = bench(IN + "o :: IPGWOptions(10.9.8.7)" + OUT + "o[1] -> ICMPError(10.9.8.7, parameterproblem)" + OUT)
    bad = IPOption(copy_flag=0, optclass=0, option=7, value=bytes([3, 0, 0, 0, 0]))
    out = Ether(b.through(udp(options=[bad]))[0])
    assert (out[ICMP].type, out[ICMP].code, out[ICMP].ptr) == (12, 0, 22)


def test_icmp_error_quotes_the_packet(bench):
    b = bench(IN + "d :: DecIPTTL" + OUT + "d[1] -> ICMPError(10.0.0.1, timeexceeded)" + OUT)
    frame = udp(src="198.18.0.5", ttl=1, size=800)
    out = Ether(b.through(frame)[0])[IP]
    assert (out.src, out.dst, out.proto, out.len) == ("10.0.0.1", "198.18.0.5", 1, 576)
    assert (out[ICMP].type, out[ICMP].code) == (11, 0)
    fresh = out.copy()
    del fresh.chksum, fresh[ICMP].chksum
    assert bytes(IP(bytes(fresh))) == bytes(out), "both checksums are right"
    assert bytes(out)[28:48] == frame[14:34]


@pytest.mark.parametrize(
    "frame",
    [
        lambda: udp(ttl=1, frag=5),
        lambda: udp(ttl=1, src="127.0.0.1"),
        lambda: udp(ttl=1, src="224.0.0.1"),
        lambda: udp(ttl=1, dst="224.0.0.5"),
        lambda: udp(ttl=1, mac="ff:ff:ff:ff:ff:ff"),
        lambda: bytes(
            Ether(dst=MAC, src=HOST) / IP(src="1.1.1.1", dst="2.2.2.2", ttl=1) / ICMP(type=11) / Raw(bytes(20))
        ),
    ],
    ids=["fragment", "loopback", "multicast source", "multicast", "link broadcast", "about an error"],
)
def test_no_icmp_error_about_these(bench, frame):
    b = bench(IN + "d :: DecIPTTL -> Discard; d[1] -> ICMPError(10.0.0.1, timeexceeded)" + OUT)
    assert b.through(frame()) == []
    assert b.dropped == {"icmp_not_due": 1}


def test_icmp_errors_go_round_to_the_lookup_and_get_their_source_there(bench):
    b = bench(
        IN + "rt :: StaticIPLookup(198.19.0.0/16 0, 198.18.0.0/16 1);"
        "rt[0] -> FixIPSrc(10.0.0.1) -> d :: DecIPTTL" + OUT + "d[1] -> ICMPError(10.0.0.1, timeexceeded) -> rt;"
        "rt[1] -> FixIPSrc(10.0.0.2)" + OUT.replace("ToDevice(eth1)", "ToDevice(eth2)")
    )
    b.send(udp(src="198.18.0.5", ttl=1))
    b.settle()
    out = [ip_of(f) for f in b.received("eth2")]
    assert [(f.src, f.dst, f[ICMP].type) for f in out] == [("10.0.0.2", "198.18.0.5", 11)]
    fresh = out[0].copy()
    del fresh.chksum
    assert IP(bytes(fresh)).chksum == out[0].chksum


def test_redirects_are_sent_for_painted_packets(bench):
    b = bench(
        "FromDevice(eth0) -> Paint(3) -> Strip(14) -> CheckIPHeader -> StaticIPLookup(0/0 10.0.0.254 0)"
        "-> p :: PaintTee(3)" + OUT + "p[1] -> ICMPError(10.0.0.1, redirect, host)" + OUT
    )
    out = [ip_of(f) for f in b.through(udp())]
    redirect = next(f for f in out if f.proto == 1)
    assert (redirect[ICMP].type, redirect[ICMP].code, redirect[ICMP].gw) == (5, 1, "10.0.0.254")
    assert len(out) == 2


def test_echo_requests_are_answered(bench):
    b = bench(IN + "p :: ICMPPingResponder" + OUT + "p[1] -> Discard;")
    asked = IP(src="10.2.0.9", dst="10.1.0.1", ttl=1) / ICMP(id=7, seq=3) / Raw(b"abc" * 5)
    out = ip_of(b.through(bytes(Ether(dst=MAC, src=HOST) / asked))[0])
    assert (out.src, out.dst, out.ttl) == ("10.1.0.1", "10.2.0.9", 64)
    assert (out[ICMP].type, out[ICMP].id, out[ICMP].seq, bytes(out[Raw])) == (0, 7, 3, b"abc" * 5)
    fresh = out.copy()
    del fresh.chksum, fresh[ICMP].chksum
    assert bytes(IP(bytes(fresh))) == bytes(out)


@pytest.mark.parametrize("kind", ["reply", "fragment", "wrong sum", "udp", "cut", "broadcast"])
def test_what_is_no_echo_request_to_a_host_goes_to_output_1(bench, kind):
    b = bench(IN + "p :: ICMPPingResponder" + OUT + "p[1] -> Discard;")
    packet = IP(src="10.2.0.9", dst="10.1.0.1") / ICMP() / Raw(b"abcd")
    if kind == "reply":
        packet[ICMP].type = 0
    elif kind == "fragment":
        packet.flags = "MF"
    elif kind == "wrong sum":
        packet[ICMP].chksum = 1
    elif kind == "udp":
        packet = IP(src="10.2.0.9", dst="10.1.0.1") / UDP() / Raw(b"abcd")
    elif kind == "cut":
        packet = IP(src="10.2.0.9", dst="10.1.0.1", proto=1) / Raw(b"\x08\x00\xf7\xff")
    ether = Ether(dst="ff:ff:ff:ff:ff:ff" if kind == "broadcast" else MAC, src=HOST)
    assert b.through(bytes(ether / packet)) == []
    assert b.dropped == {"discard": 1}


def test_an_element_that_several_paths_lead_to_is_asked_once_whether_it_needs_a_visit(bench):
    b = bench(
        "FromDevice(eth0) -> Strip(14) -> CheckIPHeader -> arp :: ARPQuerier(10.0.0.1, 2:0:0:0:0:1) -> ToDevice(eth1);"
        "FromDevice(eth1) -> Strip(14) -> CheckIPHeader -> arp; FromDevice(eth2) -> [1] arp;"
    )
    asked = []
    for slow in b.slow:
        slow._visits = [
            (element, lambda state, now, due=due: asked.append(due(state, now)), state)
            for element, due, state in slow._visits
        ]
    paths = sum(bool(slow._visits) for slow in b.slow)
    assert run_slow(b.slow, lambda: 0, 1) is False
    assert paths > 1 and len(asked) == 1
