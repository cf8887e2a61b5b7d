# SPDX-License-Identifier: MIT
"""Lines and faults of workers on their way to people, who may not be there."""

import os
import threading

from shm.intrinsics import load64
from shm.journal import FAULT, put
from shm.layout import CORE
from shm.manifest import CurrentManifest
from tests.harness import Bench
from tests.workers.frames import udp
from vre.supervision.journals import Journals
from vre.supervision.outlet import Outlet, to_stream


def test_the_same_fault_is_an_event_once_and_then_counted():
    events, lines = [], []
    with Bench("FromDevice(eth0) -> c :: Counter -> Print(x) -> Discard;") as b:
        journals = Journals(CurrentManifest(b.manifest), events.append, lambda line, whose: lines.append((whose, line)))
        journal = load64(b.core + CORE["journal"])
        for i in range(25):
            put(journal, FAULT, 0, 1, f"IndexError: {i} is too many at counter.py:5")
        put(journal, FAULT, 0, 1, "KeyError: 1 at counter.py:9")
        while journals.look():
            pass
    assert events == [
        "router r: c: IndexError: 0 is too many at counter.py:5",
        "router r: c: IndexError: 9 is too many at counter.py:5 (10 times by now)",
        "router r: c: KeyError: 1 at counter.py:9",
    ]
    assert journals.faults[("r", "c", "IndexError")] == 25
    assert lines == []


def test_a_print_that_nobody_reads_costs_lines_and_no_packets():
    with Bench('FromDevice(eth0) -> Print("\x1b[2J", -1) -> ToDevice(eth1);') as b:
        b.heed = lambda: None
        frames = [udp(size=1442)] * 50
        assert b.through(*frames) + b.through(*frames) == frames * 2
        b.assert_sound()
        lines = []
        journals = Journals(CurrentManifest(b.manifest), lambda event: None, lambda line, whose: lines.append(line))
        while journals.look():
            pass
        assert 0 < len(lines) == 100 - journals.dropped()["r"]
        assert all(line.startswith("\\x1b[2J: 1442 | ") for line in lines)


def test_nobody_waits_for_a_reader_who_has_stopped():
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        outlet = Outlet(to_stream(stream))
        for _ in range(1000):
            outlet.say("z" * 10_000)
        assert outlet.dropped[""] > 800
        assert not outlet.finish(0.01)
        read = threading.Thread(target=lambda: [None for _ in iter(lambda: os.read(reader, 1 << 16), b"")])
        read.start()
        assert outlet.finish(60)
    read.join()
    os.close(reader)


def test_a_reader_who_has_gone_costs_lines():
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        outlet = Outlet(to_stream(stream))
        outlet.say("nobody is there")
        assert outlet.finish(60)
        assert outlet.dropped == {"": 1}
