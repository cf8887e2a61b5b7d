# SPDX-License-Identifier: MIT
"""The slice: the compiled loop that runs a core between two visits to the interpreter.

Pick a task, stamp the watchdog, run the path, read the clock, charge. Nothing per packet or per batch
happens anywhere else.
"""

from __future__ import annotations

from shm.channel import has_returns
from shm.intrinsics import (
    acquire64,
    add64,
    call,
    cpu_time_ns,
    kernel,
    load64,
    pause,
    record,
    settle,
    store32,
    store64,
    ticks,
)
from shm.layout import ALWAYS, CHANNEL_ENDS, CLIENT, CORE, DECISION, DECISIONS, IDLE_PASS, MODEL_BITS, TASK
from shm.ring import is_waiting
from workers.core.clock import to_ns
from workers.core.contest import close_window
from workers.core.cost_model import modelled
from workers.core.stride import MEASURED, REBASE, adopt, charge, join, leave, move_back, pick, price, sample

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
def consumed(core, elapsed):
    """Return the ticks of CPU time behind `elapsed` ticks: less, if the worker was preempted."""
    state = record(core, CORE_RECORD)
    if elapsed <= state["preempt_ticks"] or state["virtual"]:
        return elapsed
    in_slice = int((cpu_time_ns() - state["slice_cpu_ns"]) / state["ns_per_tick"])
    real = in_slice - state["slice_ticks"]
    if real >= elapsed:
        return elapsed
    state["preemptions"] += 1
    return real if real > 0 else 0


@kernel
def now_after(core, task, begun, packets):
    """Return the time after a turn (task 0: after an idle look round) that began at `begun`."""
    if load64(core + CORE["virtual"]):
        return modelled(core, task, begun, packets)
    return ticks()


@kernel
def remember(core, number, now, task, weight_pass, elapsed, packets):
    """Write a decision into the flight recorder."""
    at = load64(core + CORE["recorder"]) + (number & (DECISIONS - 1)) * DECISION.size
    store64(at, now)
    store64(at + DECISION["task"], task)
    store64(at + DECISION["pass"], weight_pass)
    store32(at + DECISION["ticks"], elapsed if elapsed < 0xFFFFFFFF else 0xFFFFFFFF)
    store32(at + DECISION["packets"], packets)


@kernel
def account(core, task, elapsed, packets):
    """Add a turn to its task's account; return what its memory accesses are worth in ticks."""
    add64(task + TASK["used_ticks"], elapsed)
    add64(task + TASK["turns"], 1)
    if packets == 0:
        add64(task + TASK["empty_turns"], 1)
        return elapsed
    lines = packets * load64(task + TASK["lines"]) >> MODEL_BITS
    add64(task + TASK["packets"], packets)
    add64(task + TASK["used_lines"], lines)
    return lines * load64(core + CORE["line_ticks"]) >> MODEL_BITS


@kernel
def make_due(state, now, lines):
    """Set when the next memory access is due, after `lines` (MODEL_BITS after the point) from `now` on."""
    if state["line_due"] < now:
        state["line_due"] = now
        state["line_part"] = 0
    part = state["line_part"] + (lines * state["line_pace"] >> MODEL_BITS)
    state["line_due"] += part >> MODEL_BITS
    state["line_part"] = part & (1 << MODEL_BITS) - 1


def run_slice(core: int, until: int) -> int:
    """Run the tasks of a core until `until` ticks, or until it has been idle for `spin_ticks`.

    Returns
    -------
    int
        Turns taken that moved packets.
    """
    state = record(core, CORE_RECORD)
    clients, passes = state["clients"], state["passes"]
    count, discipline, by_memory = state["client_count"], state["discipline"], state["by_memory"]
    state["slice_cpu_ns"] = cpu_time_ns()
    state["slice_ticks"] = 0
    state["clock_base"] = state["clock_ns"]
    moved = 0
    now = state["now"] if state["virtual"] else ticks()
    idle_since = now
    while now < until:
        publish_clock(core, now)
        if state["dilated"] and state["clock_ns"] - acquire64(core + CORE["served_ns"]) > LEAD_NS:
            # The core is ahead of its traffic, which a dedicated one never is. The wait does not count.
            break
        if now >= state["next_poll"]:
            wake(core, clients, count, passes)
            state["next_poll"] = now + state["poll_ticks"]
        # Pick.
        # A core that has had its share of the memory's accesses idles until the next one is due.
        rests = state["line_pace"] and state["line_due"] > now
        chosen = -1 if rests else pick(passes, count)
        if chosen < 0:
            pause()
            state["next_poll"] = now
            after = now_after(core, 0, now, 0)
            elapsed = consumed(core, after - now)
            state["idle_ticks"] += elapsed
            state["slice_ticks"] += elapsed
            now = after
            if state["spin_ticks"] and now - idle_since > state["spin_ticks"]:
                break
            continue
        client, slot = load64(clients + 8 * chosen), passes + 8 * chosen
        least_pass = load64(slot)
        state["least_pass"] = least_pass
        task = next_task(client)
        if task == 0:
            # Its last task here has been unlinked.
            leave(client, slot)
            continue
        # Stamp.
        store64(core + CORE["since"], now)
        store64(core + CORE["task"], task)
        settle()
        # Run.
        done = call(
            load64(task + TASK["function"]), load64(task + TASK["block"]), core, task, load64(task + TASK["quantum"])
        )
        settle()
        store64(core + CORE["task"], 0)
        # Account.
        after = now_after(core, task, now, done)
        elapsed = consumed(core, after - now)
        by_lines = account(core, task, elapsed, done)
        if done and discipline == MEASURED:
            sample(task, state["sample"], elapsed, done)
        if state["line_pace"] and done:
            make_due(state, now, done * load64(task + TASK["lines"]))
        amount = by_lines if by_memory else price(discipline, task, elapsed, done)
        charge(client, slot, amount, elapsed)
        remember(core, state["decisions"], now, task, least_pass, elapsed, done)
        state["slice_ticks"] += elapsed
        state["decisions"] += 1
        now = after
        if done:
            state["busy_ticks"] += elapsed
            add64(client + CLIENT["used_lines"], (done * load64(task + TASK["lines"]) >> MODEL_BITS))
            moved += 1
            idle_since = now
        else:
            state["idle_ticks"] += elapsed
            store64(task + TASK["runnable"], 0)
            if next_task(client) == 0:
                leave(client, slot)
    state["now"] = now
    publish_clock(core, now)
    close_window(core, clients, passes, count)
    return moved
