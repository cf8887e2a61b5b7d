# SPDX-License-Identifier: MIT
"""Which process is which incarnation of a core's worker, or of the wire.

Each core, and the wire, has a count in shared memory: the process with that number has its turn, the one with the next
number stands by. A process that was asked to hand over goes on until it has.
"""

from __future__ import annotations

import contextlib
import os
import signal

from shm.intrinsics import load64
from shm.layout import CORE
from shm.manifest import CurrentManifest
from shm.wire_layout import WIRE
from vre.supervision.restart_policy import Supervisor


class Incarnations:
    """The numbers of a platform's workers and wires.

    Parameters
    ----------
    manifest : CurrentManifest
        Says where cores and wire are.
    supervisor : Supervisor
        Knows which process is whose.

    Attributes
    ----------
    numbers : dict of int to int
        The number of each process that has not ended, by its pid.
    """

    def __init__(self, manifest: CurrentManifest, supervisor: Supervisor) -> None:
        self._manifest, self._supervisor = manifest, supervisor
        self.numbers: dict[int, int] = {}

    @property
    def wire(self) -> int:
        """The address of the wire."""
        return self._manifest.now.wire.address

    @property
    def cores(self) -> list[int]:
        """Addresses of the cores that have a worker; the NIC's internal core is run by the wire."""
        return [core.address for core in self._manifest.now.cores if not core.nic]

    def pid(self, core: int) -> int:
        """Return the process of a core, 0 while it has none; the NIC's own has none ever."""
        cores = self.cores
        if core == len(cores):
            return 0
        number = load64(cores[core] + CORE["incarnation"])
        return next((p for p, c in self._supervisor.cores.items() if c == core and self.numbers[p] == number), 0)

    def holder(self, core: int) -> int:
        """Return the process that has a core now: one that was asked to hand over has it until it does. 0 for none."""
        cores = self.cores
        if core == len(cores):
            return 0
        pid = load64(cores[core] + CORE["pid"])
        return pid if pid in self.numbers else self.pid(core)

    def wire_holder(self) -> int:
        """Return the process that is the wire now, 0 while none is; the next one while that is to take over."""
        pid = load64(self.wire + WIRE["pid"])
        if pid in self.numbers:
            return pid
        number = load64(self.wire + WIRE["incarnation"])
        return next((p for p in self._supervisor.wires if number and self.numbers[p] == number), 0)

    def is_standby_of_wire(self, pid: int) -> bool:
        """Return whether a process is a wire whose turn has not come."""
        return pid in self._supervisor.wires and self.numbers[pid] > load64(self.wire + WIRE["incarnation"])

    def standbys(self) -> list[tuple[int, int]]:
        """Return the processes whose turn has not come, each with the word that has its number once it is ready."""
        cores = self.cores
        found = [
            (pid, cores[core] + CORE["standby"])
            for pid, core in self._supervisor.cores.items()
            if self.numbers[pid] > load64(cores[core] + CORE["incarnation"])
        ]
        wires = [pid for pid in self._supervisor.wires if self.is_standby_of_wire(pid)]
        return found + [(pid, self.wire + WIRE["standby"]) for pid in wires]

    def wake(self, core: int) -> None:
        """Wake the worker that is to take the core over, if it has been forked."""
        pid = self.pid(core)
        # Before it blocks SIGUSR1 the signal would kill it; a standby polls anyway.
        if pid and load64(self.cores[core] + CORE["standby"]) == self.numbers[pid]:
            _signal(pid)

    def wake_wire(self) -> None:
        """Wake the wire that is to take over, if it has been forked and waits."""
        number = load64(self.wire + WIRE["incarnation"])
        pid = next((p for p in self._supervisor.wires if self.numbers[p] == number), 0)
        if pid and load64(self.wire + WIRE["standby"]) == number:
            _signal(pid)

    def nudge(self) -> None:
        """Let workers that had no task look whether they have one now."""
        for core, address in enumerate(self.cores):
            pid = self.pid(core)
            # Only a process that has taken over the core has surely blocked the signal.
            if pid and load64(address + CORE["pid"]) == pid:
                _signal(pid)


def _signal(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGUSR1)
