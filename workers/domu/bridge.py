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
from shm.intrinsics import acquire64, copy, kernel, load64, record, release64, store64
from shm.layout import RING, SLOT, Layout
from shm.ring import available, length, next_pop, pop_to, publish, release, room, slot_at
from workers.datapath.nic import deliver
from workers.datapath.packet import frame_address
from workers.domu.frontend import BATCH

_MASK = SLOTS - 1
#: What the bridge has of the channel. Each packet inside came in a slot, which is held; or it was kept, and will take
#: an empty one. So after :func:`send`: held = 0, and stayed = packets inside.
BRIDGE = Layout(
    "bridge",
    {
        "taken": "i8",  # requests taken
        "given": "i8",  # returns given
        "first": "i8",  # index of the slot that is held longest
        "held": "i8",  # slots held
        "empty": "i8",  # empty slots
        "stayed": "i8",  # packets whose slots have gone back
    },
)
BRIDGE_RECORD = BRIDGE.dtype


def bring(down, up, bridge, held, gifts, rx):
    """Put the packets of new requests into the RX rings of their inputs; return how many requests that were.

    What a ring has no room for waits in the channel. `held` are the slots of packets inside, the oldest first.
    """
    state = record(bridge, BRIDGE_RECORD)
    ready = acquire64(down) - state["taken"]
    if ready > BATCH:
        ready = BATCH
    done = 0
    while done < ready:
        word = load64(down + DOWN.size + REQUEST_BYTES * ((state["taken"] + done) & _MASK))
        if word >> 56 & 0xFF == GIFT:
            if state["empty"] < len(gifts):
                gifts[state["empty"]] = word & 0xFFFFFFFF
                state["empty"] += 1
        else:
            ring = rx[word >> 48 & 0xFF]
            if room(ring, 1) == 0:
                break
            deliver(ring, frame_in(up, word), word >> 32 & 0xFFFF, 0, 0)
            publish(ring)
            held[(state["first"] + state["held"]) & _MASK] = word & 0xFFFFFFFF
            state["held"] += 1
        done += 1
    state["taken"] += done
    return done


@kernel
def frame_in(up, slot):
    """Return the address of the frame in the slot that a word's low half names."""
    return up + DATA + (slot & 0xFFFF) * SLOT_BYTES + SLOT_START


@kernel
def give_back(up, state, slot, length, verdict):
    """Write a return; the caller publishes it."""
    word = slot | length << 32 | SLOT_START << 48 | verdict << 56
    store64(up + UP.size + RETURN_BYTES * (state["given"] & _MASK), word)
    state["given"] += 1


@kernel
def oldest(state, held):
    """Return the slot that is held longest, which is held no more."""
    slot = held[state["first"] & _MASK]
    state["first"] += 1
    state["held"] -= 1
    return slot


@kernel
def empty_slot(state, gifts):
    """Return an empty slot, which is one no more."""
    state["empty"] -= 1
    return gifts[state["empty"]]


@kernel
def send_out(up, state, held, gifts, ring, output):
    """Return what is in one TX ring; return how many packets left. Which slot a packet leaves in does not matter."""
    tail = next_pop(ring)
    taken = sent = 0
    for i in range(available(ring, BATCH)):
        packet = slot_at(ring, tail + i)
        length = load64(packet + SLOT["time"]) >> 32 & 0xFFFF
        taken += 1
        if length > LONGEST:
            continue
        if state["held"]:
            slot = oldest(state, held)
        elif state["empty"]:
            slot = empty_slot(state, gifts)
            if state["stayed"]:
                state["stayed"] -= 1
        else:
            taken -= 1
            break
        copy(frame_in(up, slot), frame_address(packet, load64(ring + RING["pool"])), length)
        give_back(up, state, slot, length, output)
        sent += 1
    pop_to(ring, tail + taken)
    release(ring)
    return sent


@kernel
def count_inside(rings, channels):
    """Return how many packets the graph has: in its rings, and with elements of the router's own."""
    inside = 0
    for i in range(len(rings)):
        inside += length(rings[i])
    for i in range(len(channels)):
        channel = channels[i]
        inside += load64(channel + CHANNEL["head"]) - load64(channel + CHANNEL["tail"])
        inside -= load64(channel + CHANNEL["gifts"])  # empty slots
    return inside


@kernel
def account_rest(up, state, held, gifts, inside):
    """Say of every packet that has not left whether it is dropped or kept.

    held + stayed = inside + gone: what neither left nor is inside is gone, the oldest first.
    """
    gone = state["held"] + state["stayed"] - inside
    while gone > 0 and state["held"]:
        give_back(up, state, oldest(state, held), 0, DROPPED)
        gone -= 1
    while gone > 0 and state["stayed"] and state["empty"]:
        give_back(up, state, empty_slot(state, gifts), 0, DROPPED)
        state["stayed"] -= 1
        gone -= 1
    while state["held"]:
        give_back(up, state, oldest(state, held), 0, KEPT)
        state["stayed"] += 1


def send(up, bridge, held, gifts, tx, rings, channels):
    """Return what is in the TX rings, and say what became of all else; return how many packets left."""
    state = record(bridge, BRIDGE_RECORD)
    sent = 0
    for output in range(len(tx)):
        sent += send_out(up, state, held, gifts, tx[output], output)
    account_rest(up, state, held, gifts, count_inside(rings, channels))
    release64(up, state["given"])
    return sent


def compile_bridge() -> dict[str, Any]:
    """Return the compiled :func:`bring` and :func:`send`."""
    from workers.compiler.compile import compile_as, numba

    found = {}
    for function, ends in ((bring, 3), (send, 2)):
        arrays = function.__code__.co_argcount - ends
        signature = numba.int64(*[numba.int64] * ends, *[numba.int64[::1]] * arrays)
        found[function.__name__] = compile_as(signature, function)
    return found
