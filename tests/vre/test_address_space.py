# SPDX-License-Identifier: MIT
"""A platform's address space: plans come true as a whole, and what goes is used again."""

from __future__ import annotations

import os

import numpy as np
import pytest

from shm.layout import SLOT
from shm.segment import PAGE, Segment, SegmentError, claim_window, free_window
from vre.memory.address_space import AddressSpace, view


@pytest.fixture
def space():
    """Return a space of this process; all its segments go at the end."""
    base = claim_window(f"space{os.getpid()}")
    made = AddressSpace(base, f"vre.{os.geteuid()}.space{os.getpid()}.")
    yield made
    for segment in made.segments.values():
        segment.unlink()
        segment.detach()
    free_window(base)


def buffers(*rings):
    """Return the references that rings own, small and large ones apart."""
    slots = [view(ring.slots, SLOT.dtype, ring.count) for ring in rings]
    return [np.concatenate([s[name] for s in slots]).tolist() for name in ("small", "large")]


def test_every_slot_of_a_new_ring_owns_a_buffer_of_each_kind(space):
    one, two = space.ring(space.part("router", "red"), 100), space.ring(space.part("router", "blue"), 16)
    needed = space.bytes_needed
    assert (one.count, one.capacity, two.count) == (128, 100, 16)
    made = space.create()
    assert sum(segment.size for segment in made) <= needed
    for references in buffers(one, two):
        assert len(set(references)) == 144


def test_buffers_of_what_has_gone_are_used_again_and_an_idle_pool_goes(space):
    red, blue = (space.ring(space.part("router", name), 64) for name in ("red", "blue"))
    assert len(space.create()) == 3, "two routers and a pool"
    owned = buffers(red)
    space.forget("router-red", [red])
    space.sweep()
    green = space.ring(space.part("router", "green"), 64)
    assert len(space.create()) == 1 and buffers(green) == owned
    for label, ring in (("router-blue", blue), ("router-green", green)):
        assert any(name.startswith("pool") for name in space.segments)
        space.forget(label, [ring])
    assert not space.segments
    space.sweep()


def test_a_name_is_never_used_twice_and_addresses_are(space):
    space.part("router", "red").take(PAGE)
    (first,) = space.create()
    space.forget("router-red", [])
    space.sweep()
    space.part("router", "red").take(PAGE)
    (second,) = space.create()
    assert (second.base, second.size) == (first.base, first.size) and second.name != first.name


def test_a_plan_that_fails_leaves_nothing(space, monkeypatch):
    kept = space.ring(space.part("router", "red"), 16)
    space.create()
    before, owned = set(space.segments), buffers(kept)
    create = Segment.create

    def no_room_for_pools(name, kind, size, base):
        if kind == "pool":
            raise SegmentError("no room")
        return create(name, kind, size, base)

    with monkeypatch.context() as patch:
        patch.setattr(Segment, "create", no_room_for_pools)
        space.ring(space.part("router", "blue"), 16)
        with pytest.raises(SegmentError, match="no room"):
            space.create()
    assert set(space.segments) == before and buffers(kept) == owned
    space.ring(space.part("router", "blue"), 16)
    assert len(space.create()) == 2


def test_a_hole_stays_free_as_long_as_its_segment(space):
    space.part("router", "red").take(PAGE)
    hole = space.hole(4 * PAGE)
    space.create()
    space.part("router", "blue").take(PAGE)
    (blue,) = space.create()
    assert blue.base >= hole + 4 * PAGE
    space.forget("router-red", [])
    space.sweep()
    assert space.end == blue.base + blue.size + PAGE
