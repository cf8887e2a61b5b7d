# SPDX-License-Identifier: MIT
"""domUs in virtual time: a task that sends packets back, at the machine's modelled cost.

Untrusted code does not run there: it would run in the platform's own process.
"""

from __future__ import annotations

import ctypes
import os
from collections import deque
from collections.abc import Callable
from typing import Any

from shm.channel import CHANNEL, reset
from shm.intrinsics import add64, load64, store64
from shm.layout import ALWAYS, APART, CLIENT, MODEL_BITS, TASK
from shm.memfd import release, renew
from vre.config.machines import Machine
from vre.config.model import Model
from vre.domu.domus import Control
from vre.errors import PlatformError
from vre.language.graph import Graph
from vre.memory.address_space import view
from vre.memory.layout import Builder
from vre.memory.router import RouterMemory
from vre.memory.run_queues import link, unlink

#: Cache lines that a packet touches in a domU: its descriptors and its header.
_LINES = 3
#: Without a model, some microseconds a packet: an interpreter's.
_CYCLES = 10_000


class ModelledDomus:
    """All domUs of a platform in virtual time."""

    tier = "modelled"

    def __init__(self, model: Model, builder: Builder, machine: Machine, function: Callable[[], int]) -> None:
        self._model, self._builder, self._function = model, builder, function
        self._cycles = machine.domu_cycles or _CYCLES
        self._places: dict[str, list[tuple[int, int, int, int, Any]]] = {}
        self.on_control: Control = lambda name, message: {}

    def begin(self, routers: list[RouterMemory], wait: Callable[[float], None]) -> None:
        """Give every router with untrusted elements its task: no untrusted code is loaded, so none can fail."""
        self.launch(routers, wait)

    def launch(self, routers: list[RouterMemory], wait: Callable[[float], None]) -> None:
        """Give every router with untrusted elements its task: all of them, or none."""
        try:
            for memory in routers:
                for channel in memory.program.channels.values():
                    self._begin(memory, channel)
        except BaseException:
            for memory in routers:
                self.dismiss(memory.name, wait)
            raise

    def resume(self, memory: RouterMemory, wait: Callable[[float], None]) -> None:
        """Give a router its task again, if it does not have it."""
        if all(load64(channel + CHANNEL["open"]) for channel in memory.program.channels.values()):
            return
        self.dismiss(memory.name, wait)  # one that was ended half-way
        self.launch([memory], wait)

    def rehearse(self, memory: RouterMemory, graph: Graph, wait: Callable[[float], None]) -> None:
        """Do nothing: no untrusted code is loaded here."""

    def _begin(self, memory: RouterMemory, channel: int) -> None:
        core = memory.router.domu.core
        core = memory.cores[0] if core is None else core
        records = ctypes.create_string_buffer(CLIENT.size + TASK.size + 2 * APART)
        client = -(-ctypes.addressof(records) // APART) * APART
        task, ends = client + CLIENT.size, client + CLIENT.size + TASK.size
        store64(task + TASK["client"], client)
        # From here on dismiss ends it, as far as it has come.
        self._places.setdefault(memory.name, []).append((channel, core, client, task, records))
        # Replace the list in one step, so that no reader sees a half-changed one.
        deque(map(os.close, renew(channel)), maxlen=0)
        store64(ends, load64(channel + CHANNEL["down"]))
        store64(ends + 8, load64(channel + CHANNEL["up"]))
        # The weight of its router on that core, or that of a single router.
        stride = load64(memory.client(memory.cores[0]) + CLIENT["wanted"])
        store64(client + CLIENT["wanted"], stride)
        record = view(task, TASK.dtype)[0]
        record["function"], record["block"], record["quantum"] = self._function(), ends, self._model.quantum
        record["polled"], record["lines"] = ALWAYS, _LINES << MODEL_BITS
        record["model_ticks"] = self._cycles << MODEL_BITS
        link(self._builder, client, self._builder.cores[core].enlist(client), core, task)
        store64(channel + CHANNEL["open"], 1)

    def look(self) -> None:
        """Do nothing: a modelled domU cannot hang."""

    def dismiss(self, name: str, wait: Callable[[float], None]) -> None:
        """End a router's task."""
        places = self._places.get(name, [])
        while places:
            channel, core, client, task, _ = places[-1]
            store64(channel + CHANNEL["open"], 0)
            unlink(self._builder, core, task)
            self._builder.cores[core].dismiss(client)
            if load64(channel + CHANNEL["owner"]):
                add64(channel + CHANNEL["lost"], reset(channel))
                release(channel)
            places.pop()
        self._places.pop(name, None)

    def quarantined(self, name: str) -> bool:
        """Return False: a modelled domU is never quarantined."""
        return False

    def release_quarantine(self, name: str) -> None:
        """Raise PlatformError: a modelled domU is never quarantined."""
        raise PlatformError(f"router '{name}' is not quarantined: its domU is modelled")

    def rows(self) -> list[dict[str, Any]]:
        """Return the state of each as plain data."""
        return [
            {"router": name, "state": "running", "tier": self.tier, "core": core}
            for name, places in self._places.items()
            for _, core, *_ in places
        ]

    def end(self) -> None:
        """Free the memory."""
        for places in self._places.values():
            for channel, *_ in places:
                release(channel)
        self._places.clear()
