# SPDX-License-Identifier: MIT
"""A router's packets add up: what came is what left, was dropped or is in flight, wherever it is."""

import ctypes
from types import SimpleNamespace

import pytest

from shm.channel import CHANNEL
from shm.intrinsics import store64
from shm.layout import RING, TASK
from shm.link_layout import DEVICE, PLACE
from shm.wire_layout import SOURCE, TALLY
from vre.platform import packet_account
from vre.platform.packet_account import dropped, in_flight, made, received

INDEX = 3


@pytest.fixture
def memory():
    """Return what makes records of one layout, with some of their fields filled in."""
    held = []

    def make(layout, **words):
        held.append(ctypes.create_string_buffer(layout.size))
        address = ctypes.addressof(held[-1])
        for name, value in words.items():
            store64(address + layout[name], value)
        return address

    def shared(tags, head, tail, killed):
        held.append((ctypes.c_int16 * len(tags))(*tags))
        held.append((ctypes.c_int64 * (INDEX + 1))(*[0] * INDEX, killed))
        tags_at, killed_at = (ctypes.addressof(one) for one in held[-2:])
        return make(RING, head=head, tail=tail, tags=tags_at, mask=len(tags) - 1, killed=killed_at)

    make.shared = shared
    return make


def router_of(**more):
    empty = {"rx": {}, "rings": (), "channels": (), "elements": (), "tasks": (), "carried": {}, "carried_made": 0}
    empty["tallies"] = {}
    return SimpleNamespace(name="red", index=INDEX, **(empty | more))


def manifest_of(classifiers=(), tx=(), sources=(), devices=()):
    rings = [[SimpleNamespace(ring=ring) for ring in some] for some in (classifiers, tx)]
    wire = SimpleNamespace(sources=[SimpleNamespace(router=name, address=address) for name, address in sources])
    wire.devices = [SimpleNamespace(address=address) for address in devices]
    return SimpleNamespace(classifiers=rings[0], tx=rings[1], wire=wire)


def balance(manifest, router, forwarded):
    lost = sum(dropped(manifest, router).values())
    return received(manifest, router) + made(router) - forwarded - lost - in_flight(manifest, router)


def test_own_rings_hold_what_has_come_and_count_what_had_no_room(memory):
    router = router_of(rx={"eth0": memory(RING, head=10, tail=7, full=4)}, rings=(memory(RING, head=5, tail=3),))
    assert received(manifest_of(), router) == 14 and in_flight(manifest_of(), router) == 5
    assert dropped(manifest_of(), router) == {"rx_ring_full": 4}
    assert balance(manifest_of(), router, forwarded=5) == 0


def test_what_an_interface_has_not_taken_is_in_flight_and_what_it_refused_is_dropped(memory):
    places = (ctypes.c_uint32 * (4 * PLACE.size // 4))()
    for i, router in enumerate((INDEX, 1, INDEX, INDEX)):
        places[(i * PLACE.size + PLACE["router"]) // 4] = router
    at = ctypes.addressof(places)
    device = memory(DEVICE, filled=6, offered=5, settled=3, places=at, place_mask=3)
    router = router_of(tallies={"eth0": memory(TALLY, packets=7, link_down=2, link_full=1, link_refused=4)})
    assert in_flight(manifest_of(devices=(device,)), router) == 2
    assert dropped(manifest_of(), router) == {"link_down": 2, "link_full": 1, "link_refused": 4}


def test_of_a_shared_ring_only_its_own_packets_are_counted(memory):
    ring = memory.shared([INDEX, 1, INDEX, 1], head=6, tail=3, killed=2)
    manifest, router = manifest_of(classifiers=[ring]), router_of()
    # The slots are 3, 0 and 1 of four: one of them is the router's.
    assert in_flight(manifest, router) == 1 and received(manifest, router) == 3
    assert dropped(manifest, router) == {"killed": 2} and balance(manifest, router, forwarded=0) == 0


def test_frames_that_are_too_long_are_those_of_its_own_sources(memory):
    sources = [("red", memory(SOURCE, giants=3)), ("blue", memory(SOURCE, giants=9)), (None, memory(SOURCE, giants=9))]
    manifest, router = manifest_of(sources=sources), router_of()
    assert dropped(manifest, router) == {"too_long_for_port": 3} and balance(manifest, router, forwarded=0) == 0


def test_what_a_domu_has_is_in_flight_and_what_it_lost_is_dropped(memory, monkeypatch):
    channel = memory(CHANNEL, lost=2)
    monkeypatch.setattr(packet_account, "lent", {channel: 4}.get)
    router = router_of(channels=(channel,), rx={"eth0": memory(RING, head=6, tail=6)})
    assert in_flight(manifest_of(), router) == 4 and dropped(manifest_of(), router) == {"domu_lost": 2}
    assert balance(manifest_of(), router, forwarded=0) == 0


def test_what_was_carried_over_from_another_configuration_counts_on(memory):
    tasks = (SimpleNamespace(address=memory(TASK, killed=1)),)
    router = router_of(carried={"killed": 2, "no_route": 5}, carried_made=8, tasks=tasks)
    assert dropped(manifest_of(), router) == {"killed": 3, "no_route": 5} and made(router) == 8
    assert balance(manifest_of(), router, forwarded=0) == 0
