# SPDX-License-Identifier: MIT
"""Routers with control planes: real routing daemons in namespaces, whose packets go over the routers' own ports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from shm.run_directory import sweep
from tests.netns import namespaces, require  # noqa: F401
from tests.vre.platforms import assert_accounts, wait_for
from vre.config.reader import load_model
from vre.control_plane.namespace import open_namespace
from vre.errors import ConfigError, PlatformError
from vre.platform.platform import Platform

GRAPH = """
rt :: RadixIPLookup();
FromDevice(left) -> c0 :: Classifier(12/0806 20/0002, 12/0800, -);
FromDevice(right) -> c1 :: Classifier(12/0806 20/0002, 12/0800, -);
FromDevice(host) -> c2 :: Classifier(12/0800, -);
c0[1] -> ip :: Null -> Strip(14) -> CheckIPHeader -> rt;
c1[1] -> ip; c2[0] -> ip;
rt[0] -> DecIPTTL -> [0] a0 :: ARPQuerier($ip0, $mac0) -> ToDevice(left); c0[0] -> [1] a0;
rt[1] -> DecIPTTL -> [0] a1 :: ARPQuerier($ip1, $mac1) -> ToDevice(right); c1[0] -> [1] a1;
rt[2] -> DecIPTTL -> EtherEncap(0x0800, 2:0:0:0:0:9, 2:0:0:0:0:a) -> ToDevice(host);
c0[2] -> Discard; c1[2] -> Discard; c2[1] -> Discard;
"""
LEFT, RIGHT, HOST = 0, 1, 2


def triangle(folder, domu):
    """Write a file of three routers, each with a host's network, and a cable to each of the others."""
    lines = ["[platform]", "cores = 1"]
    for i, name in enumerate("abc"):
        before, after = (i - 1) % 3, (i + 1) % 3
        left, right = name + "abc"[before], name + "abc"[after]
        mac0, mac1 = (f"02:00:00:00:{i + 1:02x}:0{n}" for n in (1, 2))
        lines += [
            f"[nics.{left}]",
            f'link = {{ to = "{left[::-1]}" }}',
            f"[nics.{right}]",
            f'link = {{ to = "{right[::-1]}" }}',
            f"[nics.h{name}]",
            f'link = {{ rate = 1000, destinations = ["192.168.{after}.0/24"] }}',
            f"[routers.{name}]",
            'config = "router.click"',
            f'define = {{ ip0 = "10.0.{before}.2", mac0 = "{mac0}", ip1 = "10.0.{i}.1", mac1 = "{mac1}" }}',
            f"domu = {{ {domu} }}",
            f"[routers.{name}.ports]",
            f'left = {{ nic = "{left}", mac = "{mac0}", address = "10.0.{before}.2/30" }}',
            f'right = {{ nic = "{right}", mac = "{mac1}", address = "10.0.{i}.1/30" }}',
            f'host = {{ nic = "h{name}", address = "192.168.{i}.1/24" }}',
        ]
    (folder / "router.click").write_text(GRAPH)
    (folder / "lab.toml").write_text("\n".join(lines))
    return folder / "lab.toml"


@pytest.fixture
def lab(tmp_path, namespaces):  # noqa: F811
    """Start the triangle with a kind of control plane."""
    namespaces()  # this user may make some
    boxes = []

    def make(domu, program):
        require(program)
        boxes.append(Platform(model=load_model(triangle(tmp_path, domu), f"control{os.getpid()}")))
        boxes[-1].start()
        return boxes[-1]

    yield make
    for box in boxes:
        box.stop()


def plane(box, name):
    return next(row for row in box.parts.planes.rows() if row["router"] == name)


def route(box, name, address):
    """Return the line of a router's table that has a network, None for none."""
    found = [line.split("\t") for line in box.read(f"{name}/rt.table").splitlines()]
    return next(((gateway, int(output)) for network, gateway, output in found if network == address), None)


def networks(box, name):
    """Return the networks that a router has routes to."""
    return {line.split("\t")[0] for line in box.read(f"{name}/rt.table").splitlines()}


def in_namespace(box, name, *command):
    told = ["nsenter", f"--net={plane(box, name)['namespace']}", *command]
    return subprocess.run(told, capture_output=True, text=True, check=True).stdout


def sent_to_host(box, name):
    return box.reader.router(name).ports[f"h{name}"]


