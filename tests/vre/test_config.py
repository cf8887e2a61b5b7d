# SPDX-License-Identifier: MIT
"""Platform files: every mistake with its place, and all of them at once."""

from __future__ import annotations

import pytest

from vre.config.reader import load_model
from vre.errors import ConfigError

GOOD = """
[platform]
cores = 2
[nics.eth0]
link = { rate = "1Mpps", size = "imix", count = 1000 }
[nics.eth1]
[routers.red]
entitlement = "60%"
config = "FromDevice(eth0) -> Counter -> ToDevice(eth1);"
ports = { eth0 = { mac = "02:00:00:00:00:01" } }
"""


def load(tmp_path, text):
    file = tmp_path / "lab.toml"
    file.write_text(text)
    return load_model(file)


def problems(tmp_path, text):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    return caught.value.problems


def test_a_good_file(tmp_path):
    model = load(tmp_path, GOOD)
    assert (model.name, model.cores) == ("lab", 2)
    red = model.routers["red"]
    assert (red.entitlement, red.ports["eth0"].mac) == (60.0, 0x020000000001)
    assert red.ports["eth1"].mac >> 40 == 2, "a port without a MAC gets a locally administered one"
    link = model.nics["eth0"].links[0]
    assert (link.rate, link.size, link.count) == (1e6, "imix", 1000)


@pytest.mark.parametrize(
    ("change", "line", "message"),
    [
        (("cores = 2", "cores = 0"), 3, "cores: must be an integer from 1 to 256"),
        (("cores = 2", "corse = 2"), 3, "unknown key 'corse' in platform; did you mean cores?"),
        (('"1Mpps"', '"fast"'), 5, "rate: 'fast' is not a rate"),
        (('size = "imix"', "size = 9000"), 5, "size: must be from 64 to 2052"),
        (('"60%"', "-1"), 8, "entitlement: must be a positive weight"),
        (("ToDevice(eth1)", "ToDevice(eth9)"), 9, "there is no port 'eth9'; did you mean eth1"),
        (("Counter", "Conter"), 9, "unknown element class 'Conter'; did you mean Counter"),
        (('"02:00:00:00:00:01"', '"01:00:00:00:00:01"'), 10, "is a group address"),
        (("[routers.red]", "[routers.red"), 7, "not TOML"),
        (("-> Counter ->", "-> t :: Tee(2); t[1] -> Discard; FromDevice(eth0) -> Discard; t ->"), 9, "port 'eth0' is used twice"),
        (("cores = 2", "cores = 2\nclock = \"sundial\""), 4, "clock: must be 'auto' or 'wall' or 'cpu'"),
        (('count = 1000 }', 'count = 1000, pcap = "gone.pcap" }'), 5, "there is no file"),
    ],
)  # fmt: skip
def test_mistakes_have_their_place(tmp_path, change, line, message):
    found = problems(tmp_path, GOOD.replace(*change))
    assert any(message in p.message and p.where and p.where.line == line for p in found), [str(p) for p in found]


def test_all_mistakes_at_once_and_places_inside_a_configuration(tmp_path):
    text = GOOD.replace("cores = 2", "cores = 0").replace("-> Counter", "-> Paint(999)").replace('"60%"', "0")
    found = problems(tmp_path, text)
    assert len(found) == 3
    place = next(p.where for p in found if "999" in p.message)
    assert text.splitlines()[place.line - 1][place.column - 1 :].startswith("999")


def test_multi_line_configurations_keep_their_lines(tmp_path):
    text = GOOD.replace(
        '"FromDevice(eth0) -> Counter -> ToDevice(eth1);"', '"""\nFromDevice(eth0)\n  -> Nope -> ToDevice(eth1);\n"""'
    )
    place = problems(tmp_path, text)[0].where
    assert text.splitlines()[place.line - 1][place.column - 1 :].startswith("Nope")


def test_two_routers_claiming_one_mac(tmp_path):
    blue = GOOD[GOOD.index("[routers.red]") :].replace("red", "blue")
    found = problems(tmp_path, GOOD + blue)
    assert "routers 'red' and 'blue' both claim MAC 02:00:00:00:00:01 on port 'eth0'" in found[0].message
    load(tmp_path, GOOD + blue.replace('01" }', '01", vlan = 7 }').replace("60%", "40%"))


@pytest.mark.parametrize(("name", "message"), [("missing.toml", "cannot read"), (".", "cannot read")])
def test_files_that_cannot_be_read(tmp_path, name, message):
    with pytest.raises(ConfigError, match=message):
        load_model(tmp_path / name)


def test_no_routers(tmp_path):
    assert "no routers" in problems(tmp_path, "[platform]\ncores = 1\n")[0].message


def test_a_router_may_have_a_name_of_its_own_for_a_port(tmp_path):
    text = GOOD.replace("ports = { eth0 = {", 'ports = { wan = { nic = "eth1" }, lan = { nic = "eth0",')
    text = text.replace("FromDevice(eth0)", "FromDevice(lan)").replace("ToDevice(eth1)", "ToDevice(wan)")
    red = load(tmp_path, text).routers["red"]
    assert [n.values["devname"] for n in red.graph.nodes if n.cls.is_port] == ["eth0", "eth1"]
    assert red.ports["eth0"].mac == 0x020000000001 and red.names == {"wan": "eth1", "lan": "eth0"}
    (one,) = problems(tmp_path, text.replace("ToDevice(wan)", "ToDevice(wam)"))
    assert "there is no port 'wam'; did you mean wan?" in one.message
    (one,) = problems(tmp_path, text.replace('nic = "eth1"', 'nic = "eth0"').replace("ToDevice(wan)", "ToDevice(lan)"))
    assert "another port of 'red' is port 'eth0' already" in one.message and one.where.line == 10
