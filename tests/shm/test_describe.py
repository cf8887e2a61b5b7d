# SPDX-License-Identifier: MIT
"""Segments described: live, and from a folder of copies."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from shm.inspect import Image, NotASegment, describe_paths
from tests.harness import Bench
from tests.workers.frames import udp


def test_live_and_copied_segments_read_alike(tmp_path):
    with Bench("FromDevice(eth0) -> q :: Queue(8) -> Unqueue -> ToDevice(eth1);") as bench:
        bench.send(udp(), udp())
        files = [Path("/dev/shm") / segment.name for segment in bench.builder.space.segments.values()]
        live = list(describe_paths(files))
        for file in files:
            shutil.copy(file, tmp_path)
        (tmp_path / "manifest.json").write_text(bench.manifest.to_json())
    assert any("core-0: core," in line for line in live)
    text = "\n".join(describe_paths([tmp_path]))
    assert "ring rx eth0 of r\n    head           2" in text
    assert "task r/FromDevice@1 on core 0" in text and "client of r" in text and "ring r/q.ring" in text


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "too short"), (bytes(4096), "is not a segment"), (None, "No such file")]
)
def test_other_files_are_refused(tmp_path, content, message):
    file = tmp_path / "x"
    if content is not None:
        file.write_bytes(content)
        with pytest.raises(NotASegment, match=message):
            Image(file)
    done = subprocess.run([sys.executable, "-m", "shm.inspect", str(file)], capture_output=True, text=True)
    assert done.returncode == 2 and message in done.stderr


def test_no_file_is_a_message():
    done = subprocess.run([sys.executable, "-m", "shm.inspect"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("usage: python -m shm.inspect FILE")