def flows(box, *names):
    """Wait until the hosts' ports of routers have sent many more packets than they have now."""
    before = {name: sent_to_host(box, name) for name in names}
    wait_for(box, lambda: all(sent_to_host(box, name) > before[name] + 200 for name in names), 90)


def converged(box):
    there = [(n, f"192.168.{i}.0/24") for n in "abc" for i in range(3)]
    return all(route(box, *one) for one in there)


def check_a_daemon(box):
    """Packets follow a daemon's routes, whatever becomes of it, of what serves it, and of a link."""
    wait_for(box, lambda: converged(box), 90)
    wait_for(box, lambda: route(box, "a", "192.168.1.0/24") == ("10.0.0.2", RIGHT), 60)
    flows(box, *"abc")
    # Neither a daemon's end nor that of the process that serves it takes a route away; both come back.
    before = {n: networks(box, n) for n in "bc"}
    pid, served_by = plane(box, "b")["pid"], plane(box, "c")["served_by"]
    os.kill(pid, signal.SIGKILL)
    os.kill(served_by, signal.SIGKILL)
    wait_for(box, lambda: plane(box, "c")["served_by"] != served_by, 60)
    flows(box, *"abc")
    assert {n: networks(box, n) for n in "bc"} == before
    wait_for(box, lambda: plane(box, "b")["state"] == "running" and plane(box, "b")["pid"] not in (0, pid), 60)
    assert {n: networks(box, n) for n in "bc"} == before
    flows(box, *"abc")
    # A link is cut: its routes go, the daemon finds another way, and packets take it.
    in_namespace(box, "a", "ip", "link", "set", "right", "down")
    wait_for(box, lambda: (route(box, "a", "192.168.1.0/24") or (0, 0)) == ("10.0.2.1", LEFT), 60)
    wait_for(box, lambda: (route(box, "b", "192.168.0.0/24") or (0, 0))[1] == RIGHT, 60)
    flows(box, *"abc")
    box.pause()
    assert_accounts(box)


def test_bird_routes_a_triangle(lab):
    check_a_daemon(lab('control = "bird"', "bird"))


@pytest.mark.slow
def test_frr_routes_a_triangle(lab):
    check_a_daemon(lab('control = "frr"', "vtysh"))


PROGRAM = """import sys, time
for asked in ("add 192.168.1.0/24 via 10.0.0.2", "add 20.0.0.0/8 via 10.0.0.2", "remove 20.0.0.0/8", "nonsense", "add 30.0.0.0/8 via 99.9.9.9"):
    print(asked)
    print(input(), file=sys.stderr)
open("/tmp/own", "w").write("here")
try:
    open("/etc/vre-was-here", "w")
except OSError as error:
    print("read-only:", error.strerror, file=sys.stderr)
time.sleep(1000)
"""


