# SPDX-License-Identifier: MIT
"""The memory image of a graph that runs in its router's domU: filled here, copied to each incarnation.

The domU gets a small platform of its own in one piece of memory: a core, the router with its graph, RX and TX rings,
buffers. dom0, or the NIC if it is mapped directly, only has the bridge to it.
"""

from __future__ import annotations

import dataclasses
import os

from shm.channel import CHANNEL
from shm.intrinsics import store64
from shm.manifest import GraphManifest
from shm.memfd import make_memory, map_at, unmap
from shm.segment import Segment, claim_window, free_window
from vre.config.model import Model, Nic, Router, RouterPort
from vre.language.bridge import inputs, outputs
from vre.language.graph import Graph
from vre.memory.address_space import AddressSpace, Part
from vre.memory.layout import Builder
from vre.memory.run_queues import place_all, set_weights
from workers.domu.spec import GraphMemory

#: Address space that is mapped while a graph's memory is laid out.
_MOST = 1 << 30


class _Memory(AddressSpace):
    """One piece of memory in place of named segments."""

    def make(self, name: str, part: Part) -> Segment:
        """Allocate a part of it."""
        return Segment(name, part.kind, part.arena.size, part.arena.base)

    @property
    def used(self) -> int:
        """Bytes from its base on that have been allocated."""
        return self.end - self.base


class Image:
    """The initial memory of a router's graph, to be copied for each incarnation."""

    def __init__(self, model: Model, router: Router) -> None:
        assert router.hosted_graph
        base = claim_window("image")
        sparse = os.memfd_create("vre-graph")
        try:
            os.ftruncate(sparse, _MOST)
            map_at(base, sparse, _MOST)
            try:
                manifest, size = _lay_out(model, router, router.hosted_graph, base)
            finally:
                unmap(base, _MOST)
            text = manifest.to_json().encode()
            self.data = os.pread(sparse, size, 0)
        finally:
            os.close(sparse)
            free_window(base)
        self._text = text
        self.graph = GraphMemory(base, size, len(text))

    def copy(self) -> int:
        """Return the descriptor of a new copy, which the caller closes; the manifest follows the memory."""
        fd = make_memory("vre-graph", len(self.data) + len(self._text))
        try:
            os.pwrite(fd, self.data, 0)
            os.pwrite(fd, self._text, len(self.data))
        except BaseException:
            os.close(fd)
            raise
        return fd


def _lay_out(model: Model, router: Router, graph: Graph, base: int) -> tuple[GraphManifest, int]:
    """Fill the memory at `base` with a platform of one core and one router; return its manifest, and its size."""
    nics = list(dict.fromkeys([*inputs(graph), *outputs(graph)]))
    # dom0 or the NIC removes VLAN tags before it hands packets over.
    ports = {nic: RouterPort(nic, router.ports[nic].mac) for nic in nics}
    alone = dataclasses.replace(router, graph=graph, hosted_graph=None, direct=False, ports=ports)
    small = Model(
        router.name,
        quantum=model.quantum,
        discipline=model.discipline,
        turn_ns=model.turn_ns,
        sample=model.sample,
    )
    small.nics = {nic: Nic(nic, slots=model.nics[nic].slots) for nic in nics}
    small.routers = {router.name: alone}
    memory = _Memory(base, "")
    builder = Builder(small, memory)
    memory.create()
    builder.fill()
    place_all(builder, {(router.name, task): 0 for task in range(len(graph.tasks))})
    set_weights(builder, {(router.name, 0): 1.0})
    mine = builder.routers[router.name]
    channels = tuple(mine.program.channels.values())
    for channel in channels:
        store64(channel + CHANNEL["open"], 1)
    tx = {nic: port.tx[0].address for nic, port in builder.ports.items()}
    rx = {nic: ring.address for nic, ring in mine.rx.items()}
    manifest = GraphManifest(
        **vars(builder.memory_map()),
        inputs=tuple(rx[nic] for nic in inputs(graph)),
        outputs=tuple(tx[nic] for nic in outputs(graph)),
        rings=(*(ring.address for ring in mine.program.rings), *rx.values(), *tx.values()),
        channels=channels,
    )
    return manifest, memory.used
