# SPDX-License-Identifier: MIT
"""The kernels between an I/O channel and a graph that runs in its domU: packets in, packets out, none forgotten."""

from __future__ import annotations

from typing import Any

from shm.channel import (
    CHANNEL,
    DATA,
    DOWN,
    DROPPED,
    GIFT,
    KEPT,
    LONGEST,
    REQUEST_BYTES,
    RETURN_BYTES,
    SLOT_BYTES,
    SLOT_START,
    SLOTS,
    UP,
)
from shm.intrinsics import acquire64, copy, kernel, load64, release64, store64
from shm.layout import RING, SLOT
from shm.ring import available, commit_head, commit_tail, room, slot_at
from workers.datapath.nic import deliver
from workers.datapath.packet import frame_address
from workers.domu.frontend import BATCH

_MASK = SLOTS - 1
#: The bridge's own counts: requests taken, returns given, slots held from which on, how many, empty slots, kept.
TAKEN, GIVEN, FIRST, HELD, EMPTY, STAYED = range(6)


def bring(down, up, counts, held, gifts, rx):
    """Put the packets of new requests into the RX rings of their inputs; return how many requests that were.

    What a ring has no room for waits in the channel. `held` are the slots of packets inside, the oldest first.
    """
    ready = acquire64(down) - counts[TAKEN]
    if ready > BATCH:
        ready = BATCH
    done = 0
    while done < ready:
        word = load64(down + DOWN.size + REQUEST_BYTES * ((counts[TAKEN] + done) & _MASK))
        if word >> 56 & 0xFF == GIFT:
            if counts[EMPTY] < len(gifts):
                gifts[counts[EMPTY]] = word & 0xFFFFFFFF
                counts[EMPTY] += 1
        else:
            ring = rx[word >> 48 & 0xFF]
            if room(ring, 1) == 0:
                break
            frame = up + DATA + (word & 0xFFFF) * SLOT_BYTES + SLOT_START
            deliver(ring, frame, word >> 32 & 0xFFFF, 0, 0)
            commit_head(ring)
            held[(counts[FIRST] + counts[HELD]) & _MASK] = word & 0xFFFFFFFF
            counts[HELD] += 1
        done += 1
    counts[TAKEN] += done
    return done


@kernel
def give_back(up, counts, slot, length, verdict):
    """Write a return; the caller publishes it."""
    word = slot | length << 32 | SLOT_START << 48 | verdict << 56
    store64(up + UP.size + RETURN_BYTES * (counts[GIVEN] & _MASK), word)
    counts[GIVEN] += 1


@kernel
def oldest(counts, held):
    """Return the slot that is held longest, which is held no more."""
    slot = held[counts[FIRST] & _MASK]
    counts[FIRST] += 1
    counts[HELD] -= 1
    return slot


def send(up, counts, held, gifts, tx, rings, channels):
    """Return what is in the TX rings, and say what became of all else; return how many packets left.

    Which slot a packet leaves in does not matter: only how many came, left, stay and are gone.
    """
    sent = 0
    for output in range(len(tx)):
        ring = tx[output]
        tail, taken = load64(ring + RING["next_tail"]), 0
        for i in range(available(ring, BATCH)):
            place = slot_at(ring, tail + i)
            length = load64(place + SLOT["time"]) >> 32 & 0xFFFF
            if length <= LONGEST:
                if counts[HELD]:
                    slot = oldest(counts, held)
                elif counts[EMPTY]:
                    counts[EMPTY] -= 1
                    slot = gifts[counts[EMPTY]]
                    if counts[STAYED]:
                        counts[STAYED] -= 1
                else:
                    break
                target = up + DATA + (slot & 0xFFFF) * SLOT_BYTES + SLOT_START
                copy(target, frame_address(place, load64(ring + RING["pool"])), length)
                give_back(up, counts, slot, length, output)
                sent += 1
            taken += 1
        store64(ring + RING["next_tail"], tail + taken)
        commit_tail(ring)
    inside = 0
    for i in range(len(rings)):
        inside += load64(rings[i] + RING["head"]) - load64(rings[i] + RING["tail"])
    for i in range(len(channels)):
        # Packets that elements of the router's own have; empty slots are none.
        channel = channels[i]
        inside += (
            load64(channel + CHANNEL["head"]) - load64(channel + CHANNEL["tail"]) - load64(channel + CHANNEL["gifts"])
        )
    gone = counts[HELD] + counts[STAYED] - inside
    while gone > 0 and counts[HELD]:
        give_back(up, counts, oldest(counts, held), 0, DROPPED)
        gone -= 1
    while gone > 0 and counts[STAYED] and counts[EMPTY]:
        counts[EMPTY] -= 1
        counts[STAYED] -= 1
        give_back(up, counts, gifts[counts[EMPTY]], 0, DROPPED)
        gone -= 1
    while counts[HELD]:
        give_back(up, counts, oldest(counts, held), 0, KEPT)
        counts[STAYED] += 1
    release64(up, counts[GIVEN])
    return sent


def compile_bridge() -> dict[str, Any]:
    """Return the compiled :func:`bring` and :func:`send`."""
    from workers.compiler.compile import compile_as, numba

    found = {}
    for function, ends in ((bring, 2), (send, 1)):
        arrays = function.__code__.co_argcount - ends
        signature = numba.int64(*[numba.int64] * ends, *[numba.int64[::1]] * arrays)
        found[function.__name__] = compile_as(signature, function)
    return found
