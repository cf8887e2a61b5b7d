# SPDX-License-Identifier: MIT
"""Receiving a frame at a port: demultiplexed by VLAN and MAC, as VMDq does, into an RX ring."""

from __future__ import annotations

from shm.intrinsics import acquire64, be16, copy, kernel, load8, load32, load64, store64, unlikely
from shm.layout import IN_LARGE, LINE, RING, SLOT
from shm.ring import next_push, pack, push_to, room, set_tag, slot_at
from shm.wire_layout import CLAIM, CLAIMS
from workers.datapath.headers import ETHER_DST, ETHER_SIZE, ETHER_TYPE, TYPE_VLAN, VLAN_TAG_SIZE, VLAN_TCI, load_mac
from workers.datapath.packet import HEADROOM, LARGE_ROOM, SMALL_ROOM, frame_address
from workers.datapath.wire_transaction import fill_ring, increase


@kernel
def deliver(ring, frame, length, time, tag):
    """Write one frame into the RX ring's next slot; the caller has asked for room.

    `tag` says whose it is, for the accounts of a ring that routers share.
    """
    head = next_push(ring)
    if load64(ring + RING["tags"]):
        set_tag(ring, head & load64(ring + RING["mask"]), tag)
    pool = load64(ring + RING["pool"])
    slot = slot_at(ring, head)
    large = length > SMALL_ROOM
    target = pool + load32(slot + 4 * large) * LINE + HEADROOM
    if unlikely(length < 8):
        # A port reads the first word of every frame, however short.
        store64(target, 0)
    copy(target, frame, length)
    store64(slot + SLOT["time"], pack(time, length, HEADROOM + IN_LARGE * large))
    push_to(ring, head + 1)


@kernel
def is_tagged(frame, length):
    """Return whether a frame carries a VLAN tag (IEEE 802.1Q)."""
    return length >= ETHER_SIZE + VLAN_TAG_SIZE and be16(frame + ETHER_TYPE) == TYPE_VLAN


@kernel
def vlan_of(frame, length):
    """Return which VLAN a frame is tagged for, -1 for none: tag 0 says a priority, and no VLAN."""
    if is_tagged(frame, length):
        vlan = be16(frame + VLAN_TCI) & 0xFFF
        return vlan if vlan else -1
    return -1


@kernel
def comes_untagged(claim, frame, length):
    """Return whether a frame's tag is removed for a CLAIM: unclaimed frames are passed on with their tag."""
    return is_tagged(frame, length) and load64(claim + CLAIM["vlan"]) == vlan_of(frame, length)


@kernel
def takes_rest(claim):
    """Return whether a CLAIM is for all unclaimed frames, including those of unclaimed VLANs."""
    return load64(claim) < 0 and load64(claim + CLAIM["vlan"]) == -1


@kernel
def claimant(claims, frame, length):
    """Return the CLAIM that matches a frame; 0 for none."""
    if length < ETHER_SIZE:
        return 0
    mac, vlan = load_mac(frame + ETHER_DST), vlan_of(frame, length)
    first, count = load64(claims), acquire64(claims + CLAIMS["count"])
    known = rest = others = 0
    for i in range(count):
        claim = first + i * CLAIM.size
        if acquire64(claim + CLAIM["ring"]) == 0:
            continue
        if load64(claim + CLAIM["vlan"]) == vlan:
            if load64(claim) == mac:
                return claim
            known = 1
            if load64(claim) < 0 and rest == 0:
                rest = claim
        elif takes_rest(claim) and others == 0:
            others = claim
    return rest if known else others


@kernel
def is_for(claim, frame, length):
    """Return whether a frame is for a CLAIM's MAC and VLAN; not if the claim has been given up."""
    if length < ETHER_SIZE or acquire64(claim + CLAIM["ring"]) == 0 or load_mac(frame + ETHER_DST) != load64(claim):
        return 0
    return load64(claim + CLAIM["vlan"]) == vlan_of(frame, length)


@kernel
def take_in(wire, claim, frame, length, time):
    """Put a frame into the ring of a CLAIM's router, or into the port's if it has a single one."""
    ring, queue = load64(claim + CLAIM["ring"]), load64(claim + CLAIM["queue"])
    target, router = queue if queue else ring, load64(claim + CLAIM["router"])
    if unlikely(length > LARGE_ROOM):
        increase(wire, ring + RING["giants"], 1)
        return
    if room(target, 1) == 0:
        increase(wire, ring + RING["full"], 1)
        return
    fill_ring(wire, target)
    if queue == 0 and comes_untagged(claim, frame, length):
        # Demultiplexing by VLAN removes the tag.
        slot = slot_at(target, next_push(target))
        deliver(target, frame + VLAN_TAG_SIZE, length - VLAN_TAG_SIZE, time, router)
        copy(frame_address(slot, load64(target + RING["pool"])), frame, ETHER_TYPE)
    else:
        deliver(target, frame, length, time, router)


@kernel
def arrive(wire, claims, frame, length, time):
    """Receive a frame at the port with these CLAIMS, once the wire commits; return how many routers it was for.

    A group or broadcast frame is for every router of its VLAN, or for the router that takes the rest if no router is on
    it; a frame without a header is unclaimed, and one that fits no buffer is counted for its router. Replayed frames
    are demultiplexed alike: :mod:`workers.wire.replay`.
    """
    if length >= ETHER_SIZE and load8(frame) & 1:
        vlan, found = vlan_of(frame, length), 0
        for i in range(acquire64(claims + CLAIMS["count"])):
            claim = load64(claims) + i * CLAIM.size
            if acquire64(claim + CLAIM["ring"]) and load64(claim + CLAIM["vlan"]) == vlan:
                take_in(wire, claim, frame, length, time)
                found += 1
        if found == 0:
            for i in range(acquire64(claims + CLAIMS["count"])):
                claim = load64(claims) + i * CLAIM.size
                if acquire64(claim + CLAIM["ring"]) and takes_rest(claim):
                    take_in(wire, claim, frame, length, time)
                    found += 1
        return found
    claim = claimant(claims, frame, length)
    if claim == 0:
        return 0
    take_in(wire, claim, frame, length, time)
    return 1
