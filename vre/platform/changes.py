# SPDX-License-Identifier: MIT
"""Changing a platform while it runs: entitlements, placement, routers, configurations.

| change | effect on other routers |
| --- | --- |
| entitlement, weights | nothing: strides are single words |
| move of a group of tasks | nothing: the core it leaves finishes a slice |
| router added, removed, replaced | their core's next worker takes over between two slices |

A task is taken off a core in three steps: it is unlinked, its worker finishes the slice it may have it in, and the
wire sends what it has put into the core's TX rings. Only then does it run elsewhere, so packets keep their order;
if the wire cannot send them in time, the task stays on its core.

Each change happens or does not (:mod:`vre.platform.transaction`), in four parts:

1. *Plan*: every check is made, addresses are chosen, nothing is written.
2. *Acquire*: segments, processes, a domU, a pause of the tasks; the undo step of each is registered before it.
3. *Commit*: a word in this process.
4. *Finish*: stores into existing memory, and freeing what is not used any more: steps that are retried until they
   succeed.

| change | acquired, and released if it fails | finished once it has committed |
| --- | --- | --- |
| entitlement | nothing | weights; groups move one by one, and stay if that is refused |
| move | sources and tasks pause | clocks and times, tasks on the new core, weights, manifest |
| add | segments, workers that know it, tasks on cores, a domU, sources | manifest |
| remove | nothing | all of it (:mod:`vre.platform.departure`) |
| link | a segment for frames that wait, and processes that map it, if there is none | settings, the old segment |
| replace | a rehearsal, a segment, workers that know it, a pause of domU and tasks | state, packets, tasks, domU |
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from shm.intrinsics import load64, store64
from shm.layout import CORE, RING, SLOT, TIME_UNIT_NS
from shm.wire_layout import SOURCE
from vre.config.model import Router
from vre.config.validate import validate
from vre.domu.domus import Domus
from vre.errors import ConfigError, PlatformEnded, PlatformError, Problem
from vre.language.bridge import bridge, problems_inside
from vre.language.graph import Graph
from vre.memory.address_space import RingPlan, view
from vre.memory.router import ConfigMemory, RouterMemory, fill_config, plan_config
from vre.memory.run_queues import attach, place_all
from vre.memory.state_transfer import Stores, take_over
from vre.placement.allocate import Demands, Placed, allocate, placement
from vre.platform.departure import Departure
from vre.platform.impairments import ImpairmentChanges
from vre.platform.pause import Rest
from vre.platform.runtime import Runtime
from vre.platform.transaction import Finisher, Step, Transaction

#: How long the wire may take to send what waits in a TX ring: a capture's file may be behind.
_DRAIN_S = 2.0
#: How long the platform serves others between two steps of a long task.
_PAUSE_S = 0.0002


class Changes:
    """All changes of one running platform.

    Parameters
    ----------
    runtime : Runtime
    domus : Domus
    demands : callable
        Returns the fraction of a core that each task can use, as far as that is known.
    """

    def __init__(self, runtime: Runtime, domus: Domus, demands: Callable[[], Demands]) -> None:
        self._runtime, self._domus, self._demands = runtime, domus, demands
        self.model, self.builder, self.links = runtime.model, runtime.builder, runtime.links
        self.finisher = Finisher(runtime.now, runtime.boundary.note)
        self.impairments = ImpairmentChanges(runtime, self.finisher)
        # A long capture is read while the platform is supervised.
        self.links.pause = lambda: runtime.wait(_PAUSE_S)

    def look(self) -> None:
        """Take the steps that changes have left over."""
        self.finisher.look()

    def _change(self, name: str) -> Transaction:
        return Transaction(name, self.finisher)

    # Entitlements.

    def entitle(self, name: str, entitlement: float) -> None:
        """Change a router's entitlement. Raises ConfigError."""
        router = self.model.routers[name]
        with self._change(name) as change:
            before = router.entitlement
            change.undo(lambda: setattr(router, "entitlement", before))
            router.entitlement = entitlement
            problems = self._problems()
            if problems:
                raise ConfigError(problems)
            placed = allocate(self.model, self._demands(), self.now_placed())
            self._runtime.placement.weights()
            change.commit(self._weigh, self._runtime.publish)
        self.place(placed)

    def _weigh(self) -> None:
        """Give every client the stride of the present placement."""
        self._runtime.placement.apply(self._runtime.placement.groups)

    def _problems(self) -> list[Problem]:
        return validate(self.model, lambda message, *path: Problem(None, f"{'.'.join(path)}: {message}"))

    # Placement.

    def now_placed(self) -> dict[tuple[str, int], int]:
        """Return (router, task number) to the core that it is on, classifiers included."""
        found = {(t.name, number): core for t in self.builder.routers.values() for number, core in t.cores.items()}
        return found | {(port.name, 0): port.core for port in self.builder.ports.values() if port.queue}

    def place(self, placed: list[Placed]) -> int:
        """Carry out a placement; return how many groups moved. Classifiers stay on their cores.

        So does a group whose move is refused, or fails, which is only an event.
        """
        moved, now = 0, self.now_placed()
        settled = []
        for group in placed:
            core = now[group.router, group.tasks[0]]
            if core != group.core and group.router in self.builder.routers:
                try:
                    self.move(group.router, group.tasks, group.core)
                    moved, core = moved + 1, group.core
                except PlatformEnded:
                    raise
                except PlatformError as error:
                    self._runtime.report(f"router {group.router}: not moved to core {group.core}: {error}")
                except Exception as error:
                    self._runtime.boundary.note("move", group.router, error)
            settled.append(Placed(group.router, group.tasks, core, group.load, group.pinned))
        self._runtime.placement.apply(settled)
        self.finisher.anew("the manifest", self._runtime.publish)
        return moved

    def _settle(self, name: str, placed: list[Placed]) -> None:
        """Record the present placement of a router's groups."""
        self._runtime.placement.settle(name, placed)

    def move(self, name: str, tasks: Sequence[int], core: int) -> float:
        """Move a group of a router's tasks to another core; return how long they were paused, in seconds.

        Raises PlatformError, and leaves them where they are, if the packets that they have sent cannot leave in time.
        """
        memory = self.builder.routers[name]
        old = {number: memory.cores[number] for number in tasks}
        begun = time.monotonic()
        placed = [
            Placed(name, p.tasks, core if p.tasks[0] == tasks[0] else p.core, p.load, p.pinned)
            for p in self._runtime.placement.groups
            if p.router == name
        ]
        with self._change(name) as change:
            sources = [p.address for p in self.links.sources if p.router == name] if self._runtime.plan.dilated else []
            change.undo(lambda: _rest(sources, False))
            _rest(sources, True)
            if sources:
                self._runtime.quiesce_wire()
            change.undo(lambda: self._put(memory, old))
            self.stop_tasks(memory, memory.program, tasks)
            stores = self._change_clocks(memory, sources, old[tasks[0]], core)
            change.commit(
                stores.write,
                lambda: self._put(memory, dict.fromkeys(tasks, core)),
                lambda: self._settle(name, placed),
                lambda: _rest(sources, False),
                self._runtime.publish,
            )
        return time.monotonic() - begun

    def _put(self, memory: RouterMemory, cores: dict[int, int]) -> None:
        """Attach tasks to cores: task number to core."""
        for number, core in cores.items():
            attach(self.builder, memory, number, core)

    def stop_tasks(self, memory: RouterMemory, program: ConfigMemory, tasks: Sequence[int]) -> None:
        """Take tasks off their cores, until no worker is in one and no packet of theirs is in a TX ring.

        Raises PlatformError if the wire has not sent all that they sent within _DRAIN_S.
        """
        rest = Rest(self._runtime, memory, program, tasks)
        rest.begin()
        end = self._runtime.now() + _DRAIN_S
        while waiting := rest.waiting():
            if self._runtime.now() >= end:
                raise PlatformError(
                    f"router '{memory.name}' goes on as it was: its packets have been waiting for {_DRAIN_S:g} s at "
                    f"port {waiting}, and those that it would send from elsewhere would overtake them; try again later"
                )
            self._runtime.wait(0.0001)

    def _change_clocks(self, memory: RouterMemory, sources: list[int], old: int, new: int) -> Stores:
        """Return the stores that convert times of sources and waiting packets from one core's clock to another's."""
        stores = Stores()
        if not sources:
            return stores
        clocks = [self.builder.cores[core].address + CORE["clock_ns"] for core in (old, new)]
        shift = load64(clocks[1]) - load64(clocks[0])
        for source in sources:
            if load64(source + SOURCE["clock"]) == clocks[0]:
                stores.word(source + SOURCE["clock"], clocks[1])
                if load64(source + SOURCE["start_ns"]) >= 0:
                    stores.word(source + SOURCE["start_ns"], load64(source + SOURCE["start_ns"]) + shift)
        for ring in [*memory.rx.values(), *memory.program.rings]:
            _shift_times(stores, ring, shift // TIME_UNIT_NS)
        return stores

    # Routers.

    def add(self, router: Router) -> None:
        """Add a router. Raises ConfigError, PlatformError."""
        name, runtime, space = router.name, self._runtime, self.builder.space
        if name in self.model.routers:
            raise ConfigError([Problem(None, f"there is a router '{name}' already")])
        _refuse_control(router)
        before = self.now_placed()
        with self._change(name) as change:
            change.undo(lambda: self.model.routers.pop(name, None))
            self.model.routers[name] = router
            problems = self._problems()
            if self.model.places > len(self.builder.cores):
                message = f"'{name}' is mapped directly: the first such router must be there at the start"
                problems.append(Problem(None, message))
            if problems:
                raise ConfigError(problems)
            change.undo(space.discard, self.links.notes.clear, lambda: self.builder.routers.pop(name, None))
            departure = Departure(runtime, self._domus, name)
            change.undo(*departure.steps())
            memory = departure.memory = self.builder.plan(router)
            fresh = self.links.plan_sources([name])
            runtime.make_room()
            self.builder.fill_router(memory)
            self.links.open_accounts(memory)
            departure.published = True
            runtime.publish()
            departure.told = True
            runtime.renew()
            # Not before: what has come for it by then, as a broadcast, would be written where the old wire has nothing.
            self.builder.claim(memory)
            placed = allocate(self.model, self._demands(), before, fixed=True)
            runtime.placement.apply(placed)
            place_all(self.builder, {k: c for k, c in placement(placed).items() if k[0] == name})
            self._domus.launch([memory], runtime.wait)
            for plan in fresh:
                self.links.fill_source(plan)
            change.commit(runtime.publish)
        runtime.report_notes()

    def remove(self, name: str) -> None:
        """Remove a router with the packets that wait in its rings. Raises PlatformError."""
        _refuse_control(self.model.routers[name])
        with self._change(name) as change:
            if set(self.model.routers) <= {name, *self.finisher.unfinished}:
                raise PlatformError(f"'{name}' is the only router: end the platform instead")
            departure = Departure(self._runtime, self._domus, name)
            departure.memory = self.builder.routers[name]
            departure.published = departure.told = True
            change.commit(*departure.steps())

    # Configurations.

    def replace(self, name: str, graph: Graph) -> float:
        """Replace a router's configuration; return how long it was paused, in seconds. Raises ConfigError."""
        _refuse_control(self.model.routers[name])
        memory, runtime, space = self.builder.routers[name], self._runtime, self.builder.space
        old, cores = memory.program, dict(memory.cores)
        with self._change(name) as change:
            restore = self._configure(change, memory, graph)
            new = self._acquire(change, memory, restore)
            others = {key: core for key, core in self.now_placed().items() if key[0] != name}
            placed = allocate(self.model, self._demands(), others, fixed=True)
            placed = [group for group in placed if group.router == name]
            mine = {number: core for (_, number), core in placement(placed).items()}
            begun = time.monotonic()
            change.undo(
                restore,
                lambda: self._put(memory, cores),
                lambda: self._domus.resume(memory, runtime.wait),
            )
            self._domus.dismiss(name, runtime.wait)
            self.stop_tasks(memory, old, list(memory.cores))
            handover = take_over(memory, old, new)
            change.commit(
                handover.carry_out,
                lambda: _begin(memory, new, mine),
                lambda: self._put(memory, mine),
                lambda: self._settle(name, placed),
                lambda: self._domus.resume(memory, runtime.wait),
                lambda: space.forget(old.label, old.rings),
                runtime.publish,
                space.sweep,
            )
        return time.monotonic() - begun

    def _configure(self, change: Transaction, memory: RouterMemory, graph: Graph) -> Step:
        """Give a router's settings another graph; return what takes that back. Raises ConfigError, PlatformError."""
        router, before = memory.router, (memory.router.graph, memory.router.hosted_graph)

        def restore() -> None:
            router.graph, router.hosted_graph = before

        change.undo(restore)
        hosted = router.hosted_graph is not None
        problems = problems_inside(graph) if hosted else []
        router.graph, router.hosted_graph = (bridge(graph), graph) if hosted else (graph, None)
        problems = problems or self._problems() or self._same_ports(memory, before[0], router.graph)
        if problems:
            raise ConfigError(problems)
        self._domus.rehearse(memory, router.graph, self._runtime.wait)
        return restore

    def _acquire(self, change: Transaction, memory: RouterMemory, restore: Step) -> ConfigMemory:
        """Return the memory of a router's new configuration, which workers and wire know from now on."""
        runtime, space = self._runtime, self.builder.space
        change.undo(space.discard)
        new = plan_config(space, memory.router, memory.generation + 1)
        told: list[Step] = []
        change.undo(
            restore,
            lambda: space.forget(new.label, new.rings),
            lambda: [step() for step in told],
            space.sweep,
        )
        runtime.make_room()
        fill_config(memory, new, self.model)
        told.append(runtime.publish)
        runtime.publish(upcoming=(memory.entry(new),))
        told.append(runtime.renew)
        runtime.renew()
        return new

    @staticmethod
    def _same_ports(memory: RouterMemory, old: Graph, new: Graph) -> list[Problem]:
        ports = [{n.values["devname"] for n in graph.nodes if n.cls.driver == "rx"} for graph in (old, new)]
        if ports[0] == ports[1]:
            return []
        said = ", ".join(sorted(ports[0])) or "none"
        message = f"'{memory.name}' receives from other ports than before ({said}): remove the router, and add it anew"
        return [Problem(None, message)]


def _begin(memory: RouterMemory, program: ConfigMemory, cores: dict[int, int]) -> None:
    """Make a configuration the router's; its tasks will be on these cores."""
    if memory.program is not program:
        memory.program, memory.generation, memory.cores = program, memory.generation + 1, dict(cores)


def _rest(sources: list[int], resting: bool) -> None:
    for source in sources:
        store64(source + SOURCE["paused"], int(resting))


def _shift_times(stores: Stores, plan: RingPlan, units: int) -> None:
    """Add to the time stamps of the packets that wait in a ring, which is not in use."""
    head, tail = load64(plan.address + RING["head"]), load64(plan.address + RING["tail"])
    slots = view(plan.slots, SLOT.dtype, plan.count).copy()
    for index in range(tail, head):
        at = index % plan.count
        if slots["time"][at]:
            slots["time"][at] = (int(slots["time"][at]) + units) & 0xFFFFFFFF | 1
    stores.add(plan.slots, slots.tobytes())


def _refuse_control(router: Router) -> None:
    """Refuse a change of a router with a control plane: its namespace is made before the platform's processes are."""
    if router.control:
        raise PlatformError(
            f"router '{router.name}' has a control plane: it comes and goes with the platform, with its configuration"
        )
