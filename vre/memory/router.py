# SPDX-License-Identifier: MIT
"""One router's memory: what lasts as long as the router, and what lasts as long as one configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from shm.channel import CHANNEL, DOWN_BYTES, UP_BYTES, reset
from shm.layout import ALWAYS, CHANNEL_ENDS, CLIENT, LINE, MODEL_BITS, TASK
from shm.manifest import ClaimEntry, ElementEntry, RouterEntry, TaskEntry
from shm.wire_layout import TALLY
from vre.config.model import Model, Router
from vre.language.graph import Graph, Node
from vre.memory.address_space import AddressSpace, RingPlan, view
from workers.datapath.fib import Fib
from workers.graph.costs import lines_touched
from workers.graph.shape import channels, offsets, reach, upstream

#: Packets that may wait on their way to and from the slow path, for each task.
ASIDE_SLOTS = 64


def receives(router: Router, nic: str) -> bool:
    """Return whether a router takes packets from a port."""
    return any(n.cls.driver == "rx" and n.values["devname"] == nic for n in router.graph.nodes)


@dataclass
class ConfigMemory:
    """The memory of one configuration: state, tasks, and rings inside the router."""

    label: str
    graph: Graph
    block: int
    tasks: list[int]
    elements: list[dict[str, Any]] = field(default_factory=list)
    asides: list[dict[str, RingPlan]] = field(default_factory=list)
    fibs: dict[str, Fib] = field(default_factory=dict)

    @property
    def channels(self) -> dict[int, int]:
        """Element number to address of its channel to the domU."""
        return {i: element["areas"]["channel"] for i, element in enumerate(self.elements) if element["shared"]}

    @property
    def rings(self) -> list[RingPlan]:
        """All its rings."""
        found = [ring for element in self.elements for ring in element["rings"].values()]
        return found + [ring for aside in self.asides for ring in aside.values()]

    def element_entries(self) -> tuple[ElementEntry, ...]:
        """Return its elements for a manifest."""
        pairs = zip(self.graph.nodes, self.elements, strict=True)
        return tuple(
            ElementEntry(n.name, n.cls.__name__, n.config, e["state"], {k: r.address for k, r in e["rings"].items()})
            for n, e in pairs
        )

    def ends(self, number: int, rx: dict[str, RingPlan]) -> tuple[list[int], list[int]]:
        """Return the rings whose consumer, and those whose producer, a task is; ports' TX rings aside."""
        graph = self.graph
        kind, driver = graph.tasks[number]
        inputs = [rx[graph.nodes[driver].values["devname"]].address] if kind == "rx" else []
        outputs: list[int] = []
        both = [ring.address for ring in self.asides[number].values()]
        for element in reach(graph.shape, number):
            rings = [ring.address for ring in self.elements[element]["rings"].values()]
            if graph.nodes[element].cls.is_queue:
                outputs += rings
            else:
                both += rings
        if kind == "pull":
            queue = upstream(graph.shape, driver)[0]
            inputs += [ring.address for ring in self.elements[queue]["rings"].values()]
        return sorted({*inputs, *both}), sorted({*outputs, *both})


@dataclass
class RouterMemory:
    """A router's memory.

    `clients` is the address of its CLIENT records, one for each core; `slots` the index that it has among
    the clients of a core, once it has been there; `cores` each task's core.
    """

    router: Router
    index: int
    label: str
    rx: dict[str, RingPlan]
    clients: int
    tallies: dict[str, int]
    program: ConfigMemory
    generation: int = 0
    slots: dict[int, int] = field(default_factory=dict)
    cores: dict[int, int] = field(default_factory=dict)
    carried: dict[str, int] = field(default_factory=dict)
    carried_made: int = 0
    carried_packets: int = 0

    @property
    def name(self) -> str:
        """The router's name."""
        return self.router.name

    def client(self, core: int) -> int:
        """Return the address of its client on a core."""
        return self.clients + core * CLIENT.size

    def entry(self, program: ConfigMemory | None = None) -> RouterEntry:
        """Return it for a manifest, with another configuration than the one that runs if that is given."""
        program = program or self.program
        return RouterEntry(
            name=self.name,
            index=self.index,
            entitlement=self.router.entitlement,
            direct=self.router.direct,
            block=program.block,
            shape=program.graph.shape.wiring,
            elements=program.element_entries(),
            rx={nic: ring.address for nic, ring in self.rx.items()},
            claims={nic: ClaimEntry(self.router.ports[nic].mac, self.router.ports[nic].vlan) for nic in self.rx},
            rings=tuple(ring.address for ring in program.rings),
            channels=tuple(sorted(program.channels.values())),
            tasks=tuple(self._task_entry(program, number) for number in range(len(program.tasks))),
            clients=tuple(self.client(core) for core in sorted(self.slots)),
            tallies=self.tallies,
            carried=self.carried,
            carried_made=self.carried_made,
            carried_packets=self.carried_packets,
        )

    def _task_entry(self, program: ConfigMemory, number: int) -> TaskEntry:
        graph = program.graph
        inputs, outputs = program.ends(number, self.rx)
        return TaskEntry(
            address=program.tasks[number],
            number=number,
            name=graph.task_name(number),
            kind=graph.tasks[number][0],
            core=self.cores.get(number, 0),
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            channels=tuple(program.channels[element] for element in channels(graph.shape, number)),
        )


