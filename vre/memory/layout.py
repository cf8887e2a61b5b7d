# SPDX-License-Identifier: MIT
"""Laying out a platform in shared memory, and changing it while it runs.

For every other process a manifest says where everything is (:mod:`shm.manifest`).
"""

from __future__ import annotations

from collections.abc import Iterable

from shm import journal
from shm.intrinsics import load64, store64
from shm.layout import (
    CLIENT,
    CLIENTS,
    CORE,
    DECISION,
    DECISIONS,
    IDLE_PASS,
    MODEL_BITS,
    SPARES,
    TASK,
    UNDO,
    UNDO_ENTRIES,
)
from shm.manifest import ClassifierEntry, CoreEntry, CoreSettings, MemoryMap, TxEntry
from shm.segment import Arena
from shm.wire_layout import CLAIM, CLAIMS, CLASSIFIER
from vre.config.model import Model, Nic, PortClassifier, Router
from vre.errors import PlatformError
from vre.memory.address_space import AddressSpace, RingPlan, view
from vre.memory.control import ControlMemory
from vre.memory.router import RouterMemory, fill_router, plan_router

#: Cache lines that classifying a packet touches: its descriptor, its header, the router's descriptor.
CLASSIFIER_LINES = 3


class Port:
    """A port's memory: TX rings, the routers' claims, and the classifier if it has a single queue."""

    def __init__(self, space: AddressSpace, arena: Arena, nic: Nic, cores: int) -> None:
        self.nic = nic
        self.tx = {core: space.ring(arena, nic.slots, tags=True) for core in range(cores)}
        self.claims = arena.take(CLAIMS.size)
        self.entries = arena.take(CLIENTS * CLAIM.size)
        self.core = 0  # the classifier's core
        self._claims_made = 0
        self.queue: RingPlan | None = None
        if nic.classifier:
            self.queue = space.ring(arena, nic.slots, tags=True)
            self.queue.killed = arena.take((CLIENTS + 1) * 8)
            self.state, self.task = arena.take(CLASSIFIER.size), arena.take(TASK.size)
            self.client = arena.take(CLIENT.size)

    @property
    def name(self) -> PortClassifier:
        """What the classifier is called among routers."""
        return PortClassifier(self.nic.name)

    def fill(self, quantum: int) -> None:
        """Write the first values."""
        view(self.claims, CLAIMS.dtype)[0]["first"] = self.entries
        if self.queue is None:
            return
        state = view(self.state, CLASSIFIER.dtype)[0]
        state["ring"], state["claims"] = self.queue.address, self.claims
        task = view(self.task, TASK.dtype)[0]
        task["block"], task["input"], task["quantum"] = self.state, self.queue.address, quantum
        task["lines"] = CLASSIFIER_LINES << MODEL_BITS
        view(self.client, CLIENT.dtype)[0]["router"] = CLIENTS

    def claim(self, memory: RouterMemory) -> None:
        """Add a router's claim, if it is not there yet."""
        if self.nic.name not in memory.rx:
            return
        claims = view(self.claims, CLAIMS.dtype)[0]
        entries = view(self.entries, CLAIM.dtype, CLIENTS)
        if (entries["ring"] == memory.rx[self.nic.name].address).any():
            return
        at = next(i for i in range(CLIENTS) if entries[i]["ring"] == 0)
        port = memory.router.ports[self.nic.name]
        entries[at]["mac"] = -1 if port.mac is None else port.mac
        entries[at]["vlan"], entries[at]["router"] = port.vlan, memory.index
        entries[at]["queue"] = self.queue.address if self.queue else 0
        self._claims_made += 1
        entries[at]["serial"] = self._claims_made
        store64(self.entries + at * CLAIM.size + CLAIM["ring"], memory.rx[self.nic.name].address)
        claims["count"] = max(int(claims["count"]), at + 1)

    def claim_of(self, memory: RouterMemory) -> int:
        """Return the address of a router's claim, 0 if it has none."""
        entries = view(self.entries, CLAIM.dtype, CLIENTS)
        found = (entries["ring"] == memory.rx[self.nic.name].address).nonzero()[0]
        return self.entries + int(found[0]) * CLAIM.size if found.size else 0

    def entry(self, routers: Iterable[RouterMemory]) -> ClassifierEntry:
        """Return the classifier of a port with a single queue, for a manifest."""
        assert self.queue
        rings = tuple(memory.rx[self.nic.name].address for memory in routers if self.nic.name in memory.rx)
        return ClassifierEntry(
            self.name, self.nic.name, self.core, self.task, self.client, self.state, self.queue.address, rings
        )

    def disclaim(self, memory: RouterMemory) -> None:
        """Remove a router's claim."""
        entries = view(self.entries, CLAIM.dtype, CLIENTS)
        for i in range(int(view(self.claims, CLAIMS.dtype)[0]["count"])):
            if entries[i]["ring"] and entries[i]["router"] == memory.index:
                store64(self.entries + i * CLAIM.size + CLAIM["ring"], 0)


