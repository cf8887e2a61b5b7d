# SPDX-License-Identifier: MIT
"""Classifying in software the frames of a port that has a single queue (the paper, section 2.1.3).

A task of the platform takes frames from the port's one RX ring, finds out whose they are, and hands them to
that router's ring. It costs core time before the router to charge is known, so it is charged to the port. It
never takes a frame that its router has no room for: the next frame waits, and behind it all others, until the
ring is full and the NIC drops whatever arrives. So no frame is dropped after it has cost time; and in
overload what is forwarded follows what arrives, not what was promised.
"""

from __future__ import annotations

from shm.intrinsics import acquire64, copy, kernel, load8, load64, prefetch, stack_record
from shm.layout import RING, SLOT
from shm.ring import available, bump, pop, pop_to, publish, push, release, room, tag_of
from shm.wire_layout import CLAIM, CLAIMS, CLASSIFIER
from workers.datapath.headers import ETHER_SIZE, ETHER_TYPE, VLAN_TAG_SIZE
from workers.datapath.nic import claimant, comes_untagged
from workers.datapath.packet import PACKET, frame_address, receive
from workers.datapath.turn import AHEAD, begin, commit, finish, log_is_full, look

_RECORD = PACKET.dtype


@kernel
def claim_of(claims, router):
    """Return the CLAIM of a router, 0 for none."""
    first = load64(claims)
    for i in range(acquire64(claims + CLAIMS["count"])):
        claim = first + i * CLAIM.size
        if acquire64(claim + CLAIM["ring"]) and load64(claim + CLAIM["router"]) == router:
            return claim
    return 0


@kernel
def owner(claims, ring, index, packet):
    """Return the CLAIM that a frame falls under, its VLAN tag taken off; 0 for none.

    Of a frame to a group the wire sends each router one of its own, and its tag says which.
    """
    data = packet["data"]
    if packet["length"] >= ETHER_SIZE and load8(data) & 1:
        found = claim_of(claims, tag_of(ring, index))
    else:
        found = claimant(claims, data, packet["length"])
    if found and comes_untagged(found, data, packet["length"]):
        copy(data + VLAN_TAG_SIZE, data, ETHER_TYPE)
        packet["data"] += VLAN_TAG_SIZE
        packet["length"] -= VLAN_TAG_SIZE
    return found


@kernel
def publish_all(claims):
    """Publish what has been put into the rings of all routers at a port."""
    first = load64(claims)
    for i in range(acquire64(claims + CLAIMS["count"])):
        ring = acquire64(first + i * CLAIM.size + CLAIM["ring"])
        if ring:
            publish(ring)


def classify(block: int, core: int, task: int, quantum: int) -> int:
    """Take a turn of a port's classifier; `block` is its CLASSIFIER. Return how many frames it handled."""
    packet = stack_record(_RECORD)
    ring, claims = load64(block + CLASSIFIER["ring"]), load64(block + CLASSIFIER["claims"])
    count = available(ring, quantum)
    if count == 0:
        return 0
    begin(core)
    tail = pop(ring, count)
    slots, mask, pool = load64(ring + RING["slots"]), load64(ring + RING["mask"]), load64(ring + RING["pool"])
    i, last, stop = 0, count - 1, 0
    while i < count:
        stop = look(core, task, i, count)
        if stop == i:
            break
        while i < stop:
            if i + AHEAD <= last:
                prefetch(frame_address(slots + ((tail + i + AHEAD) & mask) * SLOT.size, pool))
            slot = slots + ((tail + i) & mask) * SLOT.size
            receive(packet, slot, pool)
            found = owner(claims, ring, tail + i, packet)
            if found == 0:
                bump(core, block + CLASSIFIER["unclaimed"])
            else:
                target = load64(found + CLAIM["ring"])
                if room(target, 1) == 0:
                    stop = count = i
                    break
                push(target, packet, core)
            i += 1
            if log_is_full(core):
                stop = count = i
    if i <= last:
        count = i
        pop_to(ring, tail + i)
    commit(core)
    publish_all(claims)
    release(ring)
    finish(core)
    return count
