# SPDX-License-Identifier: MIT
"""The host's processors, and what follows for a platform: its clock, and which processor runs what."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

SHM = Path("/dev/shm")


@dataclass(frozen=True)
class Plan:
    """How a platform runs on this host: `cpus` has one entry a core, None for "anywhere".

    `domu_cpus` are the processors of its domUs: the remaining ones, or else those with the fewest cores; the wire's
    only if there are no others but one for cores.
    """

    cpus: tuple[int | None, ...]
    wire_cpu: int | None
    dilated: bool
    why: str
    domu_cpus: tuple[int, ...] = ()


def cpus() -> list[int]:
    """Return the processors that this process may use."""
    return sorted(os.sched_getaffinity(0))


def shm_free() -> int:
    """Return the bytes free in /dev/shm; raises OSError if there is none."""
    return shutil.disk_usage(SHM).free


def host_hz() -> float:
    """Return how many cycles a second a processor here has, as far as the system says; 3e9 if it does not."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return 3e9
    found = [float(line.split(":")[1]) * 1e6 for line in text.splitlines() if line.startswith("cpu MHz")]
    return max(found, default=3e9)


def _several(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def fit(cores: int, clock: str, available: list[int], domus: bool = False, wire: str = "apart") -> Plan:
    """Decide on clock and processors for `cores` emulated cores, one wire, and domUs if there are any.

    Each emulated core wants a processor, so does the wire, and so do all domUs together. With fewer, the platform is
    dilated: a core's clock is the CPU time it has had, and its traffic follows that clock (Gupta et al., NSDI 2006).
    The wire's processor is then its own, "apart", as long as there is another one; or "shared" by cores, too.
    """
    if clock == "virtual":
        return Plan((None,) * cores, None, False, "logical time, modelled costs")
    short = cores + 1 + domus > len(available)
    dilated = clock == "cpu" or (clock == "auto" and short)
    first = available[0]
    if not short:
        free = tuple(available[cores + 1 :])
        own = tuple(available[1 : cores + 1])
        free = free or (own if len(own) > 1 else (first,))
        return Plan(own, first, dilated, "each core has a processor of its own", free)
    # The others are shared in turn.
    others = available if wire == "shared" else available[1:] or available
    share = f"{_several(cores, 'core')}{', domUs' if domus else ''} and a wire"
    why = f"{share} on {_several(len(available), 'processor')}"
    placed = tuple(others[i % len(others)] for i in range(cores))
    apart = available[1:] if len(available) > 2 else [first]
    fewest = min(placed.count(cpu) for cpu in apart)
    return Plan(placed, first, dilated, why, tuple(cpu for cpu in apart if placed.count(cpu) == fewest))
