# SPDX-License-Identifier: MIT
"""Changes happen or do not, with a fault at each of their lines; and what they took is given back."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import numpy as np
import pytest

import vre
from shm.layout import CLIENTS, SLOT, SPARES
from shm.wire_layout import CLAIM
from tests.vre.platforms import assert_accounts
from vre.config.model import Generator, Router
from vre.config.reader import from_text
from vre.memory.address_space import view
from vre.platform.transaction import Finisher, Later, Transaction

PLAIN = "FromDevice(eth0) -> c :: Counter -> q :: Queue(50) -> ToDevice(eth1);"
OTHER = "FromDevice(eth0) -> Paint(3) -> c :: Counter -> q :: Queue(100) -> ToDevice(eth1);"
UNTRUSTED = "FromDevice(eth0) -> u :: Untrusted({file}:X) -> q :: Queue(50) -> ToDevice(eth1);"
#: Where faults are put: all that a change runs through. What sees to it that its steps are taken is not among them.
ROOT = Path(vre.__file__).parent
#: All that a change runs through.
FILES = {
    *(ROOT / "platform" / f"{name}.py" for name in ("changes", "departure", "pause", "publication", "runtime")),
    *(ROOT / "memory" / f"{name}.py" for name in ("address_space", "layout", "placed", "router", "run_queues")),
    *(ROOT / "memory" / f"{name}.py" for name in ("sources", "state_transfer", "wire")),
    ROOT / "domu" / "modelled.py",
}
assert all(file.is_file() for file in FILES)
FAULTS = (OSError(errno.ENOSPC, "no space"), OSError(errno.EMFILE, "no descriptors"), MemoryError(), RuntimeError("?"))


@pytest.fixture
def untrusted(tmp_path):
    file = tmp_path / "x.py"
    file.write_text("class X:\n    def push(self, port, packet):\n        return packet\n")
    return UNTRUSTED.format(file=file)


def make(untrusted, name="changes"):
    box = vre.Platform(cores=2, machine="dell2950", clock="virtual", name=f"{name}{os.getpid()}", rebalance=False)
    box.nic("eth0", link=Generator(rate=200_000, flows=16), speed=10e9, queues="single", slots=64)
    box.nic("eth1", speed=10e9, slots=64)
    box.router("red", PLAIN)
    box.router("blue", untrusted)
    return box


def traces(box):
    """Return what a change may leave behind: names, memory, descriptors, tables, numbers."""
    space = box.parts.runtime.builder.space
    # Pools come and go with what is free: their buffers are all somebody's, or free.
    named = sorted(name.rstrip("0123456789") for name in space.segments if not name.startswith("pool-"))
    assert_buffers(box)
    with open("/proc/self/maps") as maps:
        mapped = sum(f"/{space._prefix}" in line for line in maps)
    files = len([f for f in Path("/dev/shm").iterdir() if f.name.startswith(space._prefix)])
    assert files == mapped == len(space.segments)
    return {
        "routers": (
            sorted(box.model.routers),
            sorted(box.parts.runtime.builder.routers),
            sorted(p.router for p in box.parts.runtime.placement.groups),
        ),
        "segments": named,
        "planned": (len(space._open), len(space._rings), len(space._spares), len(space._gone)),
        "holes": sorted(name.rstrip("0123456789") for name in space._holes),
        "graphs": {t.name: classes(t.program.graph) for t in box.parts.runtime.builder.routers.values()},
        "models": {r.name: (r.entitlement, classes(r.graph)) for r in box.model.routers.values()},
        "cores": {t.name: dict(t.cores) for t in box.parts.runtime.builder.routers.values()},
        "descriptors": len(os.listdir("/proc/self/fd")),
        "sources": sorted((plan.router or "", plan.nic) for plan in box.parts.runtime.links.sources),
        "claims": [
            sum(int(e["ring"]) != 0 for e in entries(port)) for port in box.parts.runtime.builder.ports.values()
        ],
        "clients": [sum(bool(word) for word in table(core)) for core in box.parts.runtime.builder.cores],
        "slots": {t.name: sorted(t.slots) for t in box.parts.runtime.builder.routers.values()},
        "manifest": sorted(router.name for router in box.parts.runtime.manifest.routers),
        "upcoming": box.parts.runtime.manifest.upcoming,
    }


def classes(graph):
    return [node.cls.__name__ for node in graph.nodes]


def assert_buffers(box):
    """Every buffer of every pool is owned by exactly one slot or spare word, or free."""
    space, builder = box.parts.runtime.builder.space, box.parts.runtime.builder
    rings = [ring for port in builder.ports.values() for ring in [*port.tx.values(), port.queue] if ring]
    rings += [ring for t in builder.routers.values() for ring in [*t.rx.values(), *t.program.rings]]
    spares = [view(core.spare, "u4", 2 * SPARES).reshape(SPARES, 2) for core in builder.cores]
    for i, name in enumerate(("small", "large")):
        slots = [view(ring.slots, SLOT.dtype, ring.count)[name] for ring in rings]
        found = np.sort(np.concatenate([*slots, *(words[:, i] for words in spares), space._free[i]]))
        assert (np.diff(found) > 0).all(), "no buffer has two owners"
        assert len(found) == sum(space._pools.values()), "none is lost"


def entries(port):
    return view(port.entries, CLAIM.dtype, CLIENTS)


def table(core):
    return view(core.clients, "i8", CLIENTS)


class Fault:
    """Raises once, at the k-th different line of a change, or counts them."""

    def __init__(self, at=None, error=None):
        self.at, self.error, self.seen, self.where = at, error, {}, None

    def _line(self, frame, event, _):
        if event == "line":
            key = frame.f_code.co_filename, frame.f_lineno
            if key not in self.seen:
                self.seen[key] = len(self.seen)
                if self.seen[key] == self.at:
                    self.where = key
                    raise self.error
        return self._line

    def _call(self, frame, event, _):
        return self._line if Path(frame.f_code.co_filename) in FILES else None

    def __enter__(self):
        sys.settrace(self._call)
        return self

    def __exit__(self, *exception):
        sys.settrace(None)


def changes(untrusted):
    """Return each change, and what takes it back."""
    painted = untrusted.replace("->", "-> Paint(3) ->", 1)

    def add(box):
        box.add(Router("green", 2.0, from_text(untrusted, "green")))

    return {
        "add": (add, lambda box: box.remove("green")),
        "remove": (lambda box: box.remove("blue"), lambda box: box.add(Router("blue", 1.0, from_text(untrusted)))),
        "replace": (lambda box: box.replace("blue", painted), lambda box: box.replace("blue", untrusted)),
        "entitlement": (lambda box: box.write("red.entitlement", "3"), lambda box: box.write("red.entitlement", "1")),
        "move": (lambda box: box.move("red/FromDevice@1", 1), lambda box: box.move("red/FromDevice@1", 0)),
    }  # fmt: skip


NAMES = ("add", "remove", "replace", "entitlement", "move")


@pytest.mark.parametrize("name", NAMES)
def test_a_fault_at_some_lines_of_a_change(untrusted, name):
    check_faults(untrusted, name, 29)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_fault_at_any_line_of_a_change(untrusted, name):
    check_faults(untrusted, name, 1)


def check_faults(untrusted, name, step):
    do, back = changes(untrusted)[name]
    with make(untrusted, name) as box:
        box.start()
        box.move("red/FromDevice@1", 0)
        box.tend(0.001)
        do(box), back(box), box.tend(0.001)
        before = traces(box)
        with Fault() as lines:
            do(box)
        box.tend(0.0005)
        after = traces(box)
        back(box)
        assert len(lines.seen) > 20
        for k in range(0, len(lines.seen), step):
            fault = Fault(k, FAULTS[k % len(FAULTS)])
            failed = None
            try:
                with fault:
                    do(box)
            except Exception as error:
                failed = error
            box.tend(0.0005)
            for _ in range(20):
                if not box.parts.changes.finisher.unfinished:
                    break
                box.tend(0.05)
            assert not box.parts.changes.finisher.unfinished, fault.where
            found = traces(box)
            assert found in (before, after), (fault.where, failed, difference(found, before), difference(found, after))
            assert_accounts(box)
            if found == before and name in ("add", "remove"):
                assert failed, fault.where
                do(box)
            elif found == before:
                do(box)
            back(box)
            box.tend(0.0005)
        box.pause()
        assert_accounts(box)


def difference(found, wanted):
    return {key: (found[key], wanted[key]) for key in found if found[key] != wanted[key]}


def test_steps_are_taken_in_order_again_and_again_until_all_are():
    done, noted, faults = [], [], [RuntimeError("?"), Later("not yet"), None]
    now = [0.0]
    finisher = Finisher(lambda: now[0], lambda *what: noted.append(what))

    def second():
        fault = faults.pop(0)
        if fault:
            raise fault
        done.append("second")

    with Transaction("red", finisher) as change:
        change.undo(lambda: done.append("undone"))
        change.commit(lambda: done.append("first"), second, lambda: done.append("third"))
    assert done == ["first"] and finisher.unfinished == ["red"] and len(noted) == 1
    for _ in range(2):
        now[0] += 1
        finisher.look()
    assert done == ["first", "second", "third"] and not finisher.unfinished and len(noted) == 1


def test_what_is_left_before_it_is_committed_is_undone_the_last_first():
    done = []
    finisher = Finisher(lambda: 0.0, lambda *what: None)
    with pytest.raises(ValueError, match="no"), Transaction("red", finisher) as change:
        change.undo(lambda: done.append(1))
        change.undo(lambda: done.append(2), lambda: done.append(3))
        raise ValueError("no")
    assert done == [2, 3, 1]


def test_routes_come_and_go_and_a_flushed_table_is_a_table():
    with make_routed() as box:
        box.start()
        red = box.handle("red")
        for i in range(1000):
            red.write("t.add", f"10.{i >> 8}.{i & 255}.1/32 10.0.0.{i & 255} 0")
            red.write("t.remove", f"10.{i >> 8}.{i & 255}.1/32")
        red.write("t.flush", "")
        assert red.read("t.table") == ""
        red.write("t.add", "0.0.0.0/0 0")
        assert "0.0.0.0/0" in red.read("t.table")


def make_routed():
    box = vre.Platform(machine="dell2950", clock="virtual", name=f"routed{os.getpid()}")
    box.nic("eth0", link=Generator(rate=200_000), slots=64)
    box.nic("eth1", slots=64)
    look_up = "Strip(14) -> CheckIPHeader -> t :: RadixIPLookup(198.18.0.0/15 0, CAPACITY 4)"
    box.router("red", f"FromDevice(eth0) -> {look_up} -> Queue(50) -> ToDevice(eth1);")
    return box


def test_changes_and_back_leave_everything_as_it_was(untrusted):
    check_cycles(untrusted, 8)


@pytest.mark.slow
def test_two_thousand_cycles_leave_everything_as_it_was(untrusted):
    check_cycles(untrusted, 2000)


def check_cycles(untrusted, cycles):
    with make(untrusted, "cycles") as box:
        box.start()
        box.tend(0.001)
        painted = untrusted.replace("->", "-> Paint(3) ->", 1)

        def cycle():
            box.add(Router("green", 2.0, from_text(untrusted, "green")))
            box.replace("blue", painted)
            box.tend(0.0001)
            box.remove("green")
            box.replace("blue", untrusted)
            box.move("red/FromDevice@1", 1)
            box.move("red/FromDevice@1", 0)

        cycle()
        before, used = traces(box), addresses(box)
        for _ in range(cycles):
            cycle()
        assert traces(box) == before
        assert addresses(box) <= used * 1.5, "pools may be others, but addresses are used again"
        box.tend(0.001)
        box.pause()
        assert_accounts(box)


def addresses(box):
    return sum(end - start for start, end in box.parts.runtime.builder.space._used)
