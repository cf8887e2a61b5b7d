# SPDX-License-Identifier: MIT
"""A trusted element that loops for ever: its path is quarantined, its core goes on without it.

It comes as trusted elements of others come: from an installed package with an entry point.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ELEMENT = '''# An element that hangs once its handler says so.
from vre.element import Argument, Element, integer


class Hangs(Element):
    """Loops for ever behind the first LIMIT packets.

    Syntax: `Hangs(LIMIT)`
    """

    arguments = (Argument("LIMIT", integer, -1, live=True),)
    state = {"limit": "i8", "count": "i8"}

    @staticmethod
    def process(state, packet):
        state["count"] += 1
        while 0 <= state["limit"] < state["count"]:
            state["count"] += 1
        return 0


class Naps(Element):
    """Sleeps for ever on the slow path behind the first LIMIT packets.

    Syntax: `Naps(LIMIT)`
    """

    arguments = (Argument("LIMIT", integer, -1, live=True),)
    state = {"limit": "i8", "count": "i8"}

    @staticmethod
    def slow(state, packet, port, context):
        import time

        state["count"] += 1
        if 0 <= state["limit"] < state["count"]:
            time.sleep(1000)
        yield 0, packet
'''

RUN = """
import json, sys, time
import vre
from tests.vre.helpers import assert_accounts

element, deadline = sys.argv[1], float(sys.argv[2])
with vre.Platform(cores=1, name=sys.argv[3]) as box:
    box.nic("eth0", link=vre.Generator(rate=20_000))
    box.nic("eth1")
    red = box.router("red", f"FromDevice(eth0) -> h :: {element}(-1) -> ToDevice(eth1);", deadline=deadline)
    blue = box.router("blue", "FromDevice(eth0) -> ToDevice(eth1);", ports={"eth0": {"mac": "02:00:00:00:00:09"}})
    box.start()
    box.tend(0.3)
    red.write("h.limit", "1")
    end = time.monotonic() + 5
    while not box.watchdog.quarantined and time.monotonic() < end:
        box.tend(0.005)
    found = box.watchdog.quarantined[0]
    begun, before = time.monotonic(), blue.stats().forwarded
    while blue.stats().forwarded == before and time.monotonic() < end:
        box.wait(0.0005)
    resumed = (time.monotonic() - begun) * 1e3
    box.tend(0.3)
    after = blue.stats().forwarded
    red.write("h.limit", "-1")
    stopped = red.stats().forwarded
    box.write("red.release", "1")
    box.tend(0.3)
    released = red.stats().forwarded - stopped
    box.pause()
    box.halt()
    assert_accounts(box)
    print(json.dumps({"path": found.path, "held_ms": found.held_ms, "resumed_ms": resumed, "after": after - before,
                      "released": released, "killed": red.stats().dropped.get("killed", 0), "events": list(box.events)}))
"""


@pytest.mark.parametrize(("element", "deadline"), [("Hangs", 0.05), ("Naps", 0.05), ("Hangs", 0.005)])
def test_a_trusted_path_that_hangs_is_quarantined_and_its_core_goes_on(tmp_path, element, deadline, capsys):
    (tmp_path / "hanging_elements.py").write_text(ELEMENT)
    info = tmp_path / "hanging_elements-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hanging-elements\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[vre.elements]\nhanging = hanging_elements\n")
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{root}"}
    command = [sys.executable, "-c", RUN, element, str(deadline), f"watchdog{os.getpid()}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, cwd=root)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    with capsys.disabled():
        print(
            f"\n{element}: noticed after {found['held_ms']:.0f} ms, the others went on {found['resumed_ms']:.1f} ms later"
        )
    assert found["path"].startswith("FromDevice") and found["after"] > 1000 and found["released"] > 100
    assert found["killed"] > 0 and "has held core 0" in found["events"][0]
