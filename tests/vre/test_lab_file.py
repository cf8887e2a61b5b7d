# SPDX-License-Identifier: MIT
"""Topology files: what follows from one, and every mistake with its position."""

from __future__ import annotations

import pytest

from vre.config.model import Cable
from vre.errors import ConfigError
from vre.lab.graph import as_dot, as_text
from vre.lab.reader import load_lab

GOOD = """
links = [
  ["h1:eth0", "red:eth0"],
  ["red:eth1", "blue:eth0"],
  ["blue:eth1", "h2:eth0", { mtu = 1400 }],
]
[hosts.h1]
address = "10.0.1.2/24"
gateway = "10.0.1.1"
[hosts.h2]
address = ["10.0.2.2/24", "fd00::2/64"]
routes = { default = "10.0.2.1", "10.9.0.0/16" = "10.0.2.1" }
sysctl = { "net.ipv4.ip_forward" = 1 }
run = "sleep 1"
[routers.red]
ports = { eth0 = "10.0.1.1/24", eth1 = "10.1.0.1/30" }
routes = { "10.0.2.0/24" = "10.1.0.2" }
[routers.blue]
config = "FromDevice(eth0) -> Print($eth0_ip/$eth1_net/$eth0_mac) -> ToDevice(eth1);"
ports = { eth0 = { address = "10.1.0.2/30" }, eth1 = "10.0.2.1/24" }
[[checks]]
host = "h1"
command = "ping -c 1 10.0.2.2"
within = "5s"
"""


def load(tmp_path, text):
    file = tmp_path / "lab.toml"
    file.write_text(text)
    return load_lab(file)


def problems(tmp_path, text):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    return caught.value.problems


def test_routers_and_links_become_a_platform(tmp_path):
    lab = load(tmp_path, GOOD)
    nics, routers = lab.model.nics, lab.model.routers
    assert list(nics) == ["red-eth0", "red-eth1", "blue-eth0", "blue-eth1"]
    assert nics["red-eth1"].links == (Cable("blue-eth0"),) and nics["blue-eth0"].links == (Cable("red-eth1"),)
    (out,) = nics["blue-eth1"].links
    assert (out.netns, out.name, out.mtu) == ("lab-h2", "eth0", 1400)
    assert routers["red"].names == {"eth0": "red-eth0", "eth1": "red-eth1"}
    assert routers["red"].ports["red-eth0"].mac == lab.links[0].mac(lab.links[0].ends[1]) == 0x024C00000002
    # A router without a config forwards; one with a config finds its addresses in variables.
    assert {"RadixIPLookup", "ICMPPingResponder"} <= {node.cls.__name__ for node in routers["red"].graph.nodes}
    assert routers["blue"].graph.nodes[1].config == "10.1.0.2/10.0.2.1/24/02:4c:00:00:00:04"
    assert lab.hosts["h2"].ipv6 and not lab.hosts["h1"].ipv6
    assert lab.hosts["h2"].run == ("sleep 1",) and lab.hosts["h2"].sysctls == {"net.ipv4.ip_forward": "1"}
    assert lab.checks[0].name == "ping -c 1 10.0.2.2" and lab.checks[0].within_s == 5.0


def test_the_graph_fits_80_columns_and_names_each_end(tmp_path):
    lab = load(tmp_path, GOOD)
    text = as_text(lab)
    assert max(map(len, text.splitlines())) <= 80
    assert "  eth0  10.0.2.2/24  -- blue:eth1  10.0.2.1/24  mtu 1400" in text.splitlines()
    dot = as_dot(lab)
    assert dot.count(" -- ") == 3 and '"blue" -- "h2" [taillabel="eth1", headlabel="eth0", label="mtu 1400"];' in dot


@pytest.mark.parametrize(
    ("change", "line", "column", "message"),
    [
        (('"h1:eth0", "red', '"h9:eth0", "red'), 3, 4, "there is no host or router 'h9'; there are h1, h2, red, blue"),
        (('"h1:eth0", "red', '"h1", "red'), 3, 4, 'must be NODE:PORT, as in "h1:eth0"'),
        (('["red:eth1", "b', '["red:eth0", "b'), 4, 4, "red:eth0 has a link already"),
        (('"blue:eth1", "h2:eth0"', '"blue:eth1"'), 5, 3, 'a link is ["NODE:PORT", "NODE:PORT"]'),
        (("mtu = 1400", "mtu = 10"), 5, 30, "mtu: must be an integer from 68"),
        (("mtu = 1400", "delai = 1"), 5, 30, "unknown key 'delai'"),
        (('"10.0.1.2/24"', '"10.0.1.2"'), 8, 1, "must be the address of a host with its prefix"),
        (('"10.0.1.2/24"', '"10.0.1.0/24"'), 8, 1, "the network's own address"),
        (('"10.0.1.2/24"', '"10.0.2.1/24"'), 20, 47, "10.0.2.1 is the address of 'h1', too"),
        (('gateway = "10.0.1.1"', 'gateway = "10.0.3.1"'), 9, 1, "gateway 10.0.3.1 is not in a network of host 'h1'"),
        (("gateway =", "gatewy ="), 9, 1, "unknown key 'gatewy' in hosts.h1; did you mean gateway?"),
        (('"net.ipv4.ip_forward"', '"kernel.panic"'), 13, 1, "no setting of a network namespace"),
        (('eth1 = "10.1.0.1/30"', 'eth7 = "10.1.0.1/30"'), 16, 33, "router 'red' has no link at port 'eth7'"),
        (('= "10.1.0.2" }', '= "10.7.0.2" }'), 17, 12, "gateway 10.7.0.2 is not in a network of router 'red'"),
        (("FromDevice(eth0)", "FromDevice(eth4)"), 19, 11, "there is no port 'eth4'; did you mean eth"),
        (("[hosts.h2]", "[hosts.red]"), 10, 2, "'red' is a router, too"),
        (('host = "h1"\ncommand', 'host = "h5"\ncommand'), 22, 1, "host: must be 'h1' or 'h2', not 'h5'"),
        (('command = "ping -c 1 10.0.2.2"\n', ""), 21, 3, "a check needs 'command'"),
    ],
)
def test_a_mistake_has_its_position(tmp_path, change, line, column, message):
    found = problems(tmp_path, GOOD.replace(*change, 1))
    said = [(p.where.line, p.where.column, p.message) for p in found]
    assert any(message in text and (line, column) == (at, left) for at, left, text in said), said


def test_ends_in_different_networks_are_a_mistake_and_all_mistakes_are_said_at_once(tmp_path):
    text = GOOD.replace('"10.0.1.2/24"', '"10.0.7.2/24"').replace("Print(", "Prnt(")
    said = [str(p) for p in problems(tmp_path, text)]
    assert len(said) == 3
    assert any("h1:eth0 (10.0.7.2/24) and red:eth0 (10.0.1.1/24) are in different networks" in one for one in said)
