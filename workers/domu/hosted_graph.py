# SPDX-License-Identifier: MIT
"""A whole graph at work in its domU: the same compiled paths and the same loop as in dom0, on memory of its own.

Packets that come through the I/O channel are put into the graph's RX rings, and what is in its TX rings goes back.
A packet that stays, in a queue or while an address is asked for, is *kept*: its slot goes back without it, and it
leaves in an empty one later. What happens here affects only its own router: see :mod:`workers.domu.frontend`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from shm.channel import (
    CHANNEL,
    GIFTS,
    SLOTS,
)
from shm.intrinsics import load64, store64
from shm.journal import take
from shm.layout import CORE
from shm.manifest import GraphManifest, MemoryMap
from shm.memfd import map_at
from workers.core.clock import calibrate, set_up_core
from workers.core.slow_path import SlowTask, run_slow
from workers.core.worker import shape_of, tasks_on
from workers.domu.bridge import BRIDGE
from workers.domu.frontend import sleep_on_requests
from workers.domu.spec import GraphMemory

#: Lines of its journal that are passed on between two slices.
_LINES = 64
#: Longest that the graph runs before the channel is looked at again, and the slow path between two such times.
_SLICE_NS, _SLOW_NS = 100_000, 100_000


def read_manifest(image: int, graph: GraphMemory) -> GraphManifest:
    """Return the manifest of a graph: it is behind the graph's memory."""
    return GraphManifest.from_json(os.pread(image, graph.manifest_bytes, graph.size))


def ends_of(channel: int) -> tuple[int, int]:
    """Return the addresses of a channel's two halves."""
    return load64(channel + CHANNEL["down"]), load64(channel + CHANNEL["up"])


class Code(Protocol):
    """What a graph runs: kernels by name, and paths, whose addresses go into the tasks of a manifest."""

    kernels: dict[str, Any]

    def install(self, manifest: MemoryMap) -> None:
        """Write the address of each task's entry point."""


class HostedGraph:
    """A graph behind one channel; used as :class:`workers.domu.main.Guest` is.

    Parameters
    ----------
    graph : GraphMemory
    image : int
        Descriptor of its memory.
    down, up : int
        Addresses at which the channel's memory is mapped.
    code : Code
    wait : callable
        The compiled :func:`workers.domu.frontend.wait_for_requests`.
    """

    def __init__(self, graph: GraphMemory, image: int, down: int, up: int, code: Code, wait: Any) -> None:
        map_at(graph.base, image, graph.size)
        manifest = read_manifest(image, graph)
        code.install(manifest)
        kernels = code.kernels
        self._ticks: Callable[[], int] = kernels["ticks"]
        calibration = calibrate(self._ticks)
        self._core = manifest.cores[0].address
        self._journal = load64(self._core + CORE["journal"])
        set_up_core(self._core, manifest.settings, calibration)
        store64(self._core + CORE["spin_ticks"], 1)
        shape = shape_of(manifest.routers[0])
        self._slow = [SlowTask(self._core, task, shape, self._ticks) for task in tasks_on(self._core)]
        self._slice = kernels["slice"]
        self._bring, self._send = (kernels["bridge"][name] for name in ("bring", "send"))
        self._slice_ticks, self._slow_ticks = calibration.ticks(_SLICE_NS), calibration.ticks(_SLOW_NS)
        self._down, self._up, self._wait = down, up, wait
        self._state = np.zeros(1, dtype=BRIDGE.dtype)
        self._bridge: int = self._state.ctypes.data
        self._held, self._gifts = np.zeros(SLOTS, dtype=np.int64), np.zeros(GIFTS, dtype=np.int64)
        rings = (manifest.inputs, manifest.outputs, manifest.rings)
        self._rx, self._tx, self._rings = (np.array(addresses, dtype=np.int64) for addresses in rings)
        #: Channels to the router's own elements in the graph, and what serves them; set after these have been made.
        self.channels = manifest.channels
        self.guests: list[Any] = []
        self._channels = np.array(self.channels, dtype=np.int64)

    def serve(self) -> bool:
        """Let packets in, the graph work, and packets out; return whether anything has happened."""
        busy = self._bring(self._down, self._up, self._bridge, self._held, self._gifts, self._rx)
        store64(self._core + CORE["next_poll"], 0)
        busy += self._slice(self._core, self._ticks() + self._slice_ticks)
        busy += run_slow(self._slow, self._ticks, self._slow_ticks)
        # No other process reads this journal: what the graph prints goes to the domU's own log.
        for record in take(self._journal, _LINES):
            print(record.text, file=sys.stderr)
        for guest in self.guests:
            busy += guest.serve()
        arrays = self._held, self._gifts, self._tx, self._rings, self._channels
        busy += self._send(self._up, self._bridge, *arrays)
        return busy > 0

    def wait(self, rounds: int) -> bool:
        """Look for packets, `rounds` times."""
        return bool(self._wait(self._down, int(self._state["taken"][0]), rounds))

    def sleep(self, seconds: float) -> None:
        """Sleep until there are packets, at most so long."""
        sleep_on_requests(self._down, self._up, int(self._state["taken"][0]), seconds)
