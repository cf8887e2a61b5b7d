# SPDX-License-Identifier: MIT
"""Captures of real traffic, and files that only look like captures."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys

from tests.captures import read_capture
from tests.workers.test_capture_reader import pcap
from workers.wire.capture_reader import CaptureError

ROUTER = """
FromDevice(eth0) -> c :: Classifier(12/0806 20/0001, 12/0800, -);
c[0] -> ARPResponder(10.0.0.1 2:0:0:0:0:1) -> back :: Queue -> ToDevice(eth2);
c[1] -> Strip(14) -> CheckIPHeader -> rt :: RadixIPLookup(0/1 0, 128/1 0);
rt -> DropBroadcasts -> o :: IPGWOptions(10.0.0.1) -> FixIPSrc(10.0.0.1) -> d :: DecIPTTL -> f :: IPFragmenter(1400)
   -> EtherEncap(0x0800, 2:0:0:0:0:1, 2:0:0:0:0:2) -> back;
o[1] -> ICMPError(10.0.0.1, parameterproblem) -> rt;
d[1] -> ICMPError(10.0.0.1, timeexceeded) -> rt;
f[1] -> ICMPError(10.0.0.1, unreachable, needfrag, PMTU 1400) -> rt;
c[2] -> Discard;
"""


def run(tmp_path, text):
    file = tmp_path / "lab.toml"
    file.write_text(text)
    command = [sys.executable, "-m", "vre", "run", str(file), "--json", "--quiet"]
    return subprocess.run(command, capture_output=True, text=True, timeout=200)


def test_real_traffic_through_rfc_1812_routers_into_pcapng(tmp_path, pcaps):
    (tmp_path / "red.click").write_text(ROUTER)
    (tmp_path / "blue.click").write_text(ROUTER.replace("eth0", "eth1"))
    done = run(tmp_path, f"""
[nics.eth0]
link = {{ pcap = "{pcaps}/internet-4k.pcap", rate = "1Mpps" }}
[nics.eth1]
link = {{ pcap = "{pcaps}/web.pcap", rate = "1Mpps" }}
[nics.eth2]
link = {{ capture = "out.pcapng" }}
[routers.red]
config = "red.click"
ports = {{ eth0 = {{ mac = "*", vlan = 217 }}, eth2 = {{}} }}
[routers.green]
config = "red.click"
ports = {{ eth0 = {{ mac = "*", vlan = 301 }}, eth2 = {{}} }}
[routers.blue]
config = "blue.click"
ports = {{ eth1 = {{ mac = "*" }}, eth2 = {{}} }}
""")  # fmt: skip
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    for one in data["routers"].values():
        assert one["injected"] == one["forwarded"] + sum(one["dropped"].values()) + one["in_flight"]
    # What the elements made comes on top of the 1978 and 1150 frames of the two VLANs.
    assert data["routers"]["red"]["injected"] >= 1978 and data["routers"]["green"]["injected"] >= 1150
    assert data["unclaimed"] == 968, "frames of the third VLAN are for nobody"
    from scapy.utils import rdpcap

    packets = rdpcap(str(tmp_path / "out.pcapng"))
    assert len(packets) == sum(r["forwarded"] for r in data["routers"].values())


def test_every_tcpdump_capture_replays_or_is_refused_with_a_reason(pcaps):
    refused = {}
    frames = 0
    files = sorted((pcaps / "tcpdump").glob("*.pcap"))
    for file in files:
        try:
            frames += len(read_capture(file))
        except CaptureError as error:
            refused[file.name] = str(error)
    assert len(files) - len(refused) > 120
    assert sum("link type" in reason for reason in refused.values()) >= 4
    for name, reason in refused.items():
        assert name in reason
    assert frames > 500


def test_all_tcpdump_captures_through_one_router(tmp_path, pcaps):
    frames = []
    for file in sorted((pcaps / "tcpdump").glob("*.pcap")):
        with contextlib.suppress(CaptureError):
            frames += [record.data for record in read_capture(file)]
    (tmp_path / "all.pcap").write_bytes(pcap(frames=frames))
    (tmp_path / "red.click").write_text(ROUTER)
    done = run(tmp_path, """
[nics.eth0]
link = { pcap = "all.pcap", rate = "20kpps" }
[nics.eth2]
[routers.red]
config = "red.click"
ports = { eth0 = { mac = "*" }, eth2 = {} }
""")  # fmt: skip
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    one = data["routers"]["red"]
    assert one["injected"] == one["forwarded"] + sum(one["dropped"].values()) + one["in_flight"]
    assert one["injected"] + data["unclaimed"] >= len(frames)


def test_a_bad_capture_is_a_configuration_error(tmp_path):
    (tmp_path / "x.pcap").write_bytes(b"")
    done = run(
        tmp_path, '[nics.eth0]\nlink = { pcap = "x.pcap" }\n[routers.red]\nconfig = "FromDevice(eth0) -> Discard;"\n'
    )
    assert done.returncode == 2
    assert "lab.toml:2:" in done.stderr and "is empty" in done.stderr
