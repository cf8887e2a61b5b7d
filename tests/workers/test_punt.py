# SPDX-License-Identifier: MIT
"""What is for the router itself, and how much of it."""

from __future__ import annotations

from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from tests.workers.frames import HOST, MAC, arp, udp

OWN, OTHER = "10.0.0.1", "10.0.0.9"


def test_what_is_for_the_router_itself_is_separated(bench):
    b = bench(
        f"FromDevice(eth0) -> p :: Punt({OWN}, RATE 1000) -> ToDevice(eth1); p[1] -> ToDevice(eth0);"
        "p[2] -> t :: Tee -> ToDevice(eth1); t[1] -> ToDevice(eth0);"
    )
    b.clock(5_000_000_000)

    def ways(frame):
        forwarded = b.through(bytes(frame))
        return len(forwarded), len(b.received("eth0"))

    group = "01:00:5e:00:00:05"
    assert ways(udp(dst=OWN)) == (0, 1) and ways(udp(dst=OTHER)) == (1, 0)
    assert ways(udp(dst=OWN, mac="02:00:00:00:00:77")) == (1, 0)
    assert ways(udp(dst="224.0.0.5", mac=group)) == (0, 1) and ways(udp(dst="224.0.1.5", mac=group)) == (1, 0)
    assert (
        ways(arp(1, OTHER, OWN)) == (0, 1) and ways(arp(1, OWN, OTHER)) == (1, 1) and ways(arp(2, OTHER, OWN)) == (1, 1)
    )
    for there, mac, way in (
        ("fe80::1", MAC, (0, 1)),
        ("ff02::5", "33:33:00:00:00:05", (0, 1)),
        ("ff05::5", "33:33:00:00:00:05", (1, 0)),
    ):
        assert ways(Ether(dst=mac, src=HOST, type=0x86DD) / IPv6(dst=there)) == way
    assert ways(Ether(dst="01:80:c2:00:00:0e", src=HOST, type=0x88CC) / bytes(50)) == (0, 1)
    assert ways(Ether(dst=MAC, src=HOST, type=0x0800) / bytes(4)) == (1, 0)
    assert ways(Ether(dst=MAC, src=HOST) / IP(dst=OWN)) == (0, 1)


def test_a_flood_is_cut_to_its_rate_and_arp_of_others_goes_on(bench):
    b = bench(
        f"FromDevice(eth0) -> p :: Punt({OWN}, RATE 100) -> ToDevice(eth1); p[1] -> ToDevice(eth0);"
        "p[2] -> t :: Tee -> ToDevice(eth1); t[1] -> ToDevice(eth0);"
    )
    b.clock(5_000_000_000)
    for _ in range(3):
        b.through(*[udp(dst=OWN)] * 20)
    # A tenth of a second's packets and one, at once.
    assert b.dropped["punt_limit"] == 49 and len(b.received("eth0")) == 11
    assert len(b.through(arp(2, OTHER, OWN))) == 1 and b.received("eth0") == []
    b.clock(5_050_000_000)
    b.through(*[udp(dst=OWN)] * 20)
    assert len(b.received("eth0")) == 5 and b.dropped["punt_limit"] == 49 + 15
