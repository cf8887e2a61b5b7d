# SPDX-License-Identifier: MIT
"""The duration of a turn in virtual time: modelled cycles, and waiting for a shared memory controller.

The controller is one queue (the paper, section 2.1.1: many short accesses from all ports and cores, one
memory controller hub). A turn requests all the lines of its packets; it ends when both its cycles and its
accesses are done.
"""

from __future__ import annotations

from shm.intrinsics import add64, kernel, load64, store64
from shm.layout import CONTROLLER, CORE, MODEL_BITS, TASK


@kernel
def modelled(core, task, begun, packets):
    """Return when a turn of `packets` that began at `begun` ends, in ticks; task 0: when to look again."""
    if task == 0:
        return begun + load64(core + CORE["poll_ticks"])
    cycles = load64(task + TASK["model_ticks"])
    end = begun + load64(core + CORE["turn_cost"]) + (packets * cycles >> MODEL_BITS)
    controller = load64(core + CORE["controller"])
    if controller == 0 or packets == 0:
        return end
    return use_memory(controller, begun, packets * load64(task + TASK["lines"]) >> MODEL_BITS, end)


@kernel
def use_memory(controller, begun, lines, end):
    """Ask the controller for `lines` from `begun` on; return when they have come, `end` at the earliest."""
    done, part = load64(controller + CONTROLLER["free"]), load64(controller + CONTROLLER["part"])
    if done < begun:
        done, part = begun, 0
    part += lines * load64(controller + CONTROLLER["line_ticks"])
    done += part >> MODEL_BITS
    store64(controller + CONTROLLER["free"], done)
    store64(controller + CONTROLLER["part"], part & (1 << MODEL_BITS) - 1)
    add64(controller + CONTROLLER["lines"], lines)
    return done if done > end else end
