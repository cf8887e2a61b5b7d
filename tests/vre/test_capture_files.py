# SPDX-License-Identifier: MIT
"""Which files captures may be written to."""

import os

import pytest

import vre
from tests.workers.test_capture_reader import pcap
from vre.config.captures import allow_overwriting, clashes, obstacles
from vre.config.model import Capture, Model, Nic, Replay
from vre.errors import ConfigError


def model(*links):
    found = Model("files")
    found.nics = {f"eth{i}": Nic(f"eth{i}", (link,)) for i, link in enumerate(links)}
    return found


@pytest.mark.parametrize("other", ["x.pcap", "./x.pcap", "link", "name"])
def test_a_file_that_is_replayed_is_never_captured_to(tmp_path, monkeypatch, other):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.pcap").write_bytes(pcap())
    os.symlink("x.pcap", "link")
    os.link("x.pcap", "name")
    found = list(clashes(model(Replay("x.pcap"), Capture(other, overwrite=True))))
    assert len(found) == 1 and found[0][0] == "eth1" and "would overwrite it" in found[0][1]


def test_two_ports_have_two_files_but_for_devices(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.symlink("new", "link")
    assert not list(clashes(model(Capture("/dev/null"), Capture("/dev/null"), Capture("new"), Capture("other"))))
    assert len(list(clashes(model(Capture("new"), Capture("link"))))) == 1


def test_what_exists_is_replaced_only_where_that_is_said(tmp_path):
    (tmp_path / "old").write_text("somebody's work")
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "fifo")
    links = [Capture(str(tmp_path / name)) for name in ("old", "empty", "fifo", "new")]
    found = model(*links)
    assert [(nic, "exists" in message) for nic, message in obstacles(found)] == [("eth0", True)]
    allow_overwriting(found)
    assert not list(obstacles(found))
    assert [nic for nic, _ in obstacles(model(Capture(str(tmp_path)), Capture(str(tmp_path / "none" / "x"))))] == [
        "eth0",
        "eth1",
    ]


def test_a_platform_does_not_start_over_somebodys_file(tmp_path):
    (tmp_path / "old").write_text("somebody's work")
    box = vre.Platform()
    box.nic("eth0", link=vre.Generator(rate=1000))
    box.nic("eth1", link=vre.Capture(str(tmp_path / "old")))
    box.router("red", "FromDevice(eth0) -> ToDevice(eth1);")
    with pytest.raises(ConfigError, match=r"nics.eth1.link: .*old exists"):
        box.start()
    assert (tmp_path / "old").read_text() == "somebody's work"