def test_programs_and_static_routes_and_nothing_is_left_after_a_kill(tmp_path, namespaces):  # noqa: F811
    """Through the command line: each kind beside the others, the daemon's console, and the end of all by SIGKILL."""
    namespaces()
    require("bird", "birdc")
    file = triangle(tmp_path, 'control = "bird"')
    (tmp_path / "routes.py").write_text(PROGRAM)
    text = file.read_text().replace('"bird"', '"routes.py"', 1)
    at = text.rindex('control = "bird"')
    static = 'control = "static", routes = ["192.168.0.0/24 via 10.0.2.2"]'
    file.write_text(text[:at] + static + text[at + len('control = "bird"') :])
    name = f"control{os.getpid()}"

    def vre(*arguments):
        return subprocess.run([sys.executable, "-m", "vre", *arguments], capture_output=True, text=True, check=False)

    with subprocess.Popen(
        [sys.executable, "-m", "vre", "run", file, "--name", name], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as run:
        try:
            rows, end = {}, time.monotonic() + 250
            while not (rows and all(row["routes"] >= n for row, n in zip(rows.values(), (4, 3, 4), strict=True))):
                assert time.monotonic() < end and run.poll() is None, (rows, run.stderr.read() if run.poll() else "")
                time.sleep(0.2)
                shown = vre("show", "control", "--json", "--name", name)
                rows = {row["router"]: row for row in json.loads(shown.stdout)} if shown.returncode == 0 else {}
            assert [row["kind"] for row in rows.values()] == ["program", "bird", "static"]
            assert "192.168.1.0/24\t10.0.0.2\t1" in vre("read", "a/rt.table", "--name", name).stdout
            assert "192.168.0.0/24\t10.0.2.2\t1" in vre("read", "c/rt.table", "--name", name).stdout
            assert "ospf" in vre("console", "b", "--name", name, "--", "show", "protocols").stdout
            assert "10.0.1.2/30" in vre("console", "c", "--name", name, "--", "ip", "addr").stdout
            assert "no router 'x'" in vre("console", "x", "--name", name).stderr
            events = vre("show", "events", "--name", name).stdout
            for said in ("ok", "error: not 'add", "Network is unreachable", "read-only: Read-only file system"):
                assert said in events, events
            assert not Path("/etc/vre-was-here").exists() and not Path("/tmp/own").exists()
            children = [row["pid"] for row in rows.values() if row["pid"]] + [row["served_by"] for row in rows.values()]
        finally:
            run.kill()
    end = time.monotonic() + 20
    while any(Path(f"/proc/{pid}/ns/net").exists() for pid in children):
        assert time.monotonic() < end, "what served the control planes has outlived the platform"
        time.sleep(0.05)
    assert "no platform" in vre("show", "control", "--name", name).stderr
    assert name in sweep()


def test_a_wrong_configuration_is_the_daemons_own_message(tmp_path, lab):
    require("bird")
    (tmp_path / "wrong.conf").write_text("router id 1.2.3.4;\n\nprotocol nonsense {}\n")
    with pytest.raises(ConfigError) as raised:
        lab('control = "bird", config_file = "wrong.conf"', "bird")
    assert "wrong.conf:3" in str(raised.value) and "Traceback" not in str(raised.value)


def test_a_namespace_is_a_routers_and_not_a_hosts(tmp_path, namespaces):  # noqa: F811
    beside = namespaces()
    require("sysctl")
    file = triangle(tmp_path, 'control = "static", routes = ["20.0.0.0/8 via 192.168.0.9"]')
    file.write_text(file.read_text().replace('"192.168.0.1/24"', '["192.168.0.1/24", "fd00::1/64"]'))
    router = load_model(file, "x").routers["a"]
    os.close(beside.fd)
    beside.fd, numbers = open_namespace(router)
    assert list(numbers) == ["left", "right", "host"]
    links = {link["ifname"]: link for link in json.loads(beside.run("ip", "-j", "addr"))}
    assert (links["left"]["address"], links["left"]["mtu"]) == ("02:00:00:00:01:01", 1500)
    held = {f"{one['local']}/{one['prefixlen']}" for one in links["host"]["addr_info"] if one["scope"] == "global"}
    assert held == {"192.168.0.1/24", "fd00::1/64"} and "UP" in links["host"]["flags"]
    # What a neighbour's router advertisements and redirects, and a second forwarder, would do (RFC 4861, section 6.2.8).
    kept = "ipv4.ip_forward ipv6.conf.all.forwarding ipv6.conf.host.accept_ra ipv6.conf.host.autoconf"
    kept += (
        " ipv4.conf.all.rp_filter ipv4.conf.host.rp_filter ipv4.conf.all.send_redirects ipv4.conf.host.accept_redirects"
    )
    assert set(beside.run("sysctl", "-n", *(f"net.{name}" for name in kept.split())).split()) == {"0"}
    with pytest.raises(PlatformError, match="Network is unreachable"):
        router.control = replace(router.control, routes=("20.0.0.0/8 via 99.1.1.1",))
        open_namespace(router)


def test_what_a_file_says_of_control_planes_is_checked(tmp_path):
    file = triangle(tmp_path, 'control = "static", routes = ["x"], most_routes = 0, hold = -1')
    file.write_text(file.read_text().replace('"10.0.0.1/30"', '"10.0.0.1"'))
    with pytest.raises(ConfigError) as raised:
        load_model(file, "x")
    said = str(raised.value)
    for part in ("'x' is not NETWORK via GATEWAY", "most_routes", "hold", "'10.0.0.1' has no length"):
        assert part in said, said
    file = triangle(tmp_path, 'control = "static"')
    file.write_text(file.read_text().replace("left = {", "a-name-of-18-bytes = {"))
    (tmp_path / "router.click").write_text(GRAPH.replace("left", "a-name-of-18-bytes"))
    with pytest.raises(ConfigError) as raised:
        load_model(file, "x")
    assert "too long for an interface" in str(raised.value)
    (tmp_path / "lab.toml").write_text(triangle(tmp_path, "most_routes = 5").read_text())
    with pytest.raises(ConfigError, match="there is no control plane that this is for"):
        load_model(Path(tmp_path / "lab.toml"), "x")
