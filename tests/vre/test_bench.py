# SPDX-License-Identifier: MIT
"""Benchmarks run, at smoke size, so that they cannot rot. Nothing is said about their figures."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from vre.errors import PlatformEnded

ROOT = Path(__file__).resolve().parents[2]


def test_the_whole():
    done = subprocess.run(
        [sys.executable, "-m", "vre", "bench", "--seconds", "0.3", "--json"],
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    keys = {"raw_ring_mpps", "minimal_mpps", "rfc1812_mpps", "rfc1812_1024_mpps", "rfc1812_imix_mpps", "decision_ns"}
    for key in keys:
        assert set(result[key]) == {"median", "spread", "samples"} and result[key]["median"] > 0
    assert set(result["routers_mpps"]) == {"1", "2", "4", "16", "64"}


@pytest.mark.parametrize("piece", ["ring", "checksum: IP", "fib", "scheduler", "path: none", "path: PaintTee"])
def test_the_pieces(piece):
    command = [sys.executable, str(ROOT / "benchmarks" / "pieces.py"), "--debug-single-value", "--only", piece]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, cwd="/")
    assert done.returncode == 0, done.stderr
    # pyperf's one line for a single value, as in "ring: push and pop: 12.3 ns".
    assert re.search(rf"^{piece}.*: \d[\d.]* (ns|us|ms|sec)$", done.stdout, re.MULTILINE), done.stdout


def test_a_round_in_which_the_host_had_no_time_says_nothing_of_ratios():
    from vre.bench.throughput import _ratio

    samples = {"some": [1.0, 2.0, 3.0], "all": [2.0, 0.0, 6.0], "none": [0.0, 0.0, 0.0]}
    assert _ratio(samples, "some", "all")["samples"] == [0.5, 0.5]
    with pytest.raises(PlatformEnded, match="too busy"):
        _ratio(samples, "some", "none")
