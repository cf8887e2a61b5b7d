# SPDX-License-Identifier: MIT
"""For how long routers competed for a core, and what each had of it then: the time in which shares can be judged.

A router that has nothing waiting has no claim to a core, and one that is alone there has all of it; neither says
anything about fairness. So a core's time is cut into windows of its own clock, and in each those clients compete that
had something to do throughout. Where two or more did, they are entitled to what they used together, by weight; what a
client is above or below that, over all such windows, is its error. (Max-min fairness: who wants less than its share has
what it wants, and the others divide the rest by weight.)
"""

from __future__ import annotations

from shm.intrinsics import kernel, load64, store64
from shm.layout import CLIENT, CORE, IDLE_PASS, STRIDE_BITS

#: Length of a window: some turns of each client, and the time between two visits to the interpreter.
WINDOW_NS = 1_000_000

_CLOCK, _BEGAN, _BY_MEMORY = CORE["clock_ns"], CORE["window_ns"], CORE["by_memory"]
_TICKS, _LINES, _STRIDE, _JOINS = CLIENT["used_ticks"], CLIENT["used_lines"], CLIENT["stride"], CLIENT["joins"]
_SEEN_USED, _SEEN_JOINS = CLIENT["window_used"], CLIENT["window_joins"]
_BACKLOGGED, _CONTESTED = CLIENT["backlogged_ns"], CLIENT["contested_ns"]
_HAD, _ENTITLED = CLIENT["contested_used"], CLIENT["contested_due"]
#: The weight that belongs to a stride of one.
_WEIGHT = float(1 << STRIDE_BITS)


@kernel
def used_by(core, client):
    """Return what a client has used of the resource that its turns are charged: ticks, or accesses to memory."""
    return load64(client + (_LINES if load64(core + _BY_MEMORY) else _TICKS))


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
    competitors, weights, used = 0, 0.0, 0
    for c in range(count):
        client = load64(clients + 8 * c)
        if client and competed(client, passes + 8 * c):
            competitors += 1
            weights += _WEIGHT / load64(client + _STRIDE)
            used += used_by(core, client) - load64(client + _SEEN_USED)
    for c in range(count):
        client = load64(clients + 8 * c)
        if client == 0:
            continue
        slot, now = passes + 8 * c, used_by(core, client)
        if competed(client, slot):
            store64(client + _BACKLOGGED, load64(client + _BACKLOGGED) + length)
            if competitors > 1:
                due = int(used * (_WEIGHT / load64(client + _STRIDE) / weights))
                store64(client + _CONTESTED, load64(client + _CONTESTED) + length)
                store64(client + _HAD, load64(client + _HAD) + now - load64(client + _SEEN_USED))
                store64(client + _ENTITLED, load64(client + _ENTITLED) + due)
        store64(client + _SEEN_USED, now)
        # Who is idle joins later, and has not competed throughout.
        store64(client + _SEEN_JOINS, load64(client + _JOINS) if load64(slot) != IDLE_PASS else -1)
