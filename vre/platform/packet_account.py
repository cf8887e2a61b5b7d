# SPDX-License-Identifier: MIT
"""Where a router's packets are: each that came, or was made, has left, was dropped, or is in flight."""

from __future__ import annotations

from collections import Counter

from shm.channel import CHANNEL, lent
from shm.intrinsics import load16, load32, load64
from shm.layout import RING, TASK
from shm.link_layout import DEVICE, PLACE
from shm.manifest import Manifest, RouterEntry
from shm.ring import length
from shm.wire_layout import SOURCE, TALLY
from workers.datapath.turn import DROPS, MADE
from workers.element import load
from workers.graph.shape import reasons

#: Why a device did not take a frame: fields of TALLY.
_OF_LINKS = ("link_down", "link_full", "link_refused")


def received(manifest: Manifest, router: RouterEntry) -> int:
    """Return how many frames came for a router at its ports, those that were dropped there among them."""
    own = sum(load64(ring + RING["head"]) + load64(ring + RING["full"]) for ring in router.rx.values())
    shared = [port.ring for port in manifest.classifiers]
    there = sum(_killed_in(ring, router.index) + _waiting_in(ring, router.index) for ring in shared)
    return own + there + _giants(manifest, router)


def made(router: RouterEntry) -> int:
    """Return how many packets a router's elements have made."""
    return sum(load64(element.state + MADE) for element in router.elements) + router.carried_made


def dropped(manifest: Manifest, router: RouterEntry) -> dict[str, int]:
    """Return how many of a router's packets were dropped, by reason."""
    found = Counter(router.carried)
    for element in router.elements:
        for i, reason in enumerate(reasons(load()[element.class_name])):
            found[reason] += load64(element.state + DROPS + 8 * i)
    found["killed"] += sum(load64(task.address + TASK["killed"]) for task in router.tasks)
    found["killed"] += sum(_killed_in(port.ring, router.index) for port in manifest.classifiers)
    found["rx_ring_full"] += sum(load64(ring + RING["full"]) for ring in router.rx.values())
    found["too_long_for_port"] += _giants(manifest, router)
    for reason in _OF_LINKS:
        found[reason] += sum(load64(tally + TALLY[reason]) for tally in router.tallies.values())
    found["domu_lost"] += sum(load64(channel + CHANNEL["lost"]) for channel in router.channels)
    return {reason: count for reason, count in sorted(found.items()) if count}


def in_flight(manifest: Manifest, router: RouterEntry) -> int:
    """Return how many of a router's packets wait in rings, or are in its domU."""
    rings = [*router.rx.values(), *router.rings]
    shared = [*(port.ring for port in manifest.classifiers), *(tx.ring for tx in manifest.tx)]
    return (
        sum(length(ring) for ring in rings)
        + sum(_waiting_in(ring, router.index) for ring in shared)
        + sum(lent(channel) for channel in router.channels)
        + sum(_on_device(device.address, router.index) for device in manifest.wire.devices)
    )


def _waiting_in(ring: int, index: int) -> int:
    """Return how many packets of a router wait in a ring that routers share."""
    head, tail = load64(ring + RING["head"]), load64(ring + RING["tail"])
    tags, mask = load64(ring + RING["tags"]), load64(ring + RING["mask"])
    return sum(load16(tags + 2 * (i & mask)) == index for i in range(tail, head))


def _killed_in(ring: int, index: int) -> int:
    """Return how many packets of a router a classifier held when it was killed."""
    return load64(load64(ring + RING["killed"]) + 8 * index)


def _on_device(device: int, index: int) -> int:
    """Return how many packets of a router an interface has not taken yet."""
    places, mask = load64(device + DEVICE["places"]), load64(device + DEVICE["place_mask"])
    waiting = range(load64(device + DEVICE["settled"]), load64(device + DEVICE["filled"]))
    return sum(load32(places + (i & mask) * PLACE.size + PLACE["router"]) == index for i in waiting)


def _giants(manifest: Manifest, router: RouterEntry) -> int:
    """Return how many frames for a router were longer than a port takes."""
    sources = [source for source in manifest.wire.sources if source.router == router.name]
    generated = sum(load64(source.address + SOURCE["giants"]) for source in sources)
    return generated + sum(load64(ring + RING["giants"]) for ring in router.rx.values())
