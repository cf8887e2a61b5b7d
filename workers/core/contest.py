# SPDX-License-Identifier: MIT
"""Contested time: how long routers competed for a core, and what each used of it then. Shares are judged over it.

A router that has nothing waiting has no claim to a core, and one that is alone there has all of it; neither says
anything about fairness. So a core's time is cut into windows of its own clock, and in each those clients compete that
had something to do throughout. If two or more did, they are entitled to what they used together, by weight; what a
client is above or below that, over all such windows, is its error. (Max-min fairness: a client that wants less than its
share has what it wants, and the others divide the rest by weight.)

Turns are whole, so no client has exactly its due. What two clients had, each divided by its weight, differs by less
than the sum of one turn of each, divided alike (:mod:`workers.core.stride`). With q_j a turn of client j, w_j its
weight, W that of all, and d_i what client i was due, client i is away from that by less than a *step*, s_i = w_i
max(q_j / w_j), where a contest begins, and by another where it ends: by 2 s_i / d_i of its due. And by no more than all
others together are away from theirs, so with W - w_i in place of w_i where that is less. A turn that took much longer
than others (the host took the processor away in it) is made good once all have had as much by weight, so steps shrink
with what is due.
"""

from __future__ import annotations

from shm.intrinsics import add64, kernel, load64, store64
from shm.layout import CLIENT, CORE, IDLE_PASS, MODEL_BITS, STRIDE_BITS

#: Length of a window: some turns of each client, and the time between two visits to the interpreter.
WINDOW_NS = 1_000_000

#: The weight that belongs to a stride of one.
_WEIGHT = float(1 << STRIDE_BITS)


@kernel
def used_by(core, client):
    """Return a client's use of the resource that its turns are charged: ticks, or accesses to memory."""
    return load64(client + (CLIENT["used_lines"] if load64(core + CORE["by_memory"]) else CLIENT["used_ticks"]))


@kernel
def longest_turn(core, client):
    """Return the longest turn of a client in the last window in which it had one, in the unit of :func:`used_by`."""
    ticks, line = abs(load64(client + CLIENT["window_turn"])), load64(core + CORE["line_ticks"])
    return ticks / line * (1 << MODEL_BITS) if load64(core + CORE["by_memory"]) and line else float(ticks)


@kernel
def competed(client, slot):
    """Return whether a client has had something to do since the window began."""
    return load64(slot) != IDLE_PASS and load64(client + CLIENT["window_joins"]) == load64(client + CLIENT["joins"])


@kernel
def close_window(core, clients, passes, count):
    """Close the core's window if it is long enough: account it to those that competed, and begin the next.

    A worker that is killed in here miscounts one window, of some clients.
    """
    length = load64(core + CORE["clock_ns"]) - load64(core + CORE["window_ns"])
    if length < WINDOW_NS:
        return
    store64(core + CORE["window_ns"], load64(core + CORE["clock_ns"]))
    competitors, weights, used, step = 0, 0.0, 0, 0.0
    longest, heaviest = 0.0, 0.0  # turn of all; stride of those that have had none yet
    for c in range(count):
        client = load64(clients + 8 * c)
        if client and competed(client, passes + 8 * c):
            competitors += 1
            weights += _WEIGHT / load64(client + CLIENT["stride"])
            turn, stride = longest_turn(core, client), load64(client + CLIENT["stride"]) / _WEIGHT
            longest, step = max(longest, turn), max(step, turn * stride)
            heaviest = max(heaviest, stride if turn == 0 else 0.0)
            used += used_by(core, client) - load64(client + CLIENT["window_used"])
    # A turn that has not been seen is as long as the longest that has.
    step = max(step, longest * heaviest)
    for c in range(count):
        client = load64(clients + 8 * c)
        if client == 0:
            continue
        slot, now = passes + 8 * c, used_by(core, client)
        if competed(client, slot):
            add64(client + CLIENT["backlogged_ns"], length)
            if competitors > 1:
                weight = _WEIGHT / load64(client + CLIENT["stride"])
                due, less = int(used * (weight / weights)), min(weight, weights - weight)
                add64(client + CLIENT["contested_ns"], length)
                add64(client + CLIENT["contested_used"], now - load64(client + CLIENT["window_used"]))
                add64(client + CLIENT["contested_due"], due)
                left, mine = load64(client + CLIENT["contested_step"]) - int(used * (less / weights)), int(step * less)
                store64(client + CLIENT["contested_step"], left if left > mine else mine)
        store64(client + CLIENT["window_used"], now)
        # Below 0 it is known still, and any turn is longer.
        store64(client + CLIENT["window_turn"], -abs(load64(client + CLIENT["window_turn"])))
        # An idle client joins later, and has not competed throughout.
        store64(client + CLIENT["window_joins"], load64(client + CLIENT["joins"]) if load64(slot) != IDLE_PASS else -1)
