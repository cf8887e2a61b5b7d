# SPDX-License-Identifier: MIT
"""The manifest: what a platform writes, another process reads, if it is of the same version."""

from __future__ import annotations

import json

import pytest

from shm.manifest import VERSION, Manifest, VersionError
from shm.run_directory import RunDirectory
from shm.segment import SegmentError
from tests.harness import Bench


def test_a_manifest_is_read_as_it_was_written():
    with Bench("FromDevice(eth0) -> q :: Queue(8) -> Unqueue -> ToDevice(eth1);", beside="Idle -> Discard;") as bench:
        read = Manifest.from_json(bench.manifest.to_json())
        assert read == bench.manifest and read.version == VERSION
        bench.directory.write_manifest(bench.manifest)
        assert RunDirectory(bench.model.name).manifest() == bench.manifest


def test_another_version_is_refused_before_anything_else_is_looked_at():
    for plain, version in (({"version": VERSION + 1, "cores": "many"}, VERSION + 1), ({}, None), ([], None)):
        with pytest.raises(VersionError, match=f"its manifest has version {version}, this is {VERSION}"):
            Manifest.from_json(json.dumps(plain))


def test_a_platform_of_another_version_is_said_to_be_one(monkeypatch, tmp_path):
    monkeypatch.setenv("VRE_RUN", str(tmp_path))
    directory = RunDirectory("lab")
    directory.acquire()
    (directory.path / "manifest.json").write_text('{"version": 0}')
    with pytest.raises(SegmentError, match="platform 'lab' is not of this version of vre"):
        directory.manifest()
    directory.release()
