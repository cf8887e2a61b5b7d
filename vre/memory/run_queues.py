# SPDX-License-Identifier: MIT
"""Run queues: linking tasks into the lists of a core's clients, and unlinking them.

A core's clients and their tasks are lists that its worker walks. Each change is one word, stored last, so the
worker sees the list before it or after it. A worker may still run an unlinked task until its slice ends:
the caller waits for that (:meth:`vre.platform.runtime.Runtime.quiesce`) before the task is put
elsewhere.
"""

from __future__ import annotations

from shm.intrinsics import add64, load64, release64, store64
from shm.layout import CLIENT, CORE, TASK
from vre.config.model import PortClassifier
from vre.memory.address_space import view
from vre.memory.layout import Builder
from vre.memory.router import ConfigMemory, RouterMemory
from workers.core.stride import strides
from workers.graph.shape import reach


def link(builder: Builder, client: int, slot: int, core: int, task: int) -> None:
    """Link a task at the head of a client's list on a core, if it is not linked yet, and enable it."""
    if _listed(client, task):
        store64(task + TASK["enabled"], 1)
        _changed(builder, core)
        return
    store64(task + TASK["client"], client)
    store64(task + TASK["slot"], builder.cores[core].passes + 8 * slot)
    store64(task + TASK["runnable"], 0)
    store64(task + TASK["next"], load64(client + CLIENT["tasks"]))
    store64(task + TASK["enabled"], 1)
    release64(client + CLIENT["tasks"], task)
    _changed(builder, core)


def _listed(client: int, task: int) -> bool:
    at = load64(client + CLIENT["tasks"])
    while at and at != task:
        at = load64(at + TASK["next"])
    return at != 0


def unlink(builder: Builder, core: int, task: int) -> None:
    """Unlink a task from its client's list; its worker may be in it until its slice ends."""
    client = load64(task + TASK["client"])
    store64(task + TASK["enabled"], 0)
    if client == 0:
        return  # it has never been linked
    at = client + CLIENT["tasks"]
    while load64(at) and load64(at) != task:
        at = load64(at) + TASK["next"]
    if load64(at):
        release64(at, load64(task + TASK["next"]))
    _changed(builder, core)


def _changed(builder: Builder, core: int) -> None:
    word = builder.cores[core].address + CORE["roster"]
    add64(word, 1)


def attach(builder: Builder, memory: RouterMemory, number: int, core: int, program: ConfigMemory | None = None) -> None:
    """Attach a task of a router to a core."""
    program = program or memory.program
    if core not in memory.slots:
        memory.slots[core] = builder.cores[core].enlist(memory.client(core))
    memory.cores[number] = core
    _point_devices(builder, program, number, core)
    link(builder, memory.client(core), memory.slots[core], core, program.tasks[number])


def _point_devices(builder: Builder, program: ConfigMemory, number: int, core: int) -> None:
    """Point a task's output ports at its core's TX rings."""
    _, driver = program.graph.tasks[number]
    for element in {*reach(program.graph.shape, number), driver}:
        node = program.graph.nodes[element]
        if node.cls.sends():
            state = view(program.elements[element]["state"], node.cls.layout().dtype)[0]
            state["ring"] = builder.ports[node.values["devname"]].tx[core].address


def attach_classifier(builder: Builder, nic: str, core: int) -> None:
    """Attach a port's classifier to a core."""
    port = builder.ports[nic]
    port.core = core
    slot = builder.cores[core].enlist(port.client)
    link(builder, port.client, slot, core, port.task)


def place_all(builder: Builder, placement: dict[tuple[str, int], int]) -> None:
    """Attach every task where `placement`, (router, task number) to core, says."""
    for (name, number), core in placement.items():
        if isinstance(name, PortClassifier):
            attach_classifier(builder, name.nic, core)
        else:
            attach(builder, builder.routers[name], number, core)


def set_weights(builder: Builder, weights: dict[tuple[str, int], float]) -> None:
    """Request a stride for every client; `weights` maps (router or classifier, core) to its weight there.

    The worker adopts it together with the client's pass.
    """
    clients: dict[str, int] = {port.name: port.client for port in builder.ports.values() if port.queue}
    for core in range(len(builder.cores)):
        here = {name: weight for (name, at), weight in weights.items() if at == core}
        for name, stride in zip(here, strides(list(here.values())) if here else [], strict=True):
            memory = builder.routers.get(name)
            address = memory.client(core) if memory else clients[name]
            store64(address + CLIENT["wanted"], stride)


def discharge(builder: Builder, memory: RouterMemory) -> None:
    """Remove a router's clients from all cores; none of its tasks is on any."""
    # A client that was being enlisted when something failed has no index recorded.
    for number, core in enumerate(builder.cores):
        core.dismiss(memory.client(number))
    memory.slots.clear()
