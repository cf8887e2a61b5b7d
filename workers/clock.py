# SPDX-License-Identifier: MIT
"""Ticks and nanoseconds.

A tick is one count of the processor's own clock as :func:`shm.memory.ticks` reads it. Its rate is measured
once, against the system's monotonic clock, by the process that everything else is forked from.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shm.layout import CORE, MODEL_BITS
from shm.memory import record, ticks
from shm.outside import CAPTURE, WIRE
from workers.stride import DISCIPLINES


@dataclass(frozen=True)
class Calibration:
    """How ticks map to time: `epoch_ticks` is when the platform's time began."""

    epoch_ticks: int
    ns_per_tick: float

    def ns(self, ticks: int) -> float:
        """Return a number of ticks in ns."""
        return ticks * self.ns_per_tick

    def ticks(self, ns: float) -> int:
        """Return ns in ticks."""
        return round(ns / self.ns_per_tick)


def calibrate(read: Callable[[], int], seconds: float = 0.02) -> Calibration:
    """Measure the tick rate over `seconds`."""
    before, begun = read(), time.monotonic_ns()
    time.sleep(seconds)
    after, ended = read(), time.monotonic_ns()
    return Calibration(before, (ended - begun) / (after - before))


#: Between two looks at idle tasks; a turn longer than PREEMPT is checked against the CPU clock; a worker
#: that sleeps spins so long first.
POLL_NS, PREEMPT_NS, SPIN_NS = 4_000, 100_000, 50_000


def install(manifest: dict[str, Any], calibration: Calibration) -> None:
    """Write a calibration, and what follows from it, where cores and wire look for it."""
    manifest["ns_per_tick"] = calibration.ns_per_tick
    for place in manifest["cores"]:
        # The NIC's own core is no emulated one: it keeps to the wall clock, and ends its slice when it finds nothing.
        nic = place["nic"]
        set_up_core(place["address"], manifest | {"dilated": False} if nic else manifest, calibration)
        if nic:
            record(place["address"], CORE.dtype)["spin_ticks"] = 1
    wire = record(manifest["wire"]["address"], WIRE.dtype)
    wire["epoch_ticks"], wire["ns_per_tick"] = calibration.epoch_ticks, calibration.ns_per_tick
    for _, address, _ in manifest["wire"]["captures"]:
        record(address, CAPTURE.dtype)["epoch_ns"] = time.time_ns()


def set_up_core(address: int, manifest: dict[str, Any], calibration: Calibration) -> None:
    """Write into a core's record what follows from a calibration and a manifest's settings."""
    core = record(address, CORE.dtype)
    spin = 0 if manifest["poll"] or manifest["dilated"] else SPIN_NS
    core["epoch_ticks"], core["ns_per_tick"] = calibration.epoch_ticks, calibration.ns_per_tick
    core["poll_ticks"], core["preempt_ticks"] = calibration.ticks(POLL_NS), calibration.ticks(PREEMPT_NS)
    core["spin_ticks"] = calibration.ticks(spin)
    core["turn_ticks"], core["sample"] = calibration.ticks(manifest["turn_ns"]), manifest["sample"]
    core["discipline"], core["dilated"] = DISCIPLINES.index(manifest["discipline"]), manifest["dilated"]
    if manifest["memory"]:
        line_ns = 1e9 / manifest["memory"]
        core["line_ticks"] = max(1, round(line_ns / calibration.ns_per_tick * (1 << MODEL_BITS)))


def read_ticks():
    """Return the tick counter: the kernel that interpreters call."""
    return ticks()
