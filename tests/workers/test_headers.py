# SPDX-License-Identifier: MIT
"""Headers that lie: an element looks no further than its packet goes, and says why it drops it."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP
from scapy.layers.l2 import Ether

from tests.workers.frames import HOST, IN, MAC, OUT, ip_of, udp

MARKED = "FromDevice(eth0) -> Strip(14) -> MarkIPHeader -> "


def with_first(frame, value):
    """Return a frame whose IP header begins with another byte."""
    return frame[:14] + bytes([value]) + frame[15:]


def test_options_that_end_behind_the_packet_are_no_options(bench):
    b = bench(MARKED + "IPGWOptions(10.0.0.1)" + OUT)
    frame = bytes(Ether(dst=MAC, src=HOST)) + bytes([0x4F]) + bytes(19) + bytes([1] * 4)
    assert len(frame) == 38
    assert b.through(frame) == []
    assert b.dropped == {"no_ip_header": 1}


@pytest.mark.parametrize("first", [0x40, 0x41, 0x44, 0x00])
def test_a_header_of_no_length_is_not_fragmented(bench, first):
    b = bench(MARKED + "IPFragmenter(100)" + OUT)
    assert b.through(with_first(udp(size=400), first)) == []
    assert b.dropped == {"no_ip_header": 1}


@pytest.mark.parametrize("fields", [{"len": 2000}, {"len": 0xFFFF}, {"frag": 8191}])
def test_lengths_that_lie_are_not_fragmented(bench, fields):
    b = bench(MARKED + "IPFragmenter(100)" + OUT)
    assert b.through(udp(size=400, **fields)) == []
    assert b.dropped == {"ip_length": 1}


def test_no_error_is_sent_about_a_header_that_is_not_there(bench):
    b = bench(MARKED + "ICMPError(10.0.0.1, timeexceeded)" + OUT)
    assert b.through(*(with_first(udp(size=60), first) for first in (0x40, 0x4F, 0x44))) == []
    assert b.dropped == {"icmp_not_due": 3}


def test_a_source_route_is_reversed_within_its_own_option(bench):
    b = bench(MARKED + "ICMPError(10.0.0.1, timeexceeded)" + OUT)
    # The pointer says 255, and behind the option there is another.
    options = bytes([131, 7, 255, 10, 0, 0, 9, 7, 7, 4, 1, 2, 3, 4, 0, 0])
    head = bytearray(bytes(IP(src="198.18.0.1", dst="198.19.0.1", len=36)))
    head[0] = 0x49
    out = ip_of(b.through(bytes(Ether(dst=MAC, src=HOST)) + bytes(head) + options)[0])
    assert out.dst == "10.0.0.9" and bytes(out)[20:27] == bytes([131, 7, 4, 198, 18, 0, 1])


def test_fragments_of_what_was_not_to_be_fragmented_have_identifications_of_their_own(bench):
    b = bench(IN + "IPFragmenter(576, HONOR_DF false)" + OUT)
    out = [ip_of(f) for f in b.through(udp(size=1400, flags="DF", id=0), udp(size=1400, flags="DF", id=0))]
    assert not any(f.flags.DF for f in out)
    assert len({f.id for f in out}) == 2 and len({(f.id, f.frag) for f in out}) == len(out)
    kept = [ip_of(f) for f in b.through(udp(size=1400, flags="DF+MF", id=77), udp(size=1400, id=78))]
    assert {f.id for f in kept} == {77, 78}, "what is a fragment already, or may become one, has its own"


def test_sources_are_looked_at_where_it_is_asked_for(bench):
    discover = udp(src="0.0.0.0", dst="255.255.255.255")
    assert len(bench(IN + "Null" + OUT).through(discover, udp(src="255.255.255.255"))) == 2
    asked = bench("FromDevice(eth0) -> Strip(14) -> CheckIPHeader(BADSRC 10.0.0.1) -> Null" + OUT)
    assert len(asked.through(discover, udp(src="10.0.0.1"))) == 1 and asked.dropped == {"ip_source": 1}
    interfaces = "CheckIPHeader(INTERFACES 10.1.0.1/24, BADSRC 9.9.9.9) -> Null"
    router = bench("FromDevice(eth0) -> Strip(14) -> " + interfaces + OUT)
    bad = ("0.0.0.0", "255.255.255.255", "10.1.0.255", "9.9.9.9")
    assert router.through(*(udp(src=source) for source in bad)) == [] and router.dropped == {"ip_source": 4}
