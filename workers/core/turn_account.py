# SPDX-License-Identifier: MIT
"""What a turn, or a moment without one, is accounted as: on the core, the client and the task; and in the recorder."""

from __future__ import annotations

from shm.intrinsics import add64, cpu_time_ns, inlined, kernel, load64, pause, record, store32, store64, ticks
from shm.layout import CLIENT, CORE, DECISION, DECISIONS, MODEL_BITS, TASK
from workers.core.cost_model import modelled
from workers.core.stride import MEASURED, charge, price, sample

CORE_RECORD = CORE.dtype


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


@kernel
@inlined
def idle(core, now):
    """Let the core be idle for a moment, and poll after it; return the time then."""
    state = record(core, CORE_RECORD)
    pause()
    state["next_poll"] = now
    after = now_after(core, 0, now, 0)
    elapsed = consumed(core, after - now)
    state["idle_ticks"] += elapsed
    state["slice_ticks"] += elapsed
    return after


@kernel
@inlined
def account_turn(core, client, slot, task, begun, elapsed, packets):
    """Charge a client for a turn of its task; `slot` is the address of its pass, `elapsed` the ticks of CPU time."""
    state = record(core, CORE_RECORD)
    by_lines = account(core, task, elapsed, packets)
    if packets and state["discipline"] == MEASURED:
        sample(task, state["sample"], elapsed, packets)
    if state["line_pace"] and packets:
        make_due(state, begun, packets * load64(task + TASK["lines"]))
    amount = by_lines if state["by_memory"] else price(state["discipline"], task, elapsed, packets)
    charge(client, slot, amount, elapsed)
    remember(core, state["decisions"], begun, task, state["least_pass"], elapsed, packets)
    state["slice_ticks"] += elapsed
    state["decisions"] += 1
    if packets:
        state["busy_ticks"] += elapsed
        add64(client + CLIENT["used_lines"], packets * load64(task + TASK["lines"]) >> MODEL_BITS)
    else:
        state["idle_ticks"] += elapsed
