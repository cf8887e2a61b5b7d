# SPDX-License-Identifier: MIT
"""Paths that end their workers, time and again: they lose their paths, and nobody else loses anything."""

from __future__ import annotations

from tests.faults.test_watchdog import run_with_elements

ELEMENTS = '''# Elements that end the process that they run in.
import os
import signal
from pathlib import Path

from vre.element import Argument, Element, integer


class Ends(Element):
    """Ends its worker, on the slow path, while LIMIT is 1: each time in another way.

    Syntax: `Ends(LIMIT)`
    """

    arguments = (Argument("LIMIT", integer, 0, live=True),)
    state = {"limit": "i8", "count": "i8"}

    @staticmethod
    def slow(state, packet, port, context):
        if state["limit"]:
            state["count"] += 1
            ways = (signal.SIGKILL, signal.SIGSEGV, signal.SIGPROF, None)
            way = ways[int(state["count"]) % len(ways)]
            if way is None:
                os._exit(3)
            signal.signal(way, signal.SIG_DFL) if way != signal.SIGKILL else None
            os.kill(os.getpid(), way)
        yield 0, packet


class Raises(Element):
    """Raises on the slow path.

    Syntax: `Raises`
    """

    @staticmethod
    def slow(state, packet, port, context):
        raise ValueError("[bold]no\\x1b")


class Breaks(Element):
    """Has no slow path in a worker's process.

    Syntax: `Breaks`
    """

    @classmethod
    def layout(cls):
        if Path("/proc/self/comm").read_text().startswith("vre-core"):
            raise RuntimeError("not here")
        return super().layout()

    @staticmethod
    def slow(state, packet, port, context):
        yield 0, packet
'''

RUN = """
import json, sys, time
import vre
from tests.vre.platforms import assert_accounts, wait_for_packets

with vre.Platform(cores=1, name=sys.argv[1]) as box:
    box.nic("eth0", link=vre.Generator(rate=20_000))
    box.nic("eth1")
    for i, (name, element) in enumerate({"red": "Ends(0)", "green": "Breaks", "grey": "Raises", "blue": "Null"}.items()):
        box.router(name, f"FromDevice(eth0) -> e :: {element} -> ToDevice(eth1);", ports={"eth0": {"mac": f"02:00:00:00:00:0{i + 1}"}})
    box.start()
    deaths, quarantines = -box.reader.cores()[0]["restarts"], 0
    began = time.monotonic()
    box.handle("red").write("e.limit", "1")
    while deaths + box.reader.cores()[0]["restarts"] < 25 and time.monotonic() - began < 60:
        if any(found.router == "red" for found in box.parts.watchdog.quarantined):
            quarantines += 1
            box.write("red.release", "1")
        box.tend(0.002)
    deaths += box.reader.cores()[0]["restarts"]
    box.handle("red").write("e.limit", "0")
    box.write("red.release", "1")
    before = {name: box.handle(name).stats().forwarded for name in ("red", "blue")}
    wait_for_packets(box, 101, box.handle("red"), box.handle("blue"))
    after = {name: box.handle(name).stats().forwarded - count for name, count in before.items()}
    box.pause()
    box.halt()
    assert_accounts(box)
    print(json.dumps({"deaths": deaths, "quarantines": quarantines, "after": after, "events": list(box.events),
                      "still": [found.router for found in box.parts.watchdog.quarantined],
                      "grey": box.handle("grey").stats().dropped, "blue": box.handle("blue").stats().dropped}))
"""


def test_twenty_five_workers_that_a_path_ends_cost_the_path_and_never_the_platform(tmp_path):
    found = run_with_elements(tmp_path, RUN, elements=ELEMENTS)
    assert found["deaths"] >= 25 and found["quarantines"] >= 6
    assert found["still"] == ["green"], "its slow path cannot be had, and only its own path is lost for that"
    assert all(count > 100 for count in found["after"].values()), found["after"]
    assert set(found["blue"]) <= {"rx_ring_full", "tx_ring_full"}, "nothing but what its rings could not hold"
    assert any("router green: path" in event and "3 times" in event for event in found["events"]), found["events"]
    assert any("in router red, path" in event for event in found["events"])
    assert found["grey"]["raised"] > 10 and set(found["grey"]) <= {
        "raised",
        "rx_ring_full",
        "killed",
        "slow_path_full",
    }
    told = [event for event in found["events"] if "router grey: e: ValueError: " in event]
    assert 2 <= len(told) <= 7 and "(hanging_elements.py:" in told[0], "the 1st, 10th, 100th ... time"
