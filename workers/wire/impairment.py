# SPDX-License-Identifier: MIT
"""What a link does to the frames that pass it, with the terms of Linux's netem (tc-netem(8)).

Random numbers are a function of the link's seed, the frame's number and what they are for: the same frames meet the
same fate each time, and a change of one setting does not change what the others do.

A correlated sequence repeats its last value with the chance `correlation`, and draws a fresh one otherwise
(Jacobs and Lewis, 1978): values keep their distribution, chances their rate, and the correlation of two frames that are
k apart is that to the k-th power.
"""

from __future__ import annotations

from shm.impairment_layout import (
    CHANCE_BITS,
    IMPAIRMENT,
    LINK_SETTINGS,
    LINK_STATE,
    SAMPLE_BITS,
    TABLE_BITS,
    WAITING,
)
from shm.intrinsics import kernel, load8, load64, record, store8
from shm.wire_layout import CLAIM, LINK_BITS
from workers.datapath.packet import LARGE_ROOM
from workers.wire.delay_line import buffer_at, entry_at, push

SETTINGS_RECORD, STATE_RECORD, ENTRY_RECORD = LINK_SETTINGS.dtype, LINK_STATE.dtype, WAITING.dtype
WORD = (1 << CHANCE_BITS) - 1
#: Between the random numbers of one frame: 2**32 over the golden ratio (Knuth).
STEP = 0x9E3779B9
#: What random numbers are for, two for each, and the distance to those of the frame's copy.
DUPLICATE, LOSE, CORRUPT, REORDER, DELAY, BIT, COPY = 0, 2, 4, 6, 8, 10, 16
#: The bits of a random number that are below those that choose a step of a table.
BELOW = CHANCE_BITS - TABLE_BITS


@kernel
def scramble(word):
    """Return a hash of 32 bits: an xorshift-multiply of low bias (C. Wellons, hash-prospector)."""
    word = (word ^ word >> 15) * 0x2C1B3C6D & WORD
    word = (word ^ word >> 12) * 0x297A2D39 & WORD
    return word ^ word >> 15


@kernel
def number_of(impairment, frame):
    """Return what all random numbers of the link's `frame`-th frame come from."""
    high = scramble(frame >> CHANCE_BITS ^ load64(impairment + IMPAIRMENT["salt"]))
    return scramble((scramble(frame & WORD ^ load64(impairment + IMPAIRMENT["seed"])) + high) & WORD)


@kernel
def draw(number, use):
    """Return a random number of 32 bits for a use."""
    return scramble((number + use * STEP) & WORD)


@kernel
def happens(last, chance, correlation, number, use):
    """Return 1 if something of a chance happens to a frame, 0 if not; `last`: to the one before."""
    if correlation and draw(number, use) < correlation:
        return last
    return 1 if draw(number, use + 1) < chance else 0


@kernel
def is_lost(settings, state, number):
    """Return whether a frame is lost: with a chance, or by the state of a Gilbert-Elliott channel."""
    if settings["loss"] == 0:
        return 0
    if settings["recovery"] == 0:
        state["losing"] = happens(state["losing"], settings["loss"], settings["loss_correlation"], number, LOSE)
        return state["losing"]
    # As netem: the frame meets the state that the one before has left.
    chance = settings["loss_bad"] if state["bad"] else settings["loss_good"]
    leaves = settings["recovery"] if state["bad"] else settings["loss"]
    if draw(number, LOSE + 1) < leaves:
        state["bad"] = 1 - state["bad"]
    return 1 if draw(number, LOSE) < chance else 0


@kernel
def is_reordered(settings, state, number):
    """Return whether a frame overtakes those that wait: of `gap` frames one at most, with a chance."""
    if settings["reorder"] == 0 or state["passed"] < settings["gap"] - 1:
        return 0
    correlation = settings["reorder_correlation"]
    state["reordering"] = happens(state["reordering"], settings["reorder"], correlation, number, REORDER)
    return state["reordering"]


