# SPDX-License-Identifier: MIT
"""The slice: the compiled loop that runs a core between two visits to the interpreter.

Pick a task, run its path, account for the turn. Nothing per packet or per batch happens anywhere else.

The parts of :func:`run_slice` are marked `inlined`: it is the same machine code as if they stood in it. The compiler
would call those that have grown large, and save the loop's values around each call.
"""

from __future__ import annotations

from shm.channel import has_returns
from shm.intrinsics import (
    acquire64,
    add64,
    call,
    cpu_time_ns,
    inlined,
    kernel,
    load64,
    record,
    settle,
    store64,
    ticks,
)
from shm.layout import ALWAYS, CHANNEL_ENDS, CLIENT, CORE, IDLE_PASS, TASK
from shm.ring import is_waiting
from workers.core.clock import to_ns
from workers.core.contest import close_window
from workers.core.stride import REBASE, adopt, join, leave, move_back, pick
from workers.core.turn_account import account_turn, consumed, idle, now_after

CORE_RECORD = CORE.dtype
#: How far a dilated core's clock may run ahead of its traffic: less than a ring holds at 10 Mp/s.
LEAD_NS = 40_000


@kernel
def has_work(task):
    """Return whether a turn of the task would find anything."""
    if load64(task + TASK["enabled"]) == 0:
        return 0
    polled, ring = load64(task + TASK["polled"]), load64(task + TASK["input"])
    if polled == ALWAYS:
        return 1
    if polled == CHANNEL_ENDS:
        if has_returns(ring):
            return 1
    elif ring and is_waiting(ring):
        return 1
    ring = load64(task + TASK["inject"])
    if ring and is_waiting(ring):
        return 1
    return 0


@kernel
def wake(core, clients, count, passes):
    """Poll every idle task; let clients with work join. Return how many tasks joined."""
    best = pick(passes, count)
    floor = load64(core + CORE["least_pass"])
    if best >= 0:
        floor = load64(passes + 8 * best)
    if floor >= REBASE:
        floor -= REBASE
        store64(core + CORE["least_pass"], floor)
        add64(core + CORE["rebases"], 1)
    rebases = load64(core + CORE["rebases"])
    joined = 0
    for c in range(count):
        client = load64(clients + 8 * c)
        if client == 0:
            continue
        if load64(client + CLIENT["rebases"]) != rebases:
            move_back(client, passes + 8 * c, rebases)
        wanted = load64(client + CLIENT["wanted"])
        if wanted == 0:
            continue
        if wanted != load64(client + CLIENT["stride"]):
            adopt(client, passes + 8 * c, floor)
        runnable = 0
        task = acquire64(client + CLIENT["tasks"])
        while task:
            if load64(task + TASK["runnable"]) == 0 and has_work(task):
                store64(task + TASK["runnable"], 1)
                joined += 1
                runnable = 1
            task = acquire64(task + TASK["next"])
        if runnable and load64(passes + 8 * c) == IDLE_PASS:
            join(client, passes + 8 * c, floor)
    return joined


@kernel
def next_task(client):
    """Return the client's runnable task after the one that ran last, 0 if none is."""
    last = load64(client + CLIENT["last"])
    task = last
    if last:
        task = acquire64(last + TASK["next"])
        while task:
            if load64(task + TASK["runnable"]) and load64(task + TASK["enabled"]):
                store64(client + CLIENT["last"], task)
                return task
            task = acquire64(task + TASK["next"])
    task = acquire64(client + CLIENT["tasks"])
    while task:
        if load64(task + TASK["runnable"]) and load64(task + TASK["enabled"]):
            store64(client + CLIENT["last"], task)
            return task
        task = acquire64(task + TASK["next"])
    return 0


@kernel
def publish_clock(core, now):
    """Publish the core's clock: CPU time in slices if dilated, else time since the platform's epoch."""
    state = record(core, CORE_RECORD)
    state["now"] = now
    if state["dilated"]:
        clock = state["clock_base"] + to_ns(state["slice_ticks"], state["tick_rate"])
    else:
        clock = to_ns(now - state["epoch_ticks"], state["tick_rate"])
    # Monotonic: a preemption found late may have let it run ahead.
    if clock > state["clock_ns"]:
        state["clock_ns"] = clock


@kernel
@inlined
def is_ahead(core):
    """Return whether a dilated core is ahead of its traffic, which a dedicated one never is."""
    return (
        load64(core + CORE["dilated"])
        and load64(core + CORE["clock_ns"]) - acquire64(core + CORE["served_ns"]) > LEAD_NS
    )


@kernel
@inlined
def begin_slice(core):
    """Begin a slice's accounts; return the time."""
    state = record(core, CORE_RECORD)
    state["slice_cpu_ns"] = cpu_time_ns()
    state["slice_ticks"] = 0
    state["clock_base"] = state["clock_ns"]
    return state["now"] if state["virtual"] else ticks()


@kernel
@inlined
def is_paced(core, now):
    """Return whether a core has had its share of the memory's accesses: it idles until the next one is due."""
    return load64(core + CORE["line_pace"]) and load64(core + CORE["line_due"]) > now


@kernel
@inlined
def run_turn(core, task, now):
    """Take a turn of a task, stamped for the watchdog; return how many packets it handled."""
    store64(core + CORE["since"], now)
    store64(core + CORE["task"], task)
    settle()
    done = call(
        load64(task + TASK["function"]), load64(task + TASK["block"]), core, task, load64(task + TASK["quantum"])
    )
    settle()
    store64(core + CORE["task"], 0)
    return done


def run_slice(core: int, until: int) -> int:
    """Run the tasks of a core until `until` ticks, or until it has been idle for `spin_ticks`.

    Returns
    -------
    int
        Turns taken that moved packets.
    """
    state = record(core, CORE_RECORD)
    clients, passes, count = state["clients"], state["passes"], state["client_count"]
    moved, now = 0, begin_slice(core)
    idle_since = now
    while now < until:
        publish_clock(core, now)
        if is_ahead(core):
            break  # the wait does not count
        if now >= state["next_poll"]:
            wake(core, clients, count, passes)
            state["next_poll"] = now + state["poll_ticks"]
        # Pick.
        chosen = -1 if is_paced(core, now) else pick(passes, count)
        if chosen < 0:
            now = idle(core, now)
            if state["spin_ticks"] and now - idle_since > state["spin_ticks"]:
                break
            continue
        client, slot = load64(clients + 8 * chosen), passes + 8 * chosen
        state["least_pass"] = load64(slot)
        task = next_task(client)
        if task == 0:
            leave(client, slot)  # its last task here has been unlinked
            continue
        # Run.
        begun = now
        done = run_turn(core, task, begun)
        now = now_after(core, task, begun, done)
        # Account.
        account_turn(core, client, slot, task, begun, consumed(core, now - begun), done)
        if done:
            moved += 1
            idle_since = now
        else:
            store64(task + TASK["runnable"], 0)
            if next_task(client) == 0:
                leave(client, slot)
    state["now"] = now
    publish_clock(core, now)
    close_window(core, clients, passes, count)
    return moved