def plan_router(space: AddressSpace, model: Model, router: Router, index: int) -> RouterMemory:
    """Plan a router's memory."""
    arena = space.part("router", router.name)
    clients = arena.take(model.places * CLIENT.size)
    tallies = {nic: arena.take(TALLY.size) for nic in model.nics}
    rx = {nic: space.ring(arena, model.nics[nic].slots) for nic in model.nics if receives(router, nic)}
    return RouterMemory(router, index, f"router-{router.name}", rx, clients, tallies, plan_config(space, router, 0))


def plan_config(space: AddressSpace, router: Router, generation: int) -> ConfigMemory:
    """Plan the memory of a router's configuration."""
    label = f"{router.name}.{generation}"
    arena = space.part("program", label)
    places, size = offsets(router.graph.shape.classes)
    tasks = arena.take(max(1, len(router.graph.tasks)) * TASK.size)
    program = ConfigMemory(f"program-{label}", router.graph, arena.take(size), [])
    program.tasks = [tasks + i * TASK.size for i in range(len(router.graph.tasks))]
    for place, node in zip(places, router.graph.nodes, strict=True):
        needs = node.cls.needs(node.values)
        areas = {name: arena.take(max(8, size), LINE) for name, size in needs.areas.items()}
        rings = {name: space.ring(arena, size, notes=True) for name, size in needs.rings.items()}
        element = {"state": program.block + place, "areas": areas, "sizes": needs.areas, "rings": rings, "shared": ()}
        program.elements.append(element)
    program.asides = [
        {name: space.ring(arena, ASIDE_SLOTS, notes=True) for name in ("punt", "inject")} for _ in router.graph.tasks
    ]
    for node, element in zip(router.graph.nodes, program.elements, strict=True):
        if node.cls.driver == "domu":
            element["shared"] = (space.hole(DOWN_BYTES), space.hole(UP_BYTES))
    return program


def fill_router(memory: RouterMemory, model: Model) -> None:
    """Write the first values of a router's records; its segments exist."""
    for core in range(model.places):
        view(memory.client(core), CLIENT.dtype)[0]["router"] = memory.index
    fill_config(memory, memory.program, model)


def fill_config(memory: RouterMemory, program: ConfigMemory, model: Model) -> None:
    """Write the first values of a configuration's records."""
    for node, where in zip(program.graph.nodes, program.elements, strict=True):
        state = view(where["state"], node.cls.layout().dtype)[0]
        for name, address in where["areas"].items():
            state[name] = address
        for name, ring in where["rings"].items():
            state[name] = ring.address
        if node.cls.is_port:
            _fill_device(state, node, memory, model)
        node.cls.configure(state, node.values)
        if where["shared"]:
            channel = view(where["areas"]["channel"], CHANNEL.dtype)[0]
            channel["down"], channel["up"] = where["shared"]
            reset(where["areas"]["channel"])
        if node.cls.fib:
            fib = program.fibs[node.name] = Fib(int(state["table"]), int(state["chunks"]))
            fib.load(node.values["route"])
    for number in range(len(program.tasks)):
        _fill_task(memory, program, number, model)


def _fill_device(state: Any, node: Node, memory: RouterMemory, model: Model) -> None:
    nic = node.values["devname"]
    port = memory.router.ports[nic]
    if node.cls.driver == "rx":
        state["ring"] = memory.rx[nic].address
        state["mac"] = -1 if port.mac is None else int.from_bytes(port.mac.to_bytes(6, "big"), "little")
        state["device"], state["vlan"] = list(model.nics).index(nic), max(0, port.vlan)
    else:
        state["vlan"], state["router"] = port.vlan, memory.index


def _fill_task(memory: RouterMemory, program: ConfigMemory, number: int, model: Model) -> None:
    task = view(program.tasks[number], TASK.dtype)[0]
    kind, driver = program.graph.tasks[number]
    task["block"], task["quantum"], task["number"] = program.block, model.quantum, number
    task["polled"] = ALWAYS if kind == "source" else 0
    if kind == "rx":
        task["input"] = memory.rx[program.graph.nodes[driver].values["devname"]].address
    elif kind == "domu":
        task["polled"], task["input"] = CHANNEL_ENDS, program.channels[driver]
    elif kind == "pull":
        queue = upstream(program.graph.shape, driver)[0]
        task["input"] = program.elements[queue]["rings"]["ring"].address
    task["punt"], task["inject"] = (program.asides[number][n].address for n in ("punt", "inject"))
    task["lines"] = lines_touched(program.graph.shape, number) << MODEL_BITS