class CorePlan:
    """A core's memory."""

    def __init__(self, space: AddressSpace, arena: Arena) -> None:
        self.address = arena.take(CORE.size)
        self.undo = arena.take(UNDO.size * UNDO_ENTRIES)
        self.spare = space.spares(arena, SPARES)
        self.clients, self.passes = arena.take(8 * CLIENTS), arena.take(8 * CLIENTS)
        self.recorder = arena.take(DECISIONS * DECISION.size)
        self.journal = arena.take(journal.footprint(journal.CORE_BYTES))

    def fill(self, pool: int) -> None:
        """Write the first values."""
        core = view(self.address, CORE.dtype)[0]
        for name in ("undo", "spare", "clients", "passes", "recorder", "journal"):
            core[name] = getattr(self, name)
        core["pool"] = pool
        view(self.passes, "i8", CLIENTS)[:] = IDLE_PASS
        journal.set_up(self.journal, journal.CORE_BYTES)

    def enlist(self, client: int) -> int:
        """Add a client to the core's table, if it is not there yet; return its index. Raises PlatformError."""
        table = view(self.clients, "i8", CLIENTS)
        there = (table == client).nonzero()[0]
        at = int(there[0]) if there.size else int((table == 0).argmax())
        if table[at] not in (0, client):
            raise PlatformError(f"a core has room for {CLIENTS} routers: no more can run there")
        table[at] = client
        count = self.address + CORE["client_count"]
        store64(count, max(load64(count), at + 1))
        return at

    def dismiss(self, client: int) -> None:
        """Remove a client from the table, if it is there."""
        for at in (view(self.clients, "i8", CLIENTS) == client).nonzero()[0]:
            self.strike(int(at))

    def strike(self, at: int) -> None:
        """Remove the client at an index from the table; none of its tasks is on the core."""
        # Idle first: no turn of a removed client must become due.
        store64(self.passes + 8 * at, IDLE_PASS)
        store64(self.clients + 8 * at, 0)


class Builder:
    """Plans and fills the memory of one platform, and of routers that join it later.

    Parameters
    ----------
    model : Model
    space : AddressSpace
        The addresses and segments of its memory.
    """

    def __init__(self, model: Model, space: AddressSpace) -> None:
        self.model, self.space = model, space
        self.ports: dict[str, Port] = {}
        for nic in model.nics.values():
            self.ports[nic.name] = Port(self.space, self.space.part("port", nic.name), nic, model.places)
        self.routers: dict[str, RouterMemory] = {}
        for router in model.routers.values():
            self.plan(router)
        self.controls = {m.name: ControlMemory(space, model, m) for m in self.routers.values() if m.router.control}
        self.cores = [CorePlan(self.space, self.space.part("core", str(n))) for n in range(model.places)]

    def plan(self, router: Router) -> RouterMemory:
        """Plan a router's memory; it gets the lowest free index."""
        used = {memory.index for memory in self.routers.values()}
        index = next((i for i in range(CLIENTS) if i not in used), None)
        if index is None:
            raise PlatformError(f"a platform has room for {CLIENTS} routers")
        self.routers[router.name] = plan_router(self.space, self.model, router, index)
        return self.routers[router.name]

    def fill(self) -> None:
        """Write every record's first value; the segments exist."""
        for port in self.ports.values():
            port.fill(self.model.quantum)
        for core in self.cores:
            core.fill(self.space.base)
        for memory in self.routers.values():
            fill_router(memory, self.model)
            self.claim(memory)
        for control in self.controls.values():
            control.fill()

    def fill_router(self, memory: RouterMemory) -> None:
        """Write the first values of a router."""
        fill_router(memory, self.model)

    def claim(self, memory: RouterMemory) -> None:
        """Add a router's claims to the ports: its frames come to rings that the wire must have mapped."""
        for port in self.ports.values():
            port.claim(memory)

    def core_of_port(self, router: str, nic: str) -> int:
        """Return the core that takes a router's packets from a port."""
        if self.ports[nic].queue:
            return self.ports[nic].core
        memory = self.routers[router]
        graph = memory.program.graph
        number = next(
            n for n, (kind, e) in enumerate(graph.tasks) if kind == "rx" and graph.nodes[e].values["devname"] == nic
        )
        return memory.cores[number]

    def memory_map(self, dilated: bool = False) -> MemoryMap:
        """Return what a manifest says of it; `dilated`: cores have clocks of their own."""
        model, ports = self.model, self.ports
        return MemoryMap(
            name=model.name,
            settings=CoreSettings(
                model.discipline, model.turn_ns, model.sample, model.memory, dilated, model.idle == "poll"
            ),
            segments=tuple(segment.entry for segment in self.space.segments.values()),
            cores=tuple(
                CoreEntry(
                    core.address,
                    tuple(port.tx[number].address for port in ports.values()),
                    core.journal,
                    nic=number >= model.cores,
                )
                for number, core in enumerate(self.cores)
            ),
            routers=tuple(memory.entry() for memory in self.routers.values()),
            classifiers=tuple(port.entry(self.routers.values()) for port in ports.values() if port.queue),
            tx=tuple(TxEntry(nic, core, ring.address) for nic, port in ports.items() for core, ring in port.tx.items()),
        )
