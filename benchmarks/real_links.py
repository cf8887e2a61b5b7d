# SPDX-License-Identifier: MIT
"""Forwarding between real hosts beside the kernel's own, in one run: `python benchmarks/real_links.py [--seconds 3]`.

Two hosts in network namespaces of their own, and between them in turn the kernel (`ip_forward`), a router of this
platform, and the same with offloads. What is measured: UDP frames of 64 bytes that arrive a second under a flood, TCP
by iperf3, and the round trip of single pings. Needs root or user namespaces, and iproute2, iputils-ping and iperf3.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import re
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import vre
from tests.vre.hosts import Host, why_no_hosts

ROOT = Path(__file__).resolve().parents[1]
CONFIG = (ROOT / "tests/vre/router.click").read_text()
MACS = ("02:00:00:00:01:01", "02:00:00:00:02:01")
ROUNDS = 3
Wait = Callable[[subprocess.Popen[str]], None]


def flood(seconds: float, mac: str) -> None:
    """Send UDP packets from this namespace's eth0 as fast as it takes them, many a call."""
    from scapy.layers.inet import IP, UDP
    from scapy.layers.l2 import Ether
    from scapy.packet import Raw

    from shm.link_layout import MESSAGE, VECTOR
    from shm.syscalls import SENDMMSG, sys6
    from workers.compiler.compile import compile_kernel

    frame = bytes(
        Ether(dst=mac, src="02:00:00:00:00:99") / IP(src="10.1.0.2", dst="10.2.0.2") / UDP(dport=9) / Raw(b"x" * 18)
    )
    kept = ctypes.create_string_buffer(frame)
    vector = (ctypes.c_int64 * 2)(ctypes.addressof(kept), len(frame))
    assert ctypes.sizeof(vector) == VECTOR.size
    one = [0, 0, ctypes.addressof(vector), 1, 0, 0, 0, 0]
    messages = (ctypes.c_int64 * (64 * MESSAGE.size // 8))(*(one * 64))

    def send(fd, messages, rounds):
        for _ in range(rounds):
            sys6(SENDMMSG, fd, messages, 64, 0, 0, 0)
        return 0

    kernel = compile_kernel(send)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
        sender.bind(("eth0", 0))
        sender.setsockopt(263, 20, 1)  # PACKET_QDISC_BYPASS
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            kernel(sender.fileno(), ctypes.addressof(messages), 50)


@contextmanager
def by_kernel(hosts: list[Host]) -> Iterator[tuple[str, Wait]]:
    """Let the kernel forward between two hosts; yield the MAC to send to, and what waits for a process."""
    router = Host()
    router.run("sysctl -qw net.ipv4.ip_forward=1")
    for i, host in enumerate(hosts):
        pid = router.netns.split("/")[2]
        host.run(f"ip link add eth{i} type veth peer name r{i} netns {pid}")
        router.run(f"ip addr add 10.{i + 1}.0.1/24 dev r{i}")
        router.run(f"ip link set r{i} address {MACS[i]} up")

    def wait(process: subprocess.Popen[str]) -> None:
        process.wait()

    try:
        yield MACS[0], wait
    finally:
        for i, host in enumerate(hosts):
            host.run(f"ip link del eth{i}")
        router.end()


@contextmanager
def by_router(hosts: list[Host], **link: object) -> Iterator[tuple[str, Wait]]:
    """Let a router of a platform forward between two hosts."""
    with vre.Platform(cores=1, name="real_links") as box:
        for i, host in enumerate(hosts):
            box.nic(f"eth{i}", link=vre.Veth(host.netns, **link))  # type: ignore[arg-type]
        box.router("r", config=CONFIG, ports={f"eth{i}": {"mac": mac} for i, mac in enumerate(MACS)})
        box.start()

        def wait(process: subprocess.Popen[str]) -> None:
            while process.poll() is None:
                box.tend(0.01)

        yield MACS[0], wait


def flooded(hosts: list[Host], mac: str, wait: Wait, seconds: float) -> float:
    """Return how many million packets a second of a flood arrive at the second host."""

    def arrived() -> int:
        (link,) = json.loads(hosts[1].run("ip -j -s link show eth1"))
        return int(link["stats64"]["rx"]["packets"])

    command = [sys.executable, __file__, "--flood", str(seconds), mac]
    wait(hosts[0].start([*command[:2], "--flood", "0.1", mac]))  # what it sends with is compiled, addresses are known
    before = arrived()
    wait(hosts[0].start(command))
    return (arrived() - before) / seconds / 1e6


def streamed(hosts: list[Host], wait: Wait, seconds: float) -> float:
    """Return the Gbit/s of a TCP stream from the first host to the second."""
    with hosts[1].start("iperf3 -s -1", stdout=subprocess.DEVNULL) as server:
        with hosts[0].start("sleep 0.3") as pause:
            wait(pause)
        with hosts[0].start(f"iperf3 -J -c 10.2.0.2 -t {seconds:g}", stdout=subprocess.PIPE) as client:
            wait(client)
            said = json.loads(client.stdout.read()) if client.stdout else {}
        wait(server)
    return float(said["end"]["sum_received"]["bits_per_second"]) / 1e9


def round_trip(hosts: list[Host], wait: Wait) -> float:
    """Return the median round trip of single pings in us."""
    with hosts[0].start("ping -c 200 -i 0.005 10.2.0.2", stdout=subprocess.PIPE) as ping:
        wait(ping)
        said = ping.stdout.read() if ping.stdout else ""
    return statistics.median(float(ms) for ms in re.findall(r"time=([\d.]+)", said)) * 1e3


def measure(seconds: float) -> dict[str, dict[str, list[float]]]:
    """Return the figures of each forwarder, one for each round."""
    ways: dict[str, Callable[[list[Host]], object]] = {
        "kernel": by_kernel,
        "vre": by_router,
        "vre, offload": lambda hosts: by_router(hosts, offload=True),
    }
    found: dict[str, dict[str, list[float]]] = {way: {} for way in ways}
    for _ in range(ROUNDS):
        for way, between in ways.items():
            hosts = [Host(), Host()]
            with between(hosts) as (mac, wait):  # type: ignore[attr-defined]
                for i, host in enumerate(hosts):
                    host.address(f"eth{i}", f"10.{i + 1}.0.2/24", f"10.{i + 1}.0.1")
                figures = {"ping, us": round_trip(hosts, wait), "UDP, Mp/s": flooded(hosts, mac, wait, seconds)}
                figures["TCP, Gbit/s"] = streamed(hosts, wait, seconds)
                for what, figure in figures.items():
                    found[way].setdefault(what, []).append(round(figure, 3))
            for host in hosts:
                host.end()
    return found


def main() -> None:
    """Measure, and print the medians beside the kernel's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each flood and stream")
    parser.add_argument("--json", action="store_true", help="print all figures")
    parser.add_argument("--flood", nargs=2, metavar=("SECONDS", "MAC"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.flood:
        flood(float(chosen.flood[0]), chosen.flood[1])
        return
    if why := why_no_hosts():
        raise SystemExit(f"skipped: {why}")
    found = measure(chosen.seconds)
    if chosen.json:
        print(json.dumps(found))
        return
    for way, figures in found.items():
        for what, each in figures.items():
            ratio = statistics.median(each) / statistics.median(found["kernel"][what])
            print(f"{way:14} {what:12} {statistics.median(each):9.3f}   {ratio:5.2f} of the kernel's   {each}")


if __name__ == "__main__":
    main()
