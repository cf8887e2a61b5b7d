# SPDX-License-Identifier: MIT
"""Run directories: who owns one, what is removed after a death, and what is never touched."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shm.run_directory import LONGEST_NAME, RunDirectory, name_of, names, sweep
from shm.segment import Segment, SegmentError, claim_window, free_window


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A folder of run directories of this test's own."""
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("VRE_RUN", str(folder))
    return folder


def listed(folder):
    """Return everything below a folder, links not followed."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_run_directory_has_one_owner():
    one, other = RunDirectory("test-owner"), RunDirectory("test-owner")
    one.acquire()
    try:
        assert one.alive()
        with pytest.raises(SegmentError, match=r"is running.*--name"):
            other.acquire()
    finally:
        one.release()
    assert not one.path.exists()
    with pytest.raises(SegmentError, match="no platform named"):
        one.manifest()


def test_what_a_killed_process_leaves_the_next_command_removes():
    code = """
import os, time
from shm.run_directory import RunDirectory
from shm.segment import Segment, claim_window
d = RunDirectory("test-killed"); d.acquire()
Segment.create(d.prefix + "x", "probe", 4096, claim_window("x"))
print("ready", flush=True); time.sleep(60)
"""
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "ready\n"
    segment = f"/dev/shm/{RunDirectory('test-killed').prefix}x"
    assert os.path.exists(segment)
    assert sweep() == [], "a live platform is left alone"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert sweep() == ["test-killed"]
    assert not os.path.exists(segment)
    assert not RunDirectory("test-killed").path.exists()


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "a/b", "/tmp/results", "a\nb", "a\0b", "x" * 49, "\u00e9" * 25]
)
def test_what_cannot_be_a_name_is_refused(root, name):
    with pytest.raises(SegmentError, match="cannot be a platform's name"):
        RunDirectory(name)


@pytest.mark.parametrize("stem", ["lab", "lab.v2", "my lab", "x" * 120, ".toml", "\u00e9" * 120, "a\nb"])
def test_every_file_gives_a_platform_a_name(root, stem):
    name = name_of(Path(f"/somewhere/{stem}.toml"))
    assert len(os.fsencode(RunDirectory(name).name)) <= LONGEST_NAME
    assert name_of(Path("x" * 119 + "y.toml")) != name_of(Path("x" * 120 + ".toml"))


def test_folders_that_are_not_ours_are_neither_swept_nor_used(root):
    for name, files in {"src": ["main.py"], "docs": ["lock", "manifest.json"], "empty": []}.items():
        (root / name).mkdir()
        for file in files:
            (root / name / file).write_text("the user's")
    (root / "odd").mkdir()
    (root / "odd" / "lock").touch()
    os.mkfifo(root / "docs" / "control")
    before = listed(root)
    assert names() == sweep() == []
    for name in ("src", "docs"):
        with pytest.raises(SegmentError, match="was not made by vre and is not empty"):
            RunDirectory(name).acquire()
    assert listed(root) == before


def test_links_are_not_followed(root, tmp_path):
    victim = tmp_path / "victim"
    victim.mkdir()
    RunDirectory("donor").acquire()
    (victim / "lock").write_bytes((root / "donor" / "lock").read_bytes())
    (victim / "manifest.json").write_text("the user's")
    (root / "link").symlink_to(victim)
    (root / "inside").mkdir()
    (root / "inside" / "lock").symlink_to(victim / "lock")
    assert "link" not in names() and "inside" not in names()
    for name in ("link", "inside"):
        with pytest.raises(SegmentError):
            RunDirectory(name).acquire()
    assert listed(victim) == ["lock", "manifest.json"]


def test_a_root_that_others_can_change_is_not_used(tmp_path, monkeypatch):
    for mode, works in ((0o700, True), (0o777, False), (0o1777, True)):
        folder = tmp_path / f"{mode:o}"
        folder.mkdir()
        folder.chmod(mode)
        monkeypatch.setenv("VRE_RUN", str(folder))
        directory = RunDirectory("lab")
        if works:
            directory.acquire()
            directory.release()
        else:
            with pytest.raises(SegmentError, match="set VRE_RUN to a folder of your own"):
                directory.acquire()
    (tmp_path / "elsewhere").symlink_to(tmp_path / "700")
    monkeypatch.setenv("VRE_RUN", str(tmp_path / "elsewhere"))
    with pytest.raises(SegmentError, match="not a folder"):
        RunDirectory("lab").acquire()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: another user's directory")
def test_another_users_directory_is_not_used(root):
    (root / "lab").mkdir()
    os.chown(root / "lab", 65534, 65534)
    with pytest.raises(SegmentError, match="belongs to another user"):
        RunDirectory("lab").acquire()
    assert names() == []


def test_names_that_begin_alike_are_different_platforms(root):
    longer, shorter = RunDirectory("lab.v2"), RunDirectory("lab")
    base = claim_window("test")
    longer.acquire()
    segment = Segment.create(longer.prefix + "x", "probe", 4096, base)
    try:
        shorter.acquire()
        shorter.release()
        assert os.path.exists(f"/dev/shm/{segment.name}")
    finally:
        segment.detach()
        longer.release()
        free_window(base)
    assert not os.path.exists(f"/dev/shm/{segment.name}")


def test_what_somebody_put_into_a_run_directory_stays(root):
    directory = RunDirectory("lab")
    directory.acquire()
    (directory.path / "notes.txt").write_text("the user's")
    (directory.path / "groups").write_text(f"{root}/keep\n/sys/fs/cgroup/../../{root}/keep\n")
    (root / "keep").mkdir()
    directory.release()
    assert listed(root) == ["keep", "lab", "lab/notes.txt"]


def test_a_damaged_manifest_is_no_running_platform(root):
    directory = RunDirectory("lab")
    directory.acquire()
    (directory.path / "manifest.json").write_bytes(b"\xff{")
    with pytest.raises(SegmentError, match="no platform named 'lab' is running"):
        directory.manifest()
    directory.release()


def test_a_file_system_without_room_is_said_and_keeps_nothing(root):
    directory, before = RunDirectory("full"), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        with pytest.raises(SegmentError, match="cannot use the run directory"):
            directory.acquire()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert listed(root) == []
    directory.acquire()
    directory.release()