@kernel
def sent_through(settings, state, length, clock):
    """Return when a frame that comes at `clock` is through a token bucket; its tokens are time, in ns."""
    if settings["byte_time"] == 0:
        return clock
    free, part = state["free"], state["part"]
    if free < clock - settings["burst_ns"]:
        free, part = clock - settings["burst_ns"], 0
    size = length + settings["overhead"]
    part += (size if size > 0 else 0) * settings["byte_time"]
    free += part >> LINK_BITS
    state["free"], state["part"] = free, part & (1 << LINK_BITS) - 1
    return free if free > clock else clock


@kernel
def varied(settings, state, number):
    """Return a frame's delay in ns: with jitter by its distribution, and never less than 0."""
    if settings["jitter"] == 0:
        return settings["delay"]
    if settings["correlation"] == 0 or draw(number, DELAY) >= settings["correlation"]:
        random = draw(number, DELAY + 1)
        low = settings["table"] + 8 * (random >> BELOW)
        step = load64(low + 8) - load64(low)
        state["sample"] = load64(low) + (step * (random & (1 << BELOW) - 1) >> BELOW)
    delay = settings["delay"] + (settings["jitter"] * state["sample"] >> SAMPLE_BITS)
    return delay if delay > 0 else 0


@kernel
def corrupt(settings, state, number, frame, length):
    """Invert one bit of a frame, with a chance."""
    correlation = settings["corrupt_correlation"]
    state["corrupting"] = happens(state["corrupting"], settings["corrupt"], correlation, number, CORRUPT)
    if state["corrupting"] and length:
        state["corrupted"] += 1
        bit = draw(number, BIT) * length * 8 >> CHANCE_BITS
        store8(frame + (bit >> 3), load8(frame + (bit >> 3)) ^ (1 << (bit & 7)))


@kernel
def admit(impairment, state, number, frame, length, claim, clock):
    """Put a frame, or its copy, into the delay line if it has room."""
    settings = record(load64(impairment + IMPAIRMENT["settings"]), SETTINGS_RECORD)
    # A device may bring frames that are longer than any buffer.
    if load64(impairment + IMPAIRMENT["count"]) >= settings["limit"] or length > LARGE_ROOM:
        state["over_limit"] += 1
        return
    due = clock
    if is_reordered(settings, state, number):
        state["reordered"] += 1
        state["passed"] = 0
    else:
        state["passed"] += 1
        due = sent_through(settings, state, length, clock) + varied(settings, state, number)
        state["delayed"] += due > clock
    index = push(impairment, state, due, frame, length)
    line = load64(impairment + IMPAIRMENT["line"])
    entry = record(entry_at(line, index), ENTRY_RECORD)
    entry["claim"] = claim
    entry["serial"] = load64(claim + CLAIM["serial"]) if claim else 0
    if settings["corrupt"]:
        corrupt(settings, state, number, buffer_at(line, index), length)


@kernel
def take_frame(impairment, state, frame, length, claim, clock):
    """Take a frame onto a link at `clock`; `state` is that of the batch, `claim` the CLAIM that it is for, or 0."""
    changed = record(state, STATE_RECORD)
    settings = record(load64(impairment + IMPAIRMENT["settings"]), SETTINGS_RECORD)
    number = number_of(impairment, changed["frames"])
    changed["frames"] += 1
    changed["bytes"] += length
    copies = 1
    if settings["duplicate"]:
        correlation = settings["duplicate_correlation"]
        chance, last = settings["duplicate"], changed["duplicating"]
        changed["duplicating"] = happens(last, chance, correlation, number, DUPLICATE)
        copies += changed["duplicating"]
        changed["duplicated"] += changed["duplicating"]
    # As netem: of a frame that is both duplicated and lost, one arrives.
    if is_lost(settings, changed, number):
        changed["lost"] += 1
        copies -= 1
    for i in range(copies):
        admit(impairment, changed, (number + i * COPY * STEP) & WORD, frame, length, claim, clock)


@kernel
def room_of(impairment):
    """Return how many frames a link's delay line has room for."""
    settings = load64(impairment + IMPAIRMENT["settings"])
    free = load64(settings + LINK_SETTINGS["limit"]) - load64(impairment + IMPAIRMENT["count"])
    return free if free > 0 else 0


@kernel
def clock_of_link(impairment, wall):
    """Return the clock that a link's due times are of; see WIRE.paced_ns."""
    clock = load64(impairment + IMPAIRMENT["clock"])
    return load64(clock) if clock else wall
