# SPDX-License-Identifier: MIT
"""How long a platform's workers and wire waited for their processors, as the kernel counts it."""

from __future__ import annotations

from shm.intrinsics import load64
from shm.layout import CORE
from shm.manifest import CurrentManifest
from shm.wire_layout import WIRE
from vre.supervision.cpus import Plan
from vre.supervision.schedstat import Schedstat


class ProcessorWaits:
    """Samples how long the processes of a platform waited for each processor."""

    def __init__(self, manifest: CurrentManifest, plan: Plan) -> None:
        self._manifest, self._plan = manifest, plan
        self._times: dict[int, Schedstat] = {}
        self._before: dict[int, float] = {}
        self._at = 0.0

    def look(self, now: float) -> dict[int, float]:
        """Return, by processor, the fraction of the time since the last sample that its process waited for it."""
        found: dict[int, float] = {}
        passed, self._at = now - self._at, now
        for pid, cpu in self._workers():
            self._times.setdefault(pid, Schedstat(pid)).look(now)
            waited = self._times[pid].waited_s
            part = (waited - self._before.get(pid, waited)) / passed if passed > 0 else 0.0
            self._before[pid] = waited
            found[cpu] = max(found.get(cpu, 0.0), part)
        return found

    def _workers(self) -> list[tuple[int, int]]:
        """Return the wire and the workers, each with its processor; forget processes that have been replaced."""
        manifest = self._manifest.now
        wire = [(load64(manifest.wire.address + WIRE["pid"]), self._plan.wire_cpu)]
        cores = zip(manifest.cores, self._plan.cpus, strict=False)
        known = wire + [(load64(core.address + CORE["pid"]), cpu) for core, cpu in cores]
        alive = [(pid, cpu) for pid, cpu in known if pid and cpu is not None]
        for pid in self._times.keys() - {pid for pid, _ in alive}:
            del self._times[pid]
            self._before.pop(pid, None)
        return alive
