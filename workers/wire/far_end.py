# SPDX-License-Identifier: MIT
"""The far ends of impaired links: frames that are due arrive at a router, a capture, or a device."""

from __future__ import annotations

from shm.impairment_layout import IMPAIRMENT, LINK_STATE, WAITING
from shm.intrinsics import acquire64, kernel, load64, record
from shm.layout import CLIENTS
from shm.link_layout import DEVICE
from shm.wire_layout import CLAIM
from workers.datapath.headers import ETHER_DST, ETHER_SRC, load_mac
from workers.datapath.nic import arrive, take_in
from workers.datapath.wire_transaction import commit, fill_capture, keep_old, undo_is_full
from workers.wire.accounts import BATCH, stamp
from workers.wire.capture import capture_frame
from workers.wire.delay_line import begin_batch, buffer_at, entry_at, first_due, is_ready, pop
from workers.wire.device import put
from workers.wire.devices import flush, room_of
from workers.wire.impairment import clock_of_link

STATE_RECORD, ENTRY_RECORD = LINK_STATE.dtype, WAITING.dtype


@kernel
def hand_over(wire, impairment, state, entry, frame, due, wall):
    """Let a frame arrive at the link's far end at `due`."""
    length, claim = entry["length"], entry["claim"]
    state["arrived"] += 1
    state["arrived_bytes"] += length
    capture, claims = load64(impairment + IMPAIRMENT["capture"]), load64(impairment + IMPAIRMENT["claims"])
    device = load64(impairment + IMPAIRMENT["device"])
    if capture:
        capture_frame(capture, frame, length, wall)
    if device:
        # Its sender has forwarded it: what the device does not take is in the link's account.
        put(wire, device, frame, length, CLIENTS, 0, stamp(due))
    elif claim:
        # The router may have gone, and another one have its place.
        if acquire64(claim + CLAIM["ring"]) and load64(claim + CLAIM["serial"]) == entry["serial"]:
            take_in(wire, claim, frame, length, stamp(due))
        else:
            state["unclaimed"] += 1
    elif claims and arrive(wire, claims, frame, length, stamp(due)) == 0:
        state["unclaimed"] += 1
        if length >= ETHER_SRC:
            state["stray"] = load_mac(frame + ETHER_DST)


@kernel
def run_link(wire, impairment, wall):
    """Let the frames arrive that are due; return how many."""
    if load64(impairment + IMPAIRMENT["settings"]) == 0:
        return 0
    clock, next_due = clock_of_link(impairment, wall), first_due(impairment)
    if is_ready(impairment) and (next_due < 0 or next_due > clock):
        return 0
    state = begin_batch(wire, impairment)
    changed = record(state, STATE_RECORD)
    line = load64(impairment + IMPAIRMENT["line"])
    device = load64(impairment + IMPAIRMENT["device"])
    capture = load64(impairment + IMPAIRMENT["capture"])
    most, moved = room_of(device, BATCH) if device else BATCH, 0
    if device:
        keep_old(wire, device + DEVICE["filled"], 8)
    if capture:
        fill_capture(wire, capture)
    while moved < most and not undo_is_full(wire):
        due = first_due(impairment)
        if due < 0 or due > clock:
            break
        index = pop(impairment, changed["batch"])
        shown = wall if load64(impairment + IMPAIRMENT["clock"]) else due
        entry = record(entry_at(line, index), ENTRY_RECORD)
        hand_over(wire, impairment, changed, entry, buffer_at(line, index), due, shown)
        moved += 1
    commit(wire)
    if device:
        flush(wire, device, wall)
    return moved
