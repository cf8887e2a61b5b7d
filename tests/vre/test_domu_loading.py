# SPDX-License-Identifier: MIT
"""What cannot be loaded into a domU, or is no domU that can be: refused, or quarantined without harm to others."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

import vre
from tests.vre.platforms import (
    assert_accounts,
    forward,
    needs_jail,
    platform,
    wait_for,
)
from vre.domu.lifecycle import DomuLifecycle
from vre.domu.policy import (
    MAX_RESTARTS,
)
from vre.domu.zygote import _KEEP
from vre.errors import ConfigError, PlatformError

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
pytestmark = needs_jail


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot read"),
        ("class Y:\n    pass\n", "has no class X; it has Y"),
        ("class X:\n  def push(self: pass\n", "not Python"),
        ("class X:\n    pass\n", "with none of process, push and batch"),
    ],
)
def test_an_element_whose_text_is_wrong_starts_nothing(tmp_path, text, message):
    file = tmp_path / "x.py"
    if text is not None:
        file.write_text(text)
    with platform() as box, pytest.raises(ConfigError, match=message):
        box.router("red", forward(f"Untrusted({file}:X)"), domu=vre.Domu(start_s=2.0))
        box.start()


FALSE_STARTS = {
    "raises": (
        "raise RuntimeError('no')\nclass X:\n    push = None\n",
        r"cannot load .*RuntimeError: no \(raises\.py:1\)",
    ),
    "ends": ("import os\nos._exit(5)\nclass X:\n    push = None\n", "exited with status 5"),
    "hangs": ("while True: pass\nclass X:\n    push = None\n", "was not ready after 0.5 s"),
    "grows": (
        "class X:\n    def __init__(self):\n        self.x = bytearray(1 << 32)\n    def push(self, p): pass\n",
        r"MemoryError:  \(grows\.py:3\)",
    ),
    "leaves": (
        "class X:\n    def __init__(self):\n        raise SystemExit(4)\n    def push(self, p): pass\n",
        "SystemExit: 4",
    ),
    "attacks": ("import ctypes\nctypes.CDLL(None).ptrace(0, 0, 0, 0)\nclass X:\n    push = None\n", "attacker"),
    "blames_the_host": (
        "import os\nos.write(3, b'{\"unjailed\": \"x\"}')\nraise KeyError('mine')\nclass X:\n    push = None\n",
        "cannot load its elements: KeyError: 'mine'",
    ),
}


def test_routers_whose_elements_cannot_be_loaded_are_quarantined_and_the_others_run(tmp_path):
    with platform(rate=50_000) as box:
        blue = box.router("blue", "FromDevice(eth0) -> ToDevice(eth1);")
        for name, (text, _) in FALSE_STARTS.items():
            (tmp_path / f"{name}.py").write_text(text)
            untrusted = f"Untrusted({tmp_path / name}.py:X)"
            box.router(name, forward(untrusted), domu=vre.Domu(start_s=0.5, memory=64 << 20))
        box.start()
        for name, (_, message) in FALSE_STARTS.items():
            assert any(re.search(f"^router {name}: its domU .*{message}", event) for event in box.events), (
                name,
                [*box.events],
            )
        before = blue.stats().forwarded
        domus = box.parts.domus.domus
        quarantined = re.compile("router ([a-z_]+): its domU .*; quarantined ")
        # Who was so first may have been let out by the time that the last one is.
        wait_for(box, lambda: {found[1] for found in map(quarantined.match, box.events) if found} == {*FALSE_STARTS})
        assert all(domus[name].policy.restarts >= MAX_RESTARTS for name in FALSE_STARTS if name != "attacks")
        assert blue.stats().forwarded > before
        box.pause()
        box.halt()
        assert_accounts(box)
        assert all(box.handle(name).stats().dropped["domu_down"] > 0 for name in FALSE_STARTS)


def test_last_words_count_though_they_are_heard_late(tmp_path, monkeypatch):
    (tmp_path / "x.py").write_text("raise RuntimeError('no')\nclass X: push = None\n")
    look, last = DomuLifecycle.look, 0.0

    def seldom(self):
        nonlocal last
        if time.monotonic() - last > 0.5:
            last = time.monotonic()
            look(self)

    monkeypatch.setattr(DomuLifecycle, "look", seldom)
    with platform() as box:
        box.router("red", forward(f"Untrusted({tmp_path}/x.py:X)"))
        box.start()
        assert any("cannot load its elements: RuntimeError: no" in event for event in box.events), box.events


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('domu = { memory = "1M" }', "must be from 64M to 1024G"),
        ('domu = { deadline = "1us" }', "must be from 1ms to 10s"),
        ("domu = { core = 7 }", "there is no core 7: the platform has 1, from 0"),
        ('domu = { memroy = "1G" }', "did you mean memory"),
        ('deadline = "1h"', "must be from 1ms to 10s"),
    ],
)
def test_a_domu_that_cannot_be_is_refused_with_its_place(tmp_path, table, message):
    file = tmp_path / "lab.toml"
    file.write_text(f'[nics.eth0]\n[routers.red]\nconfig = "FromDevice(eth0) -> Discard;"\n{table}\n')
    done = subprocess.run([sys.executable, "-m", "vre", "check", str(file)], capture_output=True, text=True)
    assert done.returncode == 2 and message in done.stderr and "lab.toml:4" in done.stderr


def test_a_tier_that_the_host_cannot_give_is_refused(tmp_path, monkeypatch):
    (tmp_path / "libseccomp.so.2").write_text("no library")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    monkeypatch.setattr("vre.domu.zygote._KEEP", (*_KEEP, "LD_LIBRARY_PATH"))
    with platform() as box, pytest.raises(PlatformError, match="--unsafe-trust-elements"):
        box.router("red", forward(f"Untrusted({EXAMPLES}/scrub.py:Scrub)"))
        box.start()
