# SPDX-License-Identifier: MIT
"""Topologies of other lab tools become topology files, with what is left out said."""

from __future__ import annotations

import pytest

from vre.errors import ConfigError
from vre.lab.foreign import translate
from vre.lab.reader import load_lab

CLAB = """
name: frr01
topology:
  defaults:
    kind: linux
  nodes:
    router1:
      image: quay.io/frrouting/frr:8.4.1
      exec:
        - ip addr add 192.168.1.1/24 dev eth1
        - ip addr add 192.168.2.1/24 dev eth2
        - sysctl -w net.ipv4.ip_forward=1
        - touch /started
    PC1:
      image: praqma/network-multitool:latest
      exec:
        - ip addr add 192.168.1.2/24 dev eth1
        - ip route add 192.168.2.0/24 via 192.168.1.1 dev eth1
    PC2:
      exec: ["ifconfig eth1 192.168.2.2 netmask 255.255.255.0 up", "ip route add default via 192.168.2.1"]
    br1:
      kind: bridge
  links:
    - endpoints: ["router1:eth1", "PC1:eth1"]
    - type: veth
      endpoints:
        - node: router1
          interface: eth2
        - node: PC2
          interface: eth1
    - endpoints: ["router1:eth9", "host:veth9"]
    - endpoints: ["router1:eth8", "br1:eth1"]
"""
KATHARA = """
LAB_NAME="static"
r1[0]="A"
r1[1]=B/00:00:00:00:00:b1   # to pc2
r1[image]="kathara/frr"
pc1[0]="A"
pc2[0]="B"
pc3[0]="C"
"""


def test_a_topology_of_containerlab(tmp_path):
    file = tmp_path / "frr.clab.yml"
    file.write_text(CLAB)
    text = translate(file)
    (tmp_path / "lab.toml").write_text(text)
    lab = load_lab(tmp_path / "lab.toml")
    assert [str(link) for link in lab.links] == ["router1:eth1 -- PC1:eth1", "router1:eth2 -- PC2:eth1"]
    assert {name: str(host.addresses["eth1"][0]) for name, host in lab.hosts.items()} == {
        "PC1": "192.168.1.2/24",
        "PC2": "192.168.2.2/24",
    }
    assert [str(route.network) for route in lab.hosts["PC2"].routes] == ["0.0.0.0/0"]
    assert [str(route.gateway) for route in lab.hosts["PC1"].routes] == ["192.168.1.1"]
    assert {port: str(a) for port, a in lab.routers["router1"].items()} == {
        "eth1": "192.168.1.1/24",
        "eth2": "192.168.2.1/24",
    }
    for left in ("router1: its image", "touch /started", "br1: a bridge", "host:veth9", "router1:eth8 -- br1:eth1"):
        assert any(line.startswith("# Not taken over: ") and left in line for line in text.splitlines()), left


def test_a_scenario_of_kathara(tmp_path):
    (tmp_path / "lab.conf").write_text(KATHARA)
    (tmp_path / "r1.startup").write_text("# up\nip address add 10.0.0.1/24 dev eth0\nip a add 10.0.1.1/24 dev eth1\n")
    (tmp_path / "pc1.startup").write_text("ip address add 10.0.0.2/24 dev eth0\nip route add default via 10.0.0.1\n")
    (tmp_path / "pc2.startup").write_text("ifconfig eth0 10.0.1.2/24 up\nroute add default gw 10.0.1.1\nnginx\n")
    text = translate(tmp_path / "lab.conf")
    (tmp_path / "lab.toml").write_text(text)
    lab = load_lab(tmp_path / "lab.toml")
    assert [str(link) for link in lab.links] == ["r1:eth0 -- pc1:eth0", "r1:eth1 -- pc2:eth0"]
    assert lab.hosts["pc2"].run == ("nginx",) and [str(r.gateway) for r in lab.hosts["pc2"].routes] == ["10.0.1.1"]
    assert "# Not taken over: domain C of 1 interfaces (pc3:eth0)" in text and "r1: image = kathara/frr" in text


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("lab.conf", "r1[0]=A\nr1 0 = B\n", "lab.conf:2:1: error: must be DEVICE[NUMBER]"),
        ("a.yml", "topology:\n  nodes: [\n", "a.yml:3:1: error: not YAML"),
        ("a.yml", "services: {}\n", "it has no 'topology.nodes'"),
        ("a.json", "{}", "neither a topology of containerlab (.yml) nor of Kathará (lab.conf)"),
    ],
)
def test_what_is_none_is_a_mistake_with_its_position(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError) as caught:
        translate(tmp_path / name)
    assert said in str(caught.value)
