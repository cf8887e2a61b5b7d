# SPDX-License-Identifier: MIT
"""What loads a processor and the memory of the machine: for experiments with their shares."""

from __future__ import annotations

from typing import Any

from shm.intrinsics import add64
from shm.layout import LINE
from workers.arguments import Argument, between
from workers.element import Element, Needs

#: Lines that each packet touches.
_LINES = 16


class Spend(Element):
    """Takes time with each packet: ROUNDS steps of a random-number generator, each behind the one before.

    Syntax: `Spend([ROUNDS])`, ROUNDS 0 by default; a step takes some 5 cycles.

    Handlers: `rounds` (read, write): a path becomes more expensive, or less, while it runs.
    """

    cycles = 0
    arguments = (Argument("ROUNDS", between(0, 1_000_000), 0, live=True),)
    state = {"rounds": "i8", "seed": "i8"}

    @staticmethod
    def process(state, packet):
        seed = state["seed"]
        for _ in range(state["rounds"]):
            # A step that is linear in the seed would be folded with its neighbours by the compiler.
            seed = ((seed ^ seed >> 15) * 0x2C1B3C6D + 1) & 0xFFFFFFFF
        state["seed"] = seed
        return 0


class MemoryHog(Element):
    """Reads and writes 16 random cache lines of a large area with each packet: a memory-intensive task.

    Syntax: `MemoryHog([MEGABYTES])`

    The area has MEGABYTES MiB (default 16), a power of two: more than the caches hold, and nearly each line comes
    from memory. `InfiniteSource -> MemoryHog -> Discard` is the control plane of the paper's section 3.4.
    """

    lines = _LINES
    cycles = 20 * _LINES
    arguments = (Argument("MEGABYTES", between(1, 1024), 16),)
    state = {"area": "i8", "mask": "i8", "seed": "i8"}

    @classmethod
    def needs(cls, values: dict[str, Any]) -> Needs:
        return Needs(areas={"area": cls._bytes(values)})

    @staticmethod
    def _bytes(values: dict[str, Any]) -> int:
        return 1 << 20 + (values["megabytes"].bit_length() - 1)

    @classmethod
    def set_up(cls, state: Any, values: dict[str, Any]) -> None:
        state["mask"] = cls._bytes(values) // LINE - 1

    @staticmethod
    def process(state, packet):
        seed = state["seed"]
        for _ in range(_LINES):
            # Numerical Recipes' quick generator: its upper bits are good enough for addresses.
            seed = (seed * 1664525 + 1013904223) & 0xFFFFFFFF
            line = state["area"] + (seed >> 8 & state["mask"]) * LINE
            add64(line, 1)
        state["seed"] = seed
        return 0
