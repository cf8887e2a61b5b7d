# SPDX-License-Identifier: MIT
"""Links out of the platform: hosts in network namespaces, real packets through a router between them."""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

import vre
from shm.run_directory import sweep
from tests.vre.hosts import Host, need, why_no_hosts
from tests.vre.platforms import assert_accounts, wait_for
from vre.links.namespaces import inside, open_namespace
from vre.links.ownership import claim_interface
from vre.platform import traffic

ROUTER = Path(__file__).with_name("router.click").read_text()
MACS = ("02:00:00:00:01:01", "02:00:00:00:02:01")
EVERYTHING = 3


class Network:
    """Two hosts, each on a port of a platform with one router between them."""

    def __init__(self, config=ROUTER, macs=MACS, **link):
        need()
        self.events = []
        self.hosts = [Host(), Host()]
        self.box = vre.Platform(cores=1, name=f"links{os.getpid()}", say=self.events.append)
        for i, host in enumerate(self.hosts):
            self.box.nic(f"eth{i}", link=vre.Veth(host.netns, **link))
        ports = {f"eth{i}": {"mac": mac} for i, mac in enumerate(macs)}
        self.router = self.box.router("r", config=config, ports=ports)

    def __enter__(self):
        self.box.start()
        for i, host in enumerate(self.hosts):
            host.address(f"eth{i}", f"10.{i + 1}.0.2/24", f"10.{i + 1}.0.1")
        return self

    def __exit__(self, *exception):
        self.box.stop()
        for host in self.hosts:
            host.end()

    def ask(self, command, host=0, ends=True):
        """Run a command at a host while the platform runs; return what it wrote."""
        with self.hosts[host].start(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            wait_for(self.box, lambda: process.poll() is not None, 60)
            said = process.stdout.read()
        assert process.returncode == 0 or not ends, (command, said)
        return said

    def settle(self):
        """Let what is on its way arrive; every packet is accounted for."""
        self.box.parts.pause()
        self.box.halt()
        assert_accounts(self.box)
        return self.router.stats()


class Wire:
    """A packet socket at a host's interface: what a stack would not send, and all that comes."""

    def __init__(self, host, device):
        namespace = open_namespace(host.netns)
        try:
            self._socket = inside(namespace, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
        finally:
            os.close(namespace)
        self._socket.bind((device, EVERYTHING))
        self._socket.setsockopt(263, 8, 1)  # PACKET_AUXDATA: a tag comes beside its frame
        self._socket.setblocking(False)
        self._found = []
        self.send = self._socket.send
        self.close = self._socket.close

    def received(self):
        """Return all frames that have come so far, as they were on the wire."""
        found = self._found
        while True:
            try:
                data, extra, _, sender = self._socket.recvmsg(65536, 256)
            except BlockingIOError:
                return found
            if sender[2] == socket.PACKET_OUTGOING:
                continue
            for _, kind, value in extra:
                status, _, _, _, _, tag, tag_type = struct.unpack("IIIHHHH", value) if kind == 8 else (0,) * 7
                if status & 0x10:
                    data = data[:12] + struct.pack(">HH", tag_type, tag) + data[12:]
            found.append(data)


@pytest.mark.parametrize("send", ["auto", pytest.param("messages", marks=pytest.mark.slow)])
def test_hosts_ping_each_other_and_traceroute_names_the_router(send):
    need("ping", "traceroute", "curl")
    with Network(send=send) as net:
        assert "4 received" in net.ask("ping -c 4 -i 0.05 -W 5 10.2.0.2")
        hops = net.ask("traceroute -n -q 1 -w 2 10.2.0.2").splitlines()[1:]
        assert [line.split()[1] for line in hops] == ["10.1.0.1", "10.2.0.2"]
        # A stack sends with a checksum that its interface is to compute, and frames that it is to cut.
        (server,) = [
            net.hosts[1].start(
                [sys.executable, "-m", "http.server", "-d", str(Path(__file__).parent), "80"], stderr=subprocess.DEVNULL
            )
        ]
        try:
            assert (
                net.ask("curl -s --retry-connrefused --retry 20 --retry-delay 1 http://10.2.0.2/router.click") == ROUTER
            )
        finally:
            server.kill()
            server.wait()
        stats = net.settle()
        assert stats.forwarded > 12 and "link_down" not in stats.dropped
        assert not [event for event in net.events if "refused" in event]


@pytest.mark.slow
def test_throughput_is_measured_through_a_router():
    """iperf3 over TCP, and over UDP at more than it takes: what is lost is in the account."""
    need("iperf3")
    with Network() as net:
        for options in ("", "-u -b 2G -l 1400"):
            with net.hosts[1].start("iperf3 -s -1", stdout=subprocess.DEVNULL) as server:
                wait_for(net.box, lambda: "5201" in net.hosts[1].run("ss -ltn"))
                said = json.loads(net.ask(f"iperf3 -J -t 2 -c 10.2.0.2 {options}"))
                server.wait(30)
            assert "error" not in said and said["end"]["sum" if options else "sum_received"]["bytes"] > 1_000_000
        net.settle()


def udp(ttl=9, size=60, tag=b"", source="10.1.0.2", target="10.2.0.2"):
    """Return a frame from the first host to the router, of `size` bytes without the tag."""
    payload = bytes(size - 42)
    udp_header = struct.pack(">HHHH", 4000, 9, 8 + len(payload), 0)
    header = struct.pack(
        ">BBHHHBBH4s4s",
        0x45,
        0,
        28 + len(payload),
        1,
        0,
        ttl,
        17,
        0,
        socket.inet_aton(source),
        socket.inet_aton(target),
    )
    total = sum(struct.unpack(">10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    header = header[:10] + struct.pack(">H", ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF) + header[12:]
    return (
        bytes.fromhex(MACS[0].replace(":", ""))
        + bytes.fromhex("02aaaaaaaaaa")
        + tag
        + b"\x08\0"
        + header
        + udp_header
        + payload
    )


MIRROR = "FromDevice(eth0) -> ToDevice(eth1); FromDevice(eth1) -> ToDevice(eth0);"


def test_frames_pass_as_they_are():
    """Tags, tags in tags, the longest frame and the shortest: nothing is stripped, cut or made up."""
    with Network(MIRROR, macs=("*", "*"), send="messages") as net:
        near, far = Wire(net.hosts[0], "eth0"), Wire(net.hosts[1], "eth1")
        sent = [
            udp(),
            udp(tag=bytes.fromhex("8100e005")),
            udp(size=1514),
            udp(size=1514, tag=bytes.fromhex("81000fff")),
            udp(tag=bytes.fromhex("88a80005810000070800")[:8]),
            udp()[:14],
        ]
        for frame in sent:
            near.send(frame)

        def mine():
            return [frame for frame in far.received() if frame[6:12] == sent[0][6:12]]

        wait_for(net.box, lambda: len(mine()) >= len(sent), 20)
        assert mine() == sent
        # A tag that says a priority and no VLAN is no router's: it goes where the port sorts frames.
        near.send(udp(ttl=8, tag=bytes.fromhex("8100e000")))
        wait_for(net.box, lambda: udp(ttl=8) in far.received(), 20)
        near.close()
        far.close()
        net.settle()


RECEIVER = "import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('', 9)); print(s.recv(99))"
SENDER = """
import socket, time
s = socket.socket(type=socket.SOCK_DGRAM)
while True:
    s.sendto(b'whole', ('10.2.0.2', 9))
    time.sleep(0.05)
"""


def test_a_checksum_that_the_sender_has_left_to_its_interface_is_completed():
    """Who has the far end may turn its offloads on again: a stack takes no datagram with a wrong checksum."""
    need("ethtool")
    with Network() as net:
        assert "tx-checksumming: off" in net.hosts[0].run("ethtool -k eth0")
        net.hosts[0].run("ethtool -K eth0 tx on")
        with net.hosts[0].start([sys.executable, "-c", SENDER]) as sender:
            assert "whole" in net.ask([sys.executable, "-c", RECEIVER], host=1)
            sender.kill()
        near, far = net.box.reader.interfaces()
        assert near["checksums completed"] > 0 and far["checksums completed"] == 0
        net.settle()


def test_an_interface_that_goes_down_costs_its_own_frames_and_comes_back():
    with Network(MIRROR) as net:
        near, far = Wire(net.hosts[0], "eth0"), Wire(net.hosts[1], "eth1")
        net.hosts[1].run("ip link set eth1 down")
        wait_for(net.box, lambda: any("is down" in event for event in net.events))

        def lost():
            near.send(udp())
            return net.router.stats().dropped.get("link_down", 0) >= 5

        wait_for(net.box, lost)
        net.hosts[1].run("ip link set eth1 up")
        wait_for(net.box, lambda: any("up again" in event for event in net.events))
        far.close()
        far = Wire(net.hosts[1], "eth1")

        def passes():
            near.send(udp())
            return udp() in far.received()

        wait_for(net.box, passes)
        net.hosts[1].run("ip link del eth1")
        wait_for(net.box, lambda: sum("is gone" in event or "up again" in event for event in net.events) >= 3)
        net.hosts[1].address("eth1", "10.2.0.2/24")
        far.close()
        far = Wire(net.hosts[1], "eth1")
        wait_for(net.box, passes)
        near.close()
        far.close()
        assert net.settle().dropped["link_down"] >= 5


@pytest.mark.parametrize("queues", ["multi", pytest.param("single", marks=pytest.mark.slow)])
def test_what_overflows_for_one_router_is_dropped_in_its_own_queue(queues):
    """While no frame is let in, a flood for one router fills the kernel's rings: all, or its own only."""
    need()
    hosts, macs = [Host(), Host()], ("02:00:00:00:0a:01", "02:00:00:00:0b:01")
    box = vre.Platform(cores=1, name=f"links{os.getpid()}")
    # No stack shall send anything by itself.
    hosts[0].run(["sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6"])
    hosts[0].run("ip link add out type veth peer name in")
    for end in ("in", "out"):
        hosts[0].run(f"ip link set {end} mtu 9000 up")
    box.nic("shared", link=vre.Interface("in", netns=hosts[0].netns), queues=queues, slots=64)
    box.nic("away", link=vre.Veth(hosts[1].netns))
    for name, mac in zip("ab", macs, strict=True):
        box.router(name, config="FromDevice(shared) -> ToDevice(away);", ports={"shared": {"mac": mac}})
    wire = Wire(hosts[0], "out")
    with box:
        box.start()
        frames = {name: bytes.fromhex(mac.replace(":", "")) + udp()[6:] for name, mac in zip("ab", macs, strict=True)}
        # What no buffer holds is its router's, whether the ring could hold it or not.
        for size in (3000, 8000):
            wire.send(frames["a"] + bytes(size))
        wait_for(box, lambda: box.handle("a").stats().dropped.get("too_long_for_port") == 2)
        traffic.let_in(box.parts.runtime, False)
        box.tend(0.05)
        before = {name: box.handle(name).stats().injected for name in "ab"}
        for frame in [frames["a"]] * 200 + [frames["b"]] * 10:
            wire.send(frame)
        box.tend(0.1)
        traffic.let_in(box.parts.runtime, True)
        first = {"multi": 210, "single": 0}[queues]

        def came():
            return sum(box.handle(name).stats().injected - before[name] for name in "ab")

        wait_for(box, lambda: came() >= first + (64 if queues == "single" else 0))
        box.tend(0.1)
        box.parts.pause()
        box.halt()
        a, b = (box.handle(name).stats() for name in "ab")
        (shared, _) = box.reader.interfaces()
        assert a.balance == b.balance == 0
        if queues == "multi":
            assert_accounts(box)
            assert a.dropped["rx_ring_full"] >= 200 - 64 and "rx_ring_full" not in b.dropped
            assert b.forwarded >= 10 and came() >= 210
        else:
            assert shared["overrun"] >= 146 and b.injected == before["b"]
    wire.close()
    for host in hosts:
        host.end()


ANSWERS = """c :: Classifier(12/0806 20/0001, 12/0800, -); FromDevice(t) -> c; c[2] -> Discard;
  out :: Queue(64) -> ToDevice(t); c[0] -> ARPResponder(10.9.0.1 02:00:00:00:0c:01) -> out;
  c[1] -> Strip(14) -> CheckIPHeader -> ICMPPingResponder
  -> arp :: ARPQuerier(10.9.0.1, 02:00:00:00:0c:01) -> out; Idle -> [1]arp;"""


def answering(link, host, device, say=None):
    """Hold that a router at the far end of an interface answers a host's ping."""
    box = vre.Platform(cores=1, name=f"links{os.getpid()}", say=say)
    box.nic("t", link=link)
    box.router("r", config=ANSWERS, ports={"t": {"mac": "02:00:00:00:0c:01"}})
    with box:
        box.start()
        host.address(device, "10.9.0.2/24")
        box.write("r/arp.insert", "10.9.0.2 " + host.run(f"ip -br link show {device}").split()[2])
        with host.start("ping -c 3 -i 0.05 -W 5 -s 548 10.9.0.1", stdout=subprocess.PIPE) as ping:
            wait_for(box, lambda: ping.poll() is not None, 60)
            assert "3 received" in ping.stdout.read()
        (row,) = box.reader.interfaces()
        shown = host.run("ip link")
        box.parts.pause()
        box.halt()
        assert_accounts(box)
    return row, shown


def test_a_tap_is_a_cable_to_this_host():
    """The host's own stack is at the far end."""
    need("ping")
    host = Host()
    row, shown = answering(vre.Tap("tapvre", netns=host.netns, mtu=576), host, "tapvre")
    assert row["sends by"] == "write" and "tapvre: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 576" in shown
    assert "tapvre" not in host.run("ip -br link")
    host.end()


def test_an_xdp_program_takes_frames_and_goes_with_the_platform():
    need("ping")
    host = Host()
    one = "numrxqueues 1 numtxqueues 1"
    host.run(f"ip link add out {one} type veth peer name in {one}")
    for end in ("in", "out"):
        host.run(f"ip link set {end} up")
    # AF_XDP says nothing of what is to be completed: who sends to such an interface must not leave anything to it.
    host.run("ethtool -K out tx off") if shutil.which("ethtool") else pytest.skip("needs ethtool: not installed")
    try:
        row, shown = answering(vre.Xdp("in", netns=host.netns, mode="skb"), host, "out")
    except vre.ConfigError as error:
        assert "CAP_BPF" in str(error)
        pytest.skip(f"needs an XDP program: {error}")
    finally:
        after = host.run("ip link")
        host.end()
    assert "xdpgeneric" in shown and "xdp" not in after
    assert row["sends by"] == "AF_XDP" and row["received"] >= 3


def test_a_vxlan_leads_to_another_machine():
    """The other machine is a namespace with the kernel's own device."""
    need("ping")
    here, there = Host(), Host()
    here.run(f"ip link add u type veth peer name u netns {there.pid}")
    for host, address in ((here, "192.0.2.1/24"), (there, "192.0.2.2/24")):
        host.address("u", address)
    made = there.run("ip link add vx type vxlan id 7 remote 192.0.2.1 dstport 4789 dev u", check=False)
    if made:
        pytest.skip(f"needs VXLAN devices: {made}")
    there.run("ip link set vx up")
    row, _ = answering(vre.Vxlan("192.0.2.2", 7, netns=here.netns), there, "vx")
    assert row["link"] == "vxlan" and "vxlan" not in here.run("ip -d link")
    here.end()
    there.end()


def test_the_wires_that_follow_go_on_with_the_same_interfaces():
    """A router comes while hosts ping each other: processes are replaced, descriptors and positions are not."""
    need("ping")
    with Network() as net:
        with net.hosts[0].start("ping -c 30 -i 0.05 -W 5 10.2.0.2", stdout=subprocess.PIPE) as ping:
            wait_for(net.box, lambda: net.router.stats().forwarded > 8)
            pids = net.box.parts.runtime.engine.wire_holder()
            more = "FromDevice(eth0) -> Discard;"
            net.box.router("more", config=more, ports={"eth0": {"mac": "02:00:00:00:0d:01"}})
            assert net.box.parts.runtime.engine.wire_holder() != pids
            near = Wire(net.hosts[0], "eth0")
            late = bytes.fromhex("020000000d01") + udp()[6:]
            near.send(late)
            wait_for(net.box, lambda: net.box.handle("more").stats().dropped.get("discard"))
            near.close()
            wait_for(net.box, lambda: ping.poll() is not None, 60)
            said = ping.stdout.read()
            assert "30 packets transmitted, 30 received" in said or " 0% packet loss" in said, said
        net.settle()


def test_a_platform_that_is_killed_leaves_no_interface(tmp_path):
    need()
    host = Host()
    script = f"""
import vre
box = vre.Platform(cores=1, name="killed{os.getpid()}")
box.nic("eth0", link=vre.Veth({host.netns!r}))
box.router("r", config="FromDevice(eth0) -> ToDevice(eth0);")
box.start()
print("up", flush=True)
box.run(600)
"""
    root = str(Path(__file__).resolve().parents[2])
    environment = os.environ | {"PYTHONPATH": root}
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment
    ) as platform:
        assert platform.stdout.readline() == "up\n"
        assert "eth0" in host.run("ip -br link")
        platform.kill()
    end = time.monotonic() + 20
    while "eth0" in host.run("ip -br link") and time.monotonic() < end:
        time.sleep(0.02)
    assert "eth0" not in host.run("ip -br link")
    assert f"killed{os.getpid()}" in sweep(), "the next command removes the rest"
    host.end()


@pytest.mark.skipif(bool(why_no_hosts()), reason="needs hosts in namespaces")
def test_what_cannot_be_opened_is_said_all_at_once():
    host = Host()
    host.run("ip link add taken type veth peer name other")
    box = vre.Platform(cores=1, name=f"links{os.getpid()}")
    box.nic("a", link=vre.Veth("nowhere-at-all"))
    box.nic("b", link=vre.Veth(host.netns, name="taken"))
    box.nic("c", link=vre.Interface("absent", netns=host.netns))
    box.nic("d", link=vre.Interface("other", netns=host.netns))
    host.run("ip link add route type veth peer name end")
    host.address("route", "10.7.0.1/24", "10.7.0.2")
    box.nic("e", link=vre.Interface("route", netns=host.netns))
    box.nic("f", link=vre.Interface("end", netns=host.netns))
    host.run("ip link set end up")
    holder = open_namespace(host.netns)
    claimed = claim_interface(holder, "end")
    box.router("r", config="FromDevice(a) -> ToDevice(b);")
    with pytest.raises(vre.ConfigError) as caught, box:
        box.start()
    said = [problem.message for problem in caught.value.problems]
    claimed.close()
    os.close(holder)
    assert len(said) == 6
    for text, words in zip(
        said,
        (
            "ip netns add nowhere-at-all",
            "set 'name' to another",
            "there is no interface 'absent'",
            "ip link set other up",
            "'force = true'",
            f"in use by another platform, process {os.getpid()}",
        ),
        strict=True,
    ):
        assert words in text
    host.end()
