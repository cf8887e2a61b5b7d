# SPDX-License-Identifier: MIT
"""For how long routers competed for a core, and what each had of it then: the time in which shares can be judged.

A router that has nothing waiting has no claim to a core, and one that is alone there has all of it; neither says
anything about fairness. So a core's time is cut into windows of its own clock, and in each those clients compete that
had something to do throughout. Where two or more did, they are entitled to what they used together, by weight; what a
client is above or below that, over all such windows, is its error. (Max-min fairness: who wants less than its share has
what it wants, and the others divide the rest by weight.)

Turns are whole, so nobody has exactly its due. What two clients had, each divided by its weight, differs by less than
the sum of one turn of each, divided alike (:mod:`workers.core.stride`). With q_j a turn of client j, w_j its weight, W
that of all, and d_i what client i was due, client i is away from that by less than a *step*, s_i = w_i max(q_j / w_j),
where a contest begins, and by another where it ends: by 2 s_i / d_i of its due. And by no more than all others together
are away from theirs, so with W - w_i in place of w_i where that is less. A turn that took much longer than others (the
host took the processor away in it) is made good once all have had as much by weight, so steps shrink with what is due.
"""

from __future__ import annotations

from shm.intrinsics import kernel, load64, store64
from shm.layout import CLIENT, CORE, IDLE_PASS, MODEL_BITS, STRIDE_BITS

#: Length of a window: some turns of each client, and the time between two visits to the interpreter.
WINDOW_NS = 1_000_000

_CLOCK, _BEGAN, _BY_MEMORY = CORE["clock_ns"], CORE["window_ns"], CORE["by_memory"]
_TICKS, _LINES, _STRIDE, _JOINS = CLIENT["used_ticks"], CLIENT["used_lines"], CLIENT["stride"], CLIENT["joins"]
_SEEN_USED, _SEEN_JOINS = CLIENT["window_used"], CLIENT["window_joins"]
_BACKLOGGED, _CONTESTED = CLIENT["backlogged_ns"], CLIENT["contested_ns"]
_TURN, _STEP, _LINE_TICKS = CLIENT["window_turn"], CLIENT["contested_step"], CORE["line_ticks"]
_HAD, _ENTITLED = CLIENT["contested_used"], CLIENT["contested_due"]
#: The weight that belongs to a stride of one.
_WEIGHT = float(1 << STRIDE_BITS)


@kernel
def used_by(core, client):
    """Return what a client has used of the resource that its turns are charged: ticks, or accesses to memory."""
    return load64(client + (_LINES if load64(core + _BY_MEMORY) else _TICKS))


@kernel
def longest_turn(core, client):
    """Return the longest turn of a client in the last window in which it had one, in the unit of :func:`used_by`."""
    ticks, line = abs(load64(client + _TURN)), load64(core + _LINE_TICKS)
    return ticks / line * (1 << MODEL_BITS) if load64(core + _BY_MEMORY) and line else float(ticks)


@kernel
def competed(client, slot):
    """Return whether a client has had something to do since the window began."""
    return load64(slot) != IDLE_PASS and load64(client + _SEEN_JOINS) == load64(client + _JOINS)


@kernel
def close_window(core, clients, passes, count):
    """Close the core's window if it is long enough: account it to those that competed, and begin the next.

    A worker that is killed in here miscounts one window, of some clients.
    """
    length = load64(core + _CLOCK) - load64(core + _BEGAN)
    if length < WINDOW_NS:
        return
    store64(core + _BEGAN, load64(core + _CLOCK))
    competitors, weights, used, step = 0, 0.0, 0, 0.0
    longest, heaviest = 0.0, 0.0  # turn of all; stride of those that have had none yet
    for c in range(count):
        client = load64(clients + 8 * c)
        if client and competed(client, passes + 8 * c):
            competitors += 1
            weights += _WEIGHT / load64(client + _STRIDE)
            turn, stride = longest_turn(core, client), load64(client + _STRIDE) / _WEIGHT
            longest, step = max(longest, turn), max(step, turn * stride)
            heaviest = max(heaviest, stride if turn == 0 else 0.0)
            used += used_by(core, client) - load64(client + _SEEN_USED)
    # A turn that has not been seen is as long as the longest that has.
    step = max(step, longest * heaviest)
    for c in range(count):
        client = load64(clients + 8 * c)
        if client == 0:
            continue
        slot, now = passes + 8 * c, used_by(core, client)
        if competed(client, slot):
            store64(client + _BACKLOGGED, load64(client + _BACKLOGGED) + length)
            if competitors > 1:
                weight = _WEIGHT / load64(client + _STRIDE)
                due, less = int(used * (weight / weights)), min(weight, weights - weight)
                store64(client + _CONTESTED, load64(client + _CONTESTED) + length)
                store64(client + _HAD, load64(client + _HAD) + now - load64(client + _SEEN_USED))
                store64(client + _ENTITLED, load64(client + _ENTITLED) + due)
                left, mine = load64(client + _STEP) - int(used * (less / weights)), int(step * less)
                store64(client + _STEP, left if left > mine else mine)
        store64(client + _SEEN_USED, now)
        # Below 0 it is known still, and any turn is longer.
        store64(client + _TURN, -abs(load64(client + _TURN)))
        # Who is idle joins later, and has not competed throughout.
        store64(client + _SEEN_JOINS, load64(client + _JOINS) if load64(slot) != IDLE_PASS else -1)
