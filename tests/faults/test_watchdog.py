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
import numpy as np

from shm.intrinsics import kernel
from vre.element import Argument, Element, integer

TABLE = np.arange(4)


@kernel
def loop_for_ever(state):
    while 0 <= state["limit"] < state["count"]:
        state["count"] += 1


class _Limited(Element):
    arguments = (Argument("LIMIT", integer, -1, live=True),)
    state = {"limit": "i8", "count": "i8"}


class Hangs(_Limited):
    """Loops for ever behind the first LIMIT packets, in a function that it calls: nobody counts its turns.

    Syntax: `Hangs(LIMIT)`
    """

    @staticmethod
    def process(state, packet):
        state["count"] += 1
        loop_for_ever(state)
        return 0


class Loops(_Limited):
    """Loops for ever behind the first LIMIT packets, itself.

    Syntax: `Loops(LIMIT)`
    """

    @staticmethod
    def process(state, packet):
        state["count"] += 1
        while 0 <= state["limit"] < state["count"]:
            for _ in range(10):
                state["count"] += 1
        return 0


class Overruns(_Limited):
    """Looks behind the end of a table of four, behind the first LIMIT packets.

    Syntax: `Overruns(LIMIT)`
    """

    @staticmethod
    def process(state, packet):
        state["count"] += 1
        if 0 <= state["limit"] < state["count"]:
            return TABLE[state["count"]] * 0
        return 0


class Naps(_Limited):
    """Sleeps for ever on the slow path behind the first LIMIT packets.

    Syntax: `Naps(LIMIT)`
    """

    @staticmethod
    def slow(state, packet, port, context):
        import time

        state["count"] += 1
        if 0 <= state["limit"] < state["count"]:
            time.sleep(1000)
        yield 0, packet
'''

RUN = """
import json, sys
import vre
from tests.vre.platforms import assert_accounts, wait_for, wait_for_packets

element, deadline = sys.argv[1], float(sys.argv[2])
with vre.Platform(cores=1, name=sys.argv[3]) as box:
    box.nic("eth0", link=vre.Generator(rate=20_000))
    box.nic("eth1")
    red = box.router("red", f"FromDevice(eth0) -> h :: {element}(-1) -> ToDevice(eth1);", deadline=deadline)
    blue = box.router("blue", "FromDevice(eth0) -> ToDevice(eth1);", ports={"eth0": {"mac": "02:00:00:00:00:09"}})
    box.start()
    box.tend(0.3)
    red.write("h.limit", "1")
    wait_for(box, lambda: box.parts.watchdog.quarantined)
    found = box.parts.watchdog.quarantined[0]
    before = blue.stats().forwarded
    while blue.stats().forwarded == before:
        box.parts.runtime.wait(0.0005)
    resumed = (box.now() - found.at) * 1e3
    wait_for_packets(box, 1001, blue)
    after = blue.stats().forwarded
    red.write("h.limit", "-1")
    stopped = red.stats().forwarded
    box.write("red.release", "1")
    wait_for_packets(box, 101, red)
    released = red.stats().forwarded - stopped
    box.pause()
    box.halt()
    assert_accounts(box)
    print(json.dumps({"path": found.path, "held_ms": found.held_ms, "resumed_ms": resumed, "after": after - before,
                      "released": released, "killed": red.stats().dropped.get("killed", 0), "events": list(box.events)}))
"""


def run_with_elements(folder, script, *arguments, elements=ELEMENT):
    """Run a script of a process where the elements above are installed; return what it prints as JSON."""
    (folder / "hanging_elements.py").write_text(elements)
    info = folder / "hanging_elements-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hanging-elements\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[vre.elements]\nhanging = hanging_elements\n")
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{folder}:{root}"}
    command = [sys.executable, "-c", script, *arguments, f"watchdog{os.getpid()}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, cwd=root)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


BOUNDED = """
import json, sys
import vre
from tests.vre.platforms import assert_accounts, wait_for, wait_for_packets

element = sys.argv[1]
with vre.Platform(cores=1, name=sys.argv[2]) as box:
    box.nic("eth0", link=vre.Generator(rate=2_000))
    box.nic("eth1")
    red = box.router("red", f"FromDevice(eth0) -> h :: {element}(-1) -> ToDevice(eth1);")
    blue = box.router("blue", "FromDevice(eth0) -> ToDevice(eth1);", ports={"eth0": {"mac": "02:00:00:00:00:09"}})
    box.start()
    box.tend(0.3)
    red.write("h.limit", "1")
    wait_for(box, lambda: sum(red.stats().dropped.values()) > 100)
    before = red.stats().forwarded, blue.stats().forwarded
    red.write("h.limit", "-1")
    wait_for_packets(box, 301, red, blue)
    box.pause()
    box.halt()
    assert_accounts(box)
    print(json.dumps({"dropped": red.stats().dropped, "events": list(box.events), "red": red.stats().forwarded - before[0],
                      "blue": blue.stats().forwarded - before[1]}))
"""


@pytest.mark.parametrize(("element", "reason"), [("Loops", "out_of_fuel"), ("Overruns", "failed")])
def test_a_mistake_in_an_element_of_others_costs_its_packet_and_no_process(tmp_path, element, reason):
    found = run_with_elements(tmp_path, BOUNDED, element)
    assert found["events"] == [] and list(found["dropped"]) == [reason] and found["dropped"][reason] > 100
    assert found["red"] > 300 and found["blue"] > 300


def test_compiled_code_goes_with_the_file_that_an_element_comes_from(tmp_path):
    script = "import sys, json; from vre.config.reader import from_text; print(json.dumps(from_text('Idle -> Loops(1) -> Discard;').shape.key()))"
    before = run_with_elements(tmp_path, script)
    (tmp_path / "again").mkdir()
    assert run_with_elements(tmp_path / "again", script, elements=ELEMENT + "# changed\n") != before


@pytest.mark.parametrize(("element", "deadline"), [("Hangs", 0.05), ("Naps", 0.05), ("Hangs", 0.005)])
def test_a_trusted_path_that_hangs_is_quarantined_and_its_core_goes_on(tmp_path, element, deadline, capsys):
    found = run_with_elements(tmp_path, RUN, element, str(deadline))
    with capsys.disabled():
        print(
            f"\n{element}: noticed after {found['held_ms']:.0f} ms, the others went on {found['resumed_ms']:.1f} ms later"
        )
    assert found["path"].startswith("FromDevice") and found["after"] > 1000 and found["released"] > 100
    assert found["killed"] > 0 and "has held core 0" in found["events"][0]
