# SPDX-License-Identifier: MIT
"""What a turn takes in virtual time: modelled cycles, and waiting for a shared memory controller.

The controller is one queue (the paper, section 2.1.1: many short accesses from all ports and cores, one
memory controller hub). A turn asks it for all the lines of its packets; it ends when both its cycles and its
accesses are done.
"""

from __future__ import annotations

from shm.intrinsics import kernel, load64, store64
from shm.layout import CONTROLLER, CORE, MODEL_BITS, TASK

_COST, _TURN, _POLL, _CONTROLLER = TASK["model_ticks"], CORE["turn_cost"], CORE["poll_ticks"], CORE["controller"]
_LINES, _LINE_TICKS, _FREE, _SERVED = TASK["lines"], CONTROLLER["line_ticks"], 0, CONTROLLER["lines"]
_PART = CONTROLLER["part"]


@kernel
def modelled(core, task, begun, packets):
    """Return when a turn of `packets` that began at `begun` ends, in ticks; task 0: when to look again."""
    if task == 0:
        return begun + load64(core + _POLL)
    cycles = load64(task + _COST)
    end = begun + load64(core + _TURN) + (packets * cycles >> MODEL_BITS)
    controller = load64(core + _CONTROLLER)
    if controller == 0 or packets == 0:
        return end
    return use_memory(controller, begun, packets * load64(task + _LINES) >> MODEL_BITS, end)


@kernel
def use_memory(controller, begun, lines, end):
    """Ask the controller for `lines` from `begun` on; return when they have come, `end` at the earliest."""
    done, part = load64(controller + _FREE), load64(controller + _PART)
    if done < begun:
        done, part = begun, 0
    part += lines * load64(controller + _LINE_TICKS)
    done += part >> MODEL_BITS
    store64(controller + _FREE, done)
    store64(controller + _PART, part & (1 << MODEL_BITS) - 1)
    store64(controller + _SERVED, load64(controller + _SERVED) + lines)
    return done if done > end else end
