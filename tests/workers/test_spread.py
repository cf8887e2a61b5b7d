# SPDX-License-Identifier: MIT
"""What one packet may become: bounded before a graph runs, and never more than a core has room for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from shm.intrinsics import load64, stack_record, store64
from shm.layout import CORE, RING, SPARES, TASK, UNDO_ENTRIES
from shm.ring import slot_at
from tests.workers.frames import udp
from vre.errors import ConfigError
from vre.language.checker import check
from vre.language.lexer import Source
from workers.compiler.composer import compose
from workers.datapath import turn
from workers.datapath.packet import PACKET, read_note, receive
from workers.datapath.slow_packet import put_packet, read_packet
from workers.element import SlowPacket


def deep(count):
    """Return a graph that copies copies, `count` deep."""
    tees = "".join(f"t{i} :: Tee(2); t{i}[0] -> Discard;" for i in range(count))
    return f"FromDevice(eth0) -> t0; {tees}" + "".join(f"t{i}[1] -> t{i + 1};" for i in range(count - 1))


def wide(name, count, behind="Discard"):
    """Return a Tee with `count` outputs."""
    return f"{name} :: Tee({count});" + "".join(f"{name}[{i}] -> {behind};" for i in range(count))


@pytest.mark.parametrize("config", [deep(SPARES) + f"t{SPARES - 1}[1] -> Discard;"])
def test_copies_of_copies_that_a_core_has_no_buffers_for_are_refused(config):
    with pytest.raises(ConfigError, match="copies of copies"):
        check(Source(config, "x"))


def test_more_copies_than_a_core_can_take_back_are_refused():
    outer = "".join(f"t[{i}] -> s{i}; {wide(f's{i}', 40)}" for i in range(40))
    with pytest.raises(ConfigError, match="copies and drops"):
        check(Source(f"FromDevice(eth0) -> t :: Tee(40); {outer}", "x"))


def test_the_deepest_and_the_widest_graph_run(bench):
    b = bench(deep(SPARES - 1) + f"t{SPARES - 2}[1] -> ToDevice(eth1);")
    assert len(b.through(*[udp()] * 3)) == 3
    b = bench("FromDevice(eth0) -> t;" + wide("t", 255))
    b.send(*[udp()] * 64)
    b.settle()
    assert b.dropped == {"discard": 64 * 255}


def test_packets_that_come_back_fill_no_log(bench, monkeypatch):
    b = bench("FromDevice(eth0) -> Print(x, 0, ACTIVE false) -> t;" + wide("t", 200))
    most = []
    module = __import__("sys").modules[b.functions[0].__module__]
    monkeypatch.setattr(
        module, "commit", lambda core: (most.append(load64(core + CORE["undo_count"])), turn.commit(core))
    )
    b.send(*[udp()] * 64)
    b.settle()
    assert b.dropped == {"discard": 64 * 200}
    assert max(most) <= UNDO_ENTRIES


def test_a_circle_that_only_the_slow_path_enters_is_cut(bench):
    b = bench(
        "FromDevice(eth0) -> Print(x, 0, ACTIVE false) -> q :: ARPQuerier(10.0.0.1, 2:0:0:0:0:1); q[0] -> [1] q;"
        "Idle -> ToDevice(eth1);"
    )
    assert b.through(udp()) == []
    assert b.dropped == {"no_destination": 1}


def test_what_comes_back_from_a_domu_may_go_where_another_path_leads():
    element = Path(__file__).parents[1] / "shm" / "element.py"
    config = (
        "FromDevice(eth0) -> Counter -> k :: Counter -> ToDevice(eth1);"
        f"FromDevice(eth2) -> Untrusted({element}:Nothing) -> k;"
    )
    text = compose(check(Source(config, "x")).shape)
    assert set(re.findall(r"\b([er]\d+)\(", text)) == set(re.findall(r"def ([er]\d+)\(", text))


def test_routes_have_the_chunks_that_they_take(bench):
    b = bench(
        "FromDevice(eth0) -> Strip(14) -> CheckIPHeader -> StaticIPLookup(198.19.0.0/25 0, CAPACITY 0)"
        "-> EtherEncap(0x0800, 2:0:0:0:0:1, 2:0:0:0:0:2) -> ToDevice(eth1);"
    )
    assert len(b.through(udp(dst="198.19.0.1"), udp(dst="198.19.0.200"))) == 1


def test_a_note_names_any_element_of_a_long_router(bench):
    b = bench("FromDevice(eth0) -> Print(x, 0, ACTIVE false) -> ToDevice(eth1);")
    inject, entry = load64(b.tasks[0] + TASK["inject"]), 100_000 << turn.PORT_BITS | 1
    packet = stack_record(PACKET.dtype)
    assert put_packet(inject, SlowPacket(bytearray(60)), entry)
    receive(packet, slot_at(inject, 0), load64(inject + RING["pool"]))
    assert read_note(inject, 0, packet) == read_packet(inject, 0)[1] == entry
    store64(inject + RING["next_head"], 0)
