# SPDX-License-Identifier: MIT
"""The compile cache: what is damaged is made anew, and without one everything still runs.

Each use is a process of its own, as Numba reads its settings once. The kernel is the smallest that there is.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.harness import Bench
from workers.compiler.cache import import_module

USE = """
import pathlib, sys
from workers.core.clock import read_ticks
from workers.compiler.compile import compile_kernel, warm
warm({"kernel-ticks": ("the clock", lambda: compile_kernel(read_ticks))}, print)
assert compile_kernel(read_ticks)() > 0
from tests.harness import Bench
with Bench("FromDevice(eth0) -> Counter -> ToDevice(eth1);") as bench:
    assert bench.through(bytes(60)) == [bytes(60)]
    bench.assert_sound()
"""


def use(cache):
    """Compile or load a kernel and a composed path with `cache`; return what was said."""
    done = subprocess.run(
        [sys.executable, "-c", USE], env=os.environ | {"VRE_CACHE": str(cache)}, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_what_is_damaged_is_made_anew(tmp_path):
    assert "compiling the clock (1 of 1)" in use(tmp_path)
    assert use(tmp_path) == "", "all is there"
    for keep in (0, 0.5):
        damaged = [f for f in tmp_path.rglob("*") if f.suffix in (".nbi", ".nbc", ".py")]
        assert {f.suffix for f in damaged} == {".nbi", ".nbc", ".py"}
        for file in damaged:
            os.truncate(file, int(file.stat().st_size * keep))
        use(tmp_path)
        assert use(tmp_path) in ("", "compiling the clock (1 of 1); this is done once\n")
        assert use(tmp_path) == "", "all is there again"


def full(folder):
    """Mount a full file system at `folder`; return whether that is possible here."""
    folder.mkdir()
    return (
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True).returncode == 0
    )


@pytest.mark.parametrize("kind", ["a file", "full", "another user's", "open to all"])
def test_without_a_cache_it_still_runs_and_says_so(tmp_path, kind):
    folder = tmp_path / "cache"
    if kind == "a file":
        folder.write_text("the user's")
    elif kind == "full" and not full(folder):
        pytest.skip("no file system can be mounted here: needs root")
    elif kind == "open to all":
        use(folder)
        next(folder.iterdir()).chmod(0o777)
    elif kind == "another user's":
        if os.geteuid():
            pytest.skip("needs root: a folder of another user's")
        use(folder)
        os.chown(next(folder.iterdir()), 65534, 65534)
    try:
        said = use(folder)
        assert said.startswith("compiling without a cache, at each start anew: ")
        assert "Errno" not in said and str(folder) in said
    finally:
        if kind == "full":
            subprocess.run(["umount", folder], check=True)
    assert kind != "a file" or folder.read_text() == "the user's"


def test_no_home_is_no_cache(monkeypatch):
    monkeypatch.delenv("VRE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/proc/nowhere")
    from workers.compiler.cache import why_no_cache

    assert why_no_cache()
    with Bench("FromDevice(eth0) -> Counter -> ToDevice(eth1);") as bench:
        assert import_module(bench.shape).__file__.startswith("<path_")
        assert bench.through(bytes(60)) == [bytes(60)]
        bench.assert_sound()
