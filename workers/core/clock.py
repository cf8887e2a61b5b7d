# SPDX-License-Identifier: MIT
"""Ticks and nanoseconds.

A tick is one count of the processor's own clock as :func:`shm.intrinsics.ticks` reads it. Its rate is measured
once, against the system's monotonic clock, by the process that everything else is forked from.

Clocks are whole numbers: below 2**62 ns (146 years) and 2**62 ticks nothing overflows or loses a nanosecond, which a
float64 does after 104 days.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from shm.intrinsics import kernel, record, ticks
from shm.layout import CORE, MODEL_BITS
from shm.manifest import CoreSettings, Manifest
from shm.wire_layout import CAPTURE, WIRE
from workers.core.stride import DISCIPLINES

#: A tick's length is kept in 2**-RATE_BITS ns: to within 0.1 ppm. Ticks may be up to 2,048 ns long.
RATE_BITS = 26
_RATE_MASK = (1 << RATE_BITS) - 1
#: Readings, of which the quickest is used: others may have been interrupted.
_READINGS = 32


@kernel
def to_ns(ticks, rate):
    """Return ticks in ns, rounded down; `rate` is a tick in 2**-RATE_BITS ns."""
    return (ticks >> RATE_BITS) * rate + ((ticks & _RATE_MASK) * rate >> RATE_BITS)


@dataclass(frozen=True)
class Calibration:
    """How ticks map to time: `epoch_ticks` is when the platform's time began, `epoch_unix_ns` in the world's time."""

    epoch_ticks: int
    ns_per_tick: float
    epoch_unix_ns: int = 0

    @property
    def rate(self) -> int:
        """A tick, as :func:`to_ns` takes it."""
        return round(self.ns_per_tick * (1 << RATE_BITS))

    def ns(self, ticks: int) -> float:
        """Return a number of ticks in ns."""
        return ticks * self.ns_per_tick

    def ticks(self, ns: float) -> int:
        """Return ns in ticks."""
        return round(ns / self.ns_per_tick)


def bracket(read: Callable[[], int], clock: Callable[[], int]) -> tuple[int, int]:
    """Return ticks and a clock's reading at the same time: of several readings, the quickest."""
    best: tuple[int, int, int] | None = None
    for _ in range(_READINGS):
        begun = clock()
        now = read()
        took = clock() - begun
        if best is None or took < best[0]:
            best = took, now, begun + took // 2
    assert best
    return best[1], best[2]


def calibrate(
    read: Callable[[], int],
    seconds: float = 0.02,
    clock: Callable[[], int] = time.monotonic_ns,
    sleep: Callable[[float], None] = time.sleep,
    world: Callable[[], int] = time.time_ns,
) -> Calibration:
    """Measure the tick rate over `seconds`; the platform's time begins now."""
    before, begun = bracket(read, clock)
    sleep(seconds)
    after, ended = bracket(read, clock)
    rate = Calibration(after, (ended - begun) / (after - before)).rate
    at, now = bracket(read, world)
    return Calibration(after, rate / (1 << RATE_BITS), now - to_ns(at - after, rate))


#: Between two looks at idle tasks; a turn longer than PREEMPT is checked against the CPU clock; a worker
#: that sleeps spins so long first.
POLL_NS, PREEMPT_NS, SPIN_NS = 4_000, 100_000, 50_000


def install(manifest: Manifest, calibration: Calibration) -> Manifest:
    """Write a calibration and what follows from it into the records of cores and wire; return the manifest with it."""
    for core in manifest.cores:
        # The NIC's own core is no emulated one: it keeps to the wall clock, and ends its slice when it finds nothing.
        settings = replace(manifest.settings, dilated=False) if core.nic else manifest.settings
        set_up_core(core.address, settings, calibration)
        if core.nic:
            record(core.address, CORE.dtype)["spin_ticks"] = 1
    wire = record(manifest.wire.address, WIRE.dtype)
    wire["epoch_ticks"], wire["ns_per_tick"] = calibration.epoch_ticks, calibration.ns_per_tick
    wire["tick_rate"] = calibration.rate
    for capture in manifest.wire.captures:
        record(capture.address, CAPTURE.dtype)["epoch_ns"] = calibration.epoch_unix_ns
    return replace(manifest, ns_per_tick=calibration.ns_per_tick)


def set_up_core(address: int, settings: CoreSettings, calibration: Calibration) -> None:
    """Write the settings that follow from a calibration and the manifest into a core's record."""
    core = record(address, CORE.dtype)
    spin = 0 if settings.poll or settings.dilated else SPIN_NS
    core["epoch_ticks"], core["ns_per_tick"] = calibration.epoch_ticks, calibration.ns_per_tick
    core["tick_rate"] = calibration.rate
    core["poll_ticks"], core["preempt_ticks"] = calibration.ticks(POLL_NS), calibration.ticks(PREEMPT_NS)
    core["spin_ticks"] = calibration.ticks(spin)
    core["turn_ticks"], core["sample"] = calibration.ticks(settings.turn_ns), settings.sample
    core["discipline"], core["dilated"] = DISCIPLINES.index(settings.discipline), settings.dilated
    if settings.memory:
        line_ns = 1e9 / settings.memory
        core["line_ticks"] = max(1, round(line_ns / calibration.ns_per_tick * (1 << MODEL_BITS)))


def read_ticks() -> int:
    """Return the tick counter: the kernel that interpreters call."""
    return ticks()
