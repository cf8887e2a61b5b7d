# SPDX-License-Identifier: MIT
"""Laying out a platform in shared memory.

First every address is planned, which tells how much memory each segment takes; then the segments are made
and filled. The result is the manifest: plain data that says what is where, for every other process.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from shm.layout import (
    CLIENT,
    CORE,
    IDLE_PASS,
    LINE,
    NOTE,
    RING,
    SLOT,
    SPARES,
    TASK,
    UNDO,
    UNDO_ENTRIES,
)
from shm.segment import PAGE, Arena, Segment
from vre.model import Model, Router
from workers.fib import Fib
from workers.packet import HEADROOM, LARGE_STRIDE, SMALL_STRIDE
from workers.shape import offsets, reach, upstream
from workers.stride import strides

#: Packets that may wait on their way to and from the slow path, for each task.
ASIDE_SLOTS = 64


@dataclass
class RingPlan:
    """A ring to be: where its parts are, and which buffers it begins with."""

    address: int
    slots: int
    capacity: int
    count: int
    first: int
    notes: int = 0
    tags: int = 0


@dataclass
class Part:
    """A segment to be."""

    kind: str
    label: str
    arena: Arena


def receives(router: Router, nic: str) -> bool:
    """Return whether a router takes packets from a port."""
    return any(n.cls.driver == "rx" and n.values["devname"] == nic for n in router.graph.nodes)


def view(address: int, dtype: Any, count: int = 1) -> Any:
    """Return an array over shared memory."""
    dtype = np.dtype(dtype)
    return np.frombuffer((ctypes.c_char * (dtype.itemsize * count)).from_address(address), dtype)


@dataclass
class Builder:
    """Plans and fills the memory of one platform.

    Parameters
    ----------
    model : Model
    placement : dict
        (router, task number) to core.
    base : int
        Where the first segment goes.
    prefix : str
        What the segments' names begin with.
    """

    model: Model
    placement: dict[tuple[str, int], int]
    base: int
    prefix: str
    dilated: bool = False
    poll: bool = False
    parts: list[Part] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    rings: list[RingPlan] = field(default_factory=list)
    pairs: int = 0

    def __post_init__(self) -> None:
        self._next_base = self.base
        self.rx: dict[tuple[str, str], RingPlan] = {}
        self.tx: dict[tuple[str, int], RingPlan] = {}
        self.cores: list[dict[str, Any]] = []
        self.routers: dict[str, dict[str, Any]] = {}
        self.fibs: dict[tuple[str, str], Fib] = {}
        self.index = {name: i for i, name in enumerate(self.model.routers)}
        self._plan()

    # Planning: addresses only.

    def part(self, kind: str, label: str) -> Arena:
        """Begin a segment; the one begun before is complete."""
        if self.parts:
            self._next_base += -(-self.parts[-1].arena.size // PAGE) * PAGE + PAGE
        arena = Arena(self._next_base)
        self.parts.append(Part(kind, label, arena))
        return arena

    def _ring(self, arena: Arena, capacity: int, notes: bool = False, tags: bool = False) -> RingPlan:
        count = 1 << (capacity - 1).bit_length()
        address = arena.take(RING.size)
        plan = RingPlan(address, arena.take(count * SLOT.size), capacity, count, self.pairs)
        plan.notes = arena.take(count * NOTE.size) if notes else 0
        plan.tags = arena.take(count * 2) if tags else 0
        self.pairs += count
        self.rings.append(plan)
        return plan

    def _plan(self) -> None:
        for nic in self.model.nics.values():
            arena = self.part("port", nic.name)
            for router in self.model.routers.values():
                if receives(router, nic.name):
                    self.rx[nic.name, router.name] = self._ring(arena, nic.slots)
            for core in range(self.model.cores):
                self.tx[nic.name, core] = self._ring(arena, nic.slots, tags=True)
        for router in self.model.routers.values():
            self._plan_router(router)
        for core in range(self.model.cores):
            self._plan_core(core)
        self.pool = self.part("pool", "0")
        self.small = self.pool.take(self.pairs * SMALL_STRIDE, LINE)
        self.large = self.pool.take(self.pairs * LARGE_STRIDE, LINE)

    def _plan_router(self, router: Router) -> None:
        arena = self.part("router", router.name)
        places, size = offsets(router.graph.shape.classes)
        block = arena.take(size)
        elements = []
        for place, node in zip(places, router.graph.nodes, strict=True):
            needs = node.cls.needs(node.values)
            areas = {name: arena.take(max(8, size), LINE) for name, size in needs.areas.items()}
            rings = {name: self._ring(arena, size, notes=True) for name, size in needs.rings.items()}
            elements.append({"state": block + place, "areas": areas, "rings": rings})
        asides = [
            {name: self._ring(arena, ASIDE_SLOTS, notes=True) for name in ("punt", "inject")}
            for _ in router.graph.tasks
        ]
        self.routers[router.name] = {"block": block, "elements": elements, "asides": asides}

    def _plan_core(self, core: int) -> None:
        arena = self.part("core", str(core))
        mine: dict[str, list[int]] = {}
        for (router, task), place in self.placement.items():
            if place == core:
                mine.setdefault(router, []).append(task)
        count = sum(len(tasks) for tasks in mine.values())
        spare_first = self.pairs
        self.pairs += SPARES
        self.cores.append(
            {
                "address": arena.take(CORE.size),
                "undo": arena.take(UNDO.size * UNDO_ENTRIES),
                "spare": arena.take(8 * SPARES),
                "spare_first": spare_first,
                "clients": arena.take(max(1, len(mine)) * CLIENT.size),
                "passes": arena.take(max(1, len(mine)) * 8),
                "tasks": arena.take(max(1, count) * TASK.size),
                "routers": mine,
            }
        )

    # Filling: the segments exist.

    @property
    def bytes_needed(self) -> int:
        """Shared memory that the platform takes."""
        return sum(-(-p.arena.size // PAGE) * PAGE for p in self.parts)

    def create(self) -> None:
        """Make the segments; on failure none is left."""
        try:
            for p in self.parts:
                name = f"{self.prefix}{p.kind}-{p.label}"
                self.segments.append(Segment.create(name, p.kind, p.arena.size, p.arena.base))
        except Exception:
            for segment in self.segments:
                segment.detach()
                segment.unlink()
            self.segments.clear()
            raise

    def fill(self) -> None:
        """Write every record's first value."""
        for ring in self.rings:
            self._fill_ring(ring)
        for core in range(self.model.cores):
            self._fill_core(core)
        for router in self.model.routers.values():
            self._fill_router(router)

    def _references(self, first: int, count: int) -> tuple[Any, Any]:
        index = np.arange(first, first + count, dtype=np.int64)
        base = self.pool.base
        return (self.small + index * SMALL_STRIDE - base) // LINE, (self.large + index * LARGE_STRIDE - base) // LINE

    def _fill_ring(self, plan: RingPlan) -> None:
        header = view(plan.address, RING.dtype)[0]
        header["slots"], header["notes"], header["tags"] = plan.slots, plan.notes, plan.tags
        header["mask"], header["capacity"], header["pool"] = plan.count - 1, plan.capacity, self.pool.base
        slots = view(plan.slots, SLOT.dtype, plan.count)
        slots["small"], slots["large"] = self._references(plan.first, plan.count)
        slots["offset"] = HEADROOM

    def _fill_core(self, number: int) -> None:
        plan = self.cores[number]
        core = view(plan["address"], CORE.dtype)[0]
        for name in ("undo", "spare", "clients", "passes", "tasks"):
            core[name] = plan[name]
        core["pool"] = self.pool.base
        spare = view(plan["spare"], "u4", 2 * SPARES).reshape(SPARES, 2)
        spare[:, 0], spare[:, 1] = self._references(plan["spare_first"], SPARES)
        core["dilated"] = self.dilated
        core["client_count"] = len(plan["routers"])
        core["task_count"] = sum(len(tasks) for tasks in plan["routers"].values())
        passes = view(plan["passes"], "i8", max(1, len(plan["routers"])))
        passes[:] = IDLE_PASS
        shares = [self.share(name, number) for name in plan["routers"]]
        at = 0
        for c, (name, tasks) in enumerate(plan["routers"].items()):
            client = view(plan["clients"] + c * CLIENT.size, CLIENT.dtype)[0]
            client["router"] = self.index[name]
            client["first_task"], client["task_count"] = at, len(tasks)
            client["last_task"] = len(tasks) - 1
            client["stride"] = strides(shares)[c]
            for number_of_task in tasks:
                self._fill_task(plan["tasks"] + at * TASK.size, self.model.routers[name], number_of_task, c)
                at += 1

    def share(self, name: str, core: int) -> float:
        """Return the part of a router's entitlement that this core is to give it: split evenly."""
        on = {place for (router, _), place in self.placement.items() if router == name}
        return self.model.routers[name].entitlement / max(1, len(on))

    def _fill_task(self, address: int, router: Router, number: int, client: int) -> None:
        task = view(address, TASK.dtype)[0]
        plan = self.routers[router.name]
        kind, driver = router.graph.tasks[number]
        task["block"], task["client"], task["enabled"] = plan["block"], client, 1
        task["quantum"] = self.model.quantum
        task["polled"] = kind == "source"
        if kind == "rx":
            task["input"] = self.rx[router.graph.nodes[driver].values["devname"], router.name].address
        elif kind == "pull":
            queue = upstream(router.graph.shape, driver)[0]
            task["input"] = plan["elements"][queue]["rings"]["ring"].address
        task["punt"], task["inject"] = (plan["asides"][number][n].address for n in ("punt", "inject"))

    def _fill_router(self, router: Router) -> None:
        plan = self.routers[router.name]
        core_of = self._core_of_elements(router)
        for i, (node, where) in enumerate(zip(router.graph.nodes, plan["elements"], strict=True)):
            state = view(where["state"], node.cls.layout().dtype)[0]
            for name, address in where["areas"].items():
                state[name] = address
            for name, ring in where["rings"].items():
                state[name] = ring.address
            if "devname" in node.values:
                self._fill_device(state, node, router, core_of.get(i, 0))
            node.cls.configure(state, node.values)
            if hasattr(node.cls, "fib"):
                fib = self.fibs[router.name, node.name] = Fib(int(state["table"]), int(state["chunks"]))
                fib.load(node.values["route"])

    def core_of_port(self, router: str, nic: str) -> int:
        """Return the core that takes a router's packets from a port."""
        graph = self.model.routers[router].graph
        number = next(
            n for n, (kind, e) in enumerate(graph.tasks) if kind == "rx" and graph.nodes[e].values["devname"] == nic
        )
        return self.placement[router, number]

    def _core_of_elements(self, router: Router) -> dict[int, int]:
        placed = {}
        for number, (_, driver) in enumerate(router.graph.tasks):
            core = self.placement[router.name, number]
            placed.update(dict.fromkeys(reach(router.graph.shape, number), core))
            placed[driver] = core
        return placed

    def _fill_device(self, state: Any, node: Any, router: Router, core: int) -> None:
        nic = node.values["devname"]
        port = router.ports[nic]
        if node.cls.driver == "rx":
            state["ring"] = self.rx[nic, router.name].address
            state["mac"] = -1 if port.mac is None else port.mac
            state["device"] = list(self.model.nics).index(nic)
        else:
            state["ring"] = self.tx[nic, core].address
            state["vlan"], state["router"] = port.vlan, self.index[router.name]

    def _ring_ends(self, core: int) -> tuple[list[int], list[int]]:
        """Return the rings whose consumer, and those whose producer, runs on a core."""
        inputs: list[int] = []
        outputs = [ring.address for (_, at), ring in self.tx.items() if at == core]
        for (name, number), place in self.placement.items():
            if place != core:
                continue
            router, plan = self.model.routers[name], self.routers[name]
            kind, driver = router.graph.tasks[number]
            if kind == "rx":
                inputs.append(self.rx[router.graph.nodes[driver].values["devname"], name].address)
            both = [ring.address for ring in plan["asides"][number].values()]
            for element in reach(router.graph.shape, number):
                rings = [ring.address for ring in plan["elements"][element]["rings"].values()]
                if router.graph.nodes[element].cls.processing == "h/l":
                    outputs += rings
                else:
                    both += rings
            if kind == "pull":
                queue = upstream(router.graph.shape, driver)[0]
                inputs += [ring.address for ring in plan["elements"][queue]["rings"].values()]
            inputs += both
            outputs += both
        return sorted(set(inputs)), sorted(set(outputs))

    def manifest(self) -> dict[str, Any]:
        """Return what is where, as plain data."""
        routers = []
        for router in self.model.routers.values():
            plan, graph = self.routers[router.name], router.graph
            shape = graph.shape
            routers.append(
                {
                    "name": router.name,
                    "entitlement": router.entitlement,
                    "block": plan["block"],
                    "shape": {"classes": shape.classes, "edges": shape.edges, "tasks": shape.tasks},
                    "elements": [
                        {
                            "name": n.name,
                            "class": n.cls.__name__,
                            "config": n.config,
                            "state": e["state"],
                            "rings": {k: r.address for k, r in e["rings"].items()},
                        }
                        for n, e in zip(graph.nodes, plan["elements"], strict=True)
                    ],
                    "rx": {nic: ring.address for (nic, name), ring in self.rx.items() if name == router.name},
                    "rings": [r.address for e in plan["elements"] for r in e["rings"].values()]
                    + [r.address for aside in plan["asides"] for r in aside.values()],
                }
            )
        cores = []
        for core_number, plan in enumerate(self.cores):
            tasks, at = [], 0
            for name, numbers in plan["routers"].items():
                for number in numbers:
                    graph = self.model.routers[name].graph
                    address = plan["tasks"] + at * TASK.size
                    tasks.append(
                        {"address": address, "router": name, "number": number, "name": graph.task_name(number)}
                    )
                    at += 1
            clients = [
                {"address": plan["clients"] + c * CLIENT.size, "router": name} for c, name in enumerate(plan["routers"])
            ]
            inputs, outputs = self._ring_ends(core_number)
            cores.append(
                {
                    "address": plan["address"],
                    "tasks": tasks,
                    "clients": clients,
                    "inputs": inputs,
                    "outputs": outputs,
                }
            )
        return {
            "name": self.model.name,
            "segments": [[s.name, s.kind, s.size, s.base] for s in self.segments],
            "dilated": self.dilated,
            "poll": self.poll,
            "cores": cores,
            "routers": routers,
            "tx": [[nic, core, ring.address] for (nic, core), ring in self.tx.items()],
        }
