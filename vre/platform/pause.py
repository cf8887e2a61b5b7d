# SPDX-License-Identifier: MIT
"""Taking tasks off their cores: unlinked, no worker in them, and their packets sent."""

from __future__ import annotations

from collections.abc import Sequence

from shm.intrinsics import load64, store64
from shm.layout import CLIENT, RING
from vre.memory.router import ConfigMemory, RouterMemory
from vre.memory.run_queues import unlink
from vre.platform.runtime import Runtime


class Rest:
    """A pause of some tasks of a router's configuration, on the cores where they are when it begins."""

    def __init__(self, runtime: Runtime, memory: RouterMemory, program: ConfigMemory, tasks: Sequence[int]) -> None:
        self._runtime, self._memory = runtime, memory
        self._tasks = {number: (memory.cores[number], program.tasks[number]) for number in tasks}
        self._nics = {node.values["devname"] for node in program.graph.nodes if node.cls.sends()}
        #: (port, TX ring, the head up to which it is to be sent).
        self._sent: list[tuple[str, int, int]] = []

    def begin(self) -> None:
        """Unlink the tasks; return when no worker is in any of them. May be repeated."""
        cores = sorted({core for core, _ in self._tasks.values()})
        for core, task in self._tasks.values():
            unlink(self._runtime.builder, core, task)
        self._runtime.quiesce(*cores)
        for core in cores:
            # The worker may have left the address of a task that is unlinked.
            store64(self._memory.client(core) + CLIENT["last"], 0)
        ports = self._runtime.builder.ports.values()
        rings = [(port.nic.name, port.tx[core].address) for port in ports for core in cores]
        self._sent = [(nic, ring, load64(ring + RING["head"])) for nic, ring in rings if nic in self._nics]

    def waiting(self) -> str:
        """Return a port at which packets wait that were sent before the pause, "" if there is none."""
        return next((nic for nic, ring, head in self._sent if load64(ring + RING["tail"]) < head), "")
