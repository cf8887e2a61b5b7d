# SPDX-License-Identifier: MIT
"""Which process has which core, by the counts in shared memory; the ends of children are noticed once."""

import ctypes
import os
import select
import signal
from types import SimpleNamespace

import pytest

from shm.intrinsics import load64, store64
from shm.layout import CORE
from shm.wire_layout import CAPTURE, WIRE
from vre.config.captures import KILLED
from vre.supervision.capture_writers import CaptureWriters
from vre.supervision.children import Children
from vre.supervision.incarnations import Incarnations
from vre.supervision.restart_policy import Supervisor


@pytest.fixture
def known():
    """Return the incarnations of one core and a wire, core process 10 being the first, 11 the next; wires 20 and 21."""
    held = [ctypes.create_string_buffer(layout.size) for layout in (CORE, WIRE)]
    core, wire = map(ctypes.addressof, held)
    cores = [SimpleNamespace(address=core, nic=False), SimpleNamespace(address=0, nic=True)]
    manifest = SimpleNamespace(cores=cores, wire=SimpleNamespace(address=wire), held=held)
    made = Incarnations(SimpleNamespace(now=manifest), Supervisor(cores={10: 0, 11: 0}, wires={20, 21}))
    made.numbers |= {10: 1, 11: 2, 20: 1, 21: 2}
    store64(core + CORE["incarnation"], 1)
    store64(wire + WIRE["incarnation"], 1)
    return made


def test_a_core_is_held_until_it_has_been_handed_over(known):
    core = known.cores[0]
    store64(core + CORE["pid"], 10)
    assert known.pid(0) == known.holder(0) == 10
    store64(core + CORE["incarnation"], 2)
    assert (known.pid(0), known.holder(0)) == (11, 10)
    store64(core + CORE["pid"], 11)
    assert known.pid(0) == known.holder(0) == 11


def test_the_core_of_the_nic_has_no_process(known):
    assert known.cores == [known.cores[0]] and known.pid(1) == known.holder(1) == 0


def test_a_wire_that_has_ended_is_followed_by_the_next(known):
    store64(known.wire + WIRE["pid"], 20)
    assert known.wire_holder() == 20
    del known.numbers[20]
    known._supervisor.wires.discard(20)
    assert known.wire_holder() == 0
    store64(known.wire + WIRE["incarnation"], 2)
    assert known.wire_holder() == 21


def test_standbys_are_those_whose_turn_has_not_come(known):
    core, wire = known.cores[0] + CORE["standby"], known.wire + WIRE["standby"]
    assert known.standbys() == [(11, core), (21, wire)] and known.is_standby_of_wire(21)
    store64(known.cores[0] + CORE["incarnation"], 2)
    assert known.standbys() == [(21, wire)]


def test_each_end_is_noticed_once():
    children, pids = Children(select.poll()), []
    for status in (0, 3):
        pid = os.fork()
        if pid == 0:
            os._exit(status)
        pids.append(pid)
        children.watch(pid)
    found = {}
    while len(found) < 2:
        found |= dict(children.ended())
    assert found == {pids[0]: 0, pids[1]: 3} and not list(children.ended())


def test_children_that_are_left_are_killed():
    children = Children(select.poll())
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(1)
    children.watch(pid)
    children.end(5.0)
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def test_a_capture_ends_with_its_writer_unless_that_was_asked_to_end():
    memory = [ctypes.create_string_buffer(CAPTURE.size) for _ in range(3)]
    captures = list(map(ctypes.addressof, memory))
    wire = SimpleNamespace(captures=[SimpleNamespace(address=address) for address in captures])
    writers = CaptureWriters(SimpleNamespace(now=SimpleNamespace(wire=wire)), lambda **message: None)
    for pid, number in ((10, 0), (11, 1), (12, 2)):
        writers.forked(pid, number)
    store64(captures[1] + CAPTURE["stop"], 1)
    assert all(writers.ended(pid, status) for pid, status in ((10, -9), (11, -9), (12, 0)))
    assert not writers.ended(10, -9)
    assert [load64(address + CAPTURE["error"]) for address in captures] == [KILLED, 0, 0]
