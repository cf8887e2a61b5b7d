# SPDX-License-Identifier: MIT
"""A worker: the process that is an emulated core."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from shm.layout import CORE, TASK
from shm.memory import load64, store64
from workers.shape import Shape
from workers.slowpath import BUDGET_NS, SlowTask, run_slow

#: Time between two visits to the interpreter.
SLICE_NS = 1_000_000
#: Pause of an idle worker that sleeps: two of them and the timer's slack stay far below a millisecond.
NAP_S = 20e-6

Kernel = Callable[..., int]


class Worker:
    """One emulated core. Made in the zygote, so that a process forked for it runs at once.

    Parameters
    ----------
    manifest : dict
        What is where, see :meth:`vre.build.Builder.manifest`.
    number : int
        Which core.
    code : dict
        Router name to its tasks' compiled entry points.
    run_slice, read_ticks : callable
        The compiled loop and the clock.
    """

    def __init__(
        self, manifest: dict[str, Any], number: int, code: dict[str, list[Any]], run_slice: Kernel, read_ticks: Kernel
    ) -> None:
        place = manifest["cores"][number]
        self.core: int = place["address"]
        self._slice, self._ticks = run_slice, read_ticks
        self._slice_ticks = round(SLICE_NS / manifest["ns_per_tick"])
        self._slow_ticks = round(BUDGET_NS / manifest["ns_per_tick"])
        self._dilated: bool = manifest["dilated"]
        shapes = {router["name"]: shape_of(router) for router in manifest["routers"]}
        self.slow: list[SlowTask] = []
        for task in place["tasks"]:
            address = task["address"]
            store64(address + TASK["function"], code[task["router"]][task["number"]].address)
            self.slow.append(SlowTask(self.core, address, shapes[task["router"]], read_ticks))

    def run(self) -> None:
        """Run slices, with the slow path between them, until told to stop."""
        core = self.core
        store64(core + CORE["pid"], os.getpid())
        sleeps = load64(core + CORE["spin_ticks"]) > 0
        while load64(core + CORE["stop"]) == 0:
            begun = self._ticks()
            moved = self._slice(core, begun + self._slice_ticks)
            handled = run_slow(self.slow, self._ticks, self._slow_ticks)
            store64(core + CORE["slices"], load64(core + CORE["slices"]) + 1)
            store64(core + CORE["heartbeat"], load64(core + CORE["heartbeat"]) + 1)
            if handled:
                # Packets have come back: look at idle tasks at once.
                store64(core + CORE["next_poll"], 0)
            elif self._dilated:
                # A slice ends early when the core is ahead of its traffic: let the wire catch up.
                os.sched_yield()
            elif sleeps and moved == 0:
                time.sleep(NAP_S)


def shape_of(router: dict[str, Any]) -> Shape:
    """Return the shape that a manifest's router has."""
    shape = router["shape"]
    return Shape(
        tuple(shape["classes"]),
        tuple(tuple(edge) for edge in shape["edges"]),
        tuple((kind, element) for kind, element in shape["tasks"]),
    )
