# SPDX-License-Identifier: MIT
"""The slice: the compiled loop that runs a core between two visits to the interpreter.

Pick a task, stamp the watchdog, run the path, read the clock, charge. Nothing per packet or per batch
happens anywhere else.
"""

from __future__ import annotations

from shm.layout import CLIENT, CORE, IDLE_PASS, TASK
from shm.memory import acquire64, call, cpu_time_ns, kernel, load64, pause, record, settle, store64, ticks
from shm.ring import HEAD, TAIL
from workers.stride import charge, join, leave, pick

CORE_RECORD = CORE.dtype
_CLIENT_SIZE, _TASK_SIZE = CLIENT.size, TASK.size
_FIRST, _COUNT, _LAST = CLIENT["first_task"], CLIENT["task_count"], CLIENT["last_task"]
_FUNCTION, _BLOCK, _INPUT = TASK["function"], TASK["block"], TASK["input"]
_INJECT, _RUNNABLE, _ENABLED = TASK["inject"], TASK["runnable"], TASK["enabled"]
_USED, _PACKETS, _TURNS = TASK["used_ticks"], TASK["packets"], TASK["turns"]
_EMPTY, _POLLED, _QUANTUM = TASK["empty_turns"], TASK["polled"], TASK["quantum"]
#: How far a dilated core's clock may run ahead of its traffic: less than a ring holds at 10 Mp/s.
LEAD_NS = 40_000
_TASK, _SINCE = CORE["task"], CORE["since"]


@kernel
def has_work(task):
    """Return whether a turn of the task would find anything."""
    if load64(task + _ENABLED) == 0:
        return 0
    if load64(task + _POLLED):
        return 1
    ring = load64(task + _INPUT)
    if ring and acquire64(ring + HEAD) != load64(ring + TAIL):
        return 1
    ring = load64(task + _INJECT)
    if ring and acquire64(ring + HEAD) != load64(ring + TAIL):
        return 1
    return 0


@kernel
def wake(core, clients, count, passes, tasks):
    """Look at every idle task; let those with work join. Return how many tasks joined."""
    best = pick(passes, count)
    floor = load64(core + CORE["least_pass"])
    if best >= 0:
        floor = load64(passes + 8 * best)
    joined = 0
    for c in range(count):
        client = clients + c * _CLIENT_SIZE
        first = load64(client + _FIRST)
        runnable = 0
        for t in range(first, first + load64(client + _COUNT)):
            task = tasks + t * _TASK_SIZE
            if load64(task + _RUNNABLE) == 0 and has_work(task):
                store64(task + _RUNNABLE, 1)
                joined += 1
                runnable = 1
        if runnable and load64(passes + 8 * c) == IDLE_PASS:
            join(client, passes + 8 * c, floor)
    return joined


@kernel
def next_task(client, tasks):
    """Return the client's runnable task after the one that ran last, 0 where none is."""
    first, count, at = load64(client + _FIRST), load64(client + _COUNT), load64(client + _LAST)
    for _ in range(count):
        at += 1
        if at >= count:
            at = 0
        task = tasks + (first + at) * _TASK_SIZE
        if load64(task + _RUNNABLE):
            store64(client + _LAST, at)
            return task
    return 0


@kernel
def publish_clock(core, now):
    """Publish the core's clock: CPU time in slices where dilated, else time since the platform's epoch."""
    state = record(core, CORE_RECORD)
    state["now"] = now
    if state["dilated"]:
        clock = state["clock_base"] + int(state["slice_ticks"] * state["ns_per_tick"])
    else:
        clock = int((now - state["epoch_ticks"]) * state["ns_per_tick"])
    # Never backwards: a preemption found late may have let it run ahead.
    if clock > state["clock_ns"]:
        state["clock_ns"] = clock


@kernel
def consumed(core, elapsed):
    """Return the ticks of CPU time behind `elapsed` ticks: less, where the worker was preempted."""
    state = record(core, CORE_RECORD)
    if elapsed <= state["preempt_ticks"]:
        return elapsed
    in_slice = int((cpu_time_ns() - state["slice_cpu_ns"]) / state["ns_per_tick"])
    real = in_slice - state["slice_ticks"]
    if real >= elapsed:
        return elapsed
    state["preemptions"] += 1
    return real if real > 0 else 0


def run_slice(core, until):
    """Run the tasks of a core until `until` ticks, or until it has been idle for `spin_ticks`.

    Returns
    -------
    int
        Turns taken that moved packets.
    """
    state = record(core, CORE_RECORD)
    clients, count, passes, tasks = state["clients"], state["client_count"], state["passes"], state["tasks"]
    state["slice_cpu_ns"] = cpu_time_ns()
    state["slice_ticks"] = 0
    state["clock_base"] = state["clock_ns"]
    moved = 0
    now = ticks()
    idle_since = now
    while now < until:
        publish_clock(core, now)
        if state["dilated"] and state["clock_ns"] - acquire64(core + CORE["served_ns"]) > LEAD_NS:
            # The core is ahead of its traffic, which a dedicated one never is. The wait does not count.
            break
        if now >= state["next_poll"]:
            wake(core, clients, count, passes, tasks)
            state["next_poll"] = now + state["poll_ticks"]
        # Pick.
        chosen = pick(passes, count)
        if chosen < 0:
            pause()
            state["next_poll"] = now
            after = ticks()
            elapsed = consumed(core, after - now)
            state["idle_ticks"] += elapsed
            state["slice_ticks"] += elapsed
            now = after
            if state["spin_ticks"] and now - idle_since > state["spin_ticks"]:
                break
            continue
        client = clients + chosen * _CLIENT_SIZE
        task = next_task(client, tasks)
        state["least_pass"] = load64(passes + 8 * chosen)
        # Stamp.
        store64(core + _SINCE, now)
        store64(core + _TASK, task)
        settle()
        # Run.
        done = call(load64(task + _FUNCTION), load64(task + _BLOCK), core, task, load64(task + _QUANTUM))
        settle()
        store64(core + _TASK, 0)
        # Account.
        after = ticks()
        elapsed = consumed(core, after - now)
        charge(client, passes + 8 * chosen, elapsed)
        store64(task + _USED, load64(task + _USED) + elapsed)
        store64(task + _TURNS, load64(task + _TURNS) + 1)
        state["slice_ticks"] += elapsed
        state["decisions"] += 1
        now = after
        if done:
            store64(task + _PACKETS, load64(task + _PACKETS) + done)
            state["busy_ticks"] += elapsed
            moved += 1
            idle_since = now
        else:
            state["idle_ticks"] += elapsed
            store64(task + _EMPTY, load64(task + _EMPTY) + 1)
            store64(task + _RUNNABLE, 0)
            if next_task(client, tasks) == 0:
                leave(client, passes + 8 * chosen)
    publish_clock(core, now)
    return moved
