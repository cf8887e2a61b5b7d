# SPDX-License-Identifier: MIT
"""The pieces of a task's turn that compiled paths are put together from.

A turn is a transaction: `begin`, pop packets, run them, `commit`, publish, `finish`. A worker killed before `commit`
leaves stage RUNNING and an undo log, so that nothing of the turn happened but that its packets are lost; killed
between `commit` and `finish` it leaves COMMITTING, and the rest is carried out for it. See
:mod:`workers.core.recovery`.
"""

from __future__ import annotations

from shm.channel import GIFTS
from shm.intrinsics import kernel, load64, prefetch, settle, store64, ticks
from shm.layout import COMMITTING, CORE, IDLE, LINE, MODEL_BITS, RUNNING, TASK, UNDO_ENTRIES, Layout
from shm.ring import SLOT_SIZE, available, bump, forget_swap, push, room
from workers.datapath.packet import frame_address, write_note

#: Entries of the undo log that one packet takes at most, see :mod:`workers.graph.spread`: enough for a Tee of 255
#: outputs.
PACKET_ENTRIES = 640
#: No turn begins another packet when fewer entries than one packet may need, and its end, which may lend a domU empty
#: slots, are left in the undo log.
UNDO_LIMIT = UNDO_ENTRIES - PACKET_ENTRIES - 2 * GIFTS
#: Slots between the packet handled and the one whose frame is prefetched: about one miss to memory.
AHEAD = 12
#: Packets from the slow path that one turn takes.
RESUME = 32
#: Quanta that a port's turn takes from its queue, which fills by one at most: once the port has been full, packets
#: come to pass the queue by again.
DRAIN = 2
#: Most packets between two polls of the clock: what a turn may be late by, if its packets become expensive.
LOOK = 16
#: Slots in a cache line.
_A_LINE = LINE // SLOT_SIZE
#: How many bits of an entry are the port.
PORT_BITS = 4
PORT_MASK = (1 << PORT_BITS) - 1

#: Where every element's state begins: see workers.element.
_HEAD = Layout("element", {"made": "i8", "drops": "i8"})
MADE, DROPS = _HEAD["made"], _HEAD["drops"]


@kernel
def begin(core):
    """Open the transaction."""
    forget_swap(core)
    settle()
    store64(core + CORE["stage"], RUNNING)
    settle()


@kernel
def commit(core):
    """All packets are handled: from here the turn counts, even if the worker dies."""
    settle()
    store64(core + CORE["stage"], COMMITTING)
    settle()


@kernel
def finish(core):
    """Close the transaction."""
    settle()
    store64(core + CORE["undo_count"], 0)
    store64(core + CORE["stage"], IDLE)
    settle()


@kernel
def ask_frames(slots, mask, pool, at, end):
    """Prefetch the frames in the slots from index `at` up to `end`; return `end`."""
    while at < end:
        prefetch(frame_address(slots + (at & mask) * SLOT_SIZE, pool))
        at += 1
    return end


@kernel
def ask_slots(slots, mask, at, last):
    """Ask for the slots that the next look begins with: from index `at` on, none behind the `last`."""
    for i in range(0, LOOK, _A_LINE):
        prefetch(slots + (least(at + i, last) & mask) * SLOT_SIZE)


@kernel
def log_is_full(core):
    """Return whether the turn must end for lack of undo entries."""
    return load64(core + CORE["undo_count"]) > UNDO_LIMIT


@kernel
def look(core, task, at, count):
    """Poll the clock: packet `at` of `count` is next. Return where to poll again; `at` if time is up.

    The first packet, the first two, four ... are timed, so a turn whose packets have become a thousand times
    as expensive ends after its time, and not after its quantum.
    """
    if load64(core + CORE["virtual"]):
        fits = (load64(core + CORE["turn_ticks"]) << MODEL_BITS) // (load64(task + TASK["model_ticks"]) + 1)
        if at:
            return at
        return count if count <= fits else fits + 1
    if at and ticks() - load64(core + CORE["since"]) > load64(core + CORE["turn_ticks"]):
        return at
    ahead = at if at else 1
    end = at + (ahead if ahead < LOOK else LOOK)
    return end if end < count else count


@kernel
def drop(core, state, code):
    """Count a packet dropped by the element whose state is at `state`, for the reason in `code`."""
    bump(core, state + DROPS + 8 * (-1 - code))


@kernel
def made(core, state):
    """Count a packet that the element made."""
    bump(core, state + MADE)


@kernel
def send_aside(core, packet, entry, ring, counter):
    """Put a packet into a punt or inject ring, or count it at `counter` if that is full."""
    if room(ring, 1):
        write_note(ring, packet, entry)
        push(ring, packet, core)
    else:
        bump(core, counter)


@kernel
def punt(core, packet, entry, counter):
    """Hand a packet to the slow path."""
    send_aside(core, packet, entry, load64(load64(core + CORE["task"]) + TASK["punt"]), counter)


@kernel
def requeue(core, packet, entry, counter):
    """Let a packet go round again, next turn: a cycle of compiled elements is cut here."""
    send_aside(core, packet, entry, load64(load64(core + CORE["task"]) + TASK["inject"]), counter)


@kernel
def least(one, other):
    """Return the smaller."""
    return one if one < other else other


@kernel
def pending(ring, wanted):
    """Return how many packets an input offers, at most `wanted`; 0 if there is no ring."""
    if ring == 0:
        return 0
    return available(ring, wanted)
