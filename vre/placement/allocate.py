# SPDX-License-Identifier: MIT
"""Step 1: which path runs on which core (the paper, section 3.1). Pure functions.

Tasks that share elements form a group, which is placed as a whole. First comes the load that each group would get if
the platform were one big core: max-min fair by entitlement, no group more than one core or than its demand. Groups are
then packed so that those loads are balanced, and the halves of a pipeline stay near each other. Small problems are
solved exactly; others by the largest group first, then by local search: moves and exchanges while they improve it.
Last, each router's entitlement is split over its cores.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from vre.config.machines import MACHINES, Machine
from vre.config.model import Model

#: Most placements that are searched exhaustively.
_EXACT = 20_000
#: Cost of a pipeline cut, in squared core loads: on one core, between cores that share a cache, between others.
_CUT = (0.0, 0.05, 0.15)
#: Cost of moving a running group: balance that improves by less is not worth it.
_MOVE = 0.02
#: Largest weight of a router on one of its cores, in units of its entitlement.
_TOP = 50.0
#: Default tickets of a path (Click: Task).
TICKETS = 1024

#: (router, task number) to the fraction of a core that the task can use.
Demands = dict[tuple[str, int], float]


@dataclass(frozen=True)
class Group:
    """Tasks to be placed together.

    `demand` is the fraction of a core that they can use, infinite if that is unknown or more than one; `load`
    the fraction that they are expected to use; `after` the groups of the same router that feed them through a queue.
    """

    router: str
    tasks: tuple[int, ...]
    allowed: tuple[int, ...]
    demand: float = math.inf
    load: float = 0.0
    after: tuple[int, ...] = ()
    pinned: bool = False


@dataclass(frozen=True)
class Placed:
    """One group and its core: `load` is the fraction of that core that it is expected to use."""

    router: str
    tasks: tuple[int, ...]
    core: int
    load: float
    pinned: bool


def fill_up(capacity: float, wanted: dict[str, tuple[float, float]]) -> dict[str, float]:
    """Share a capacity max-min fairly: name to (weight, most it can use) gives name to share."""
    shares = dict.fromkeys(wanted, 0.0)
    open_ = {name for name, (weight, most) in wanted.items() if weight > 0 and most > 0}
    left = capacity
    while open_ and left > 1e-12:
        total = sum(wanted[name][0] for name in open_)
        full = {name for name in open_ if wanted[name][1] - shares[name] <= left * wanted[name][0] / total}
        if not full:
            for name in open_:
                shares[name] += left * wanted[name][0] / total
            break
        for name in full:
            left -= wanted[name][1] - shares[name]
            shares[name] = wanted[name][1]
        open_ -= full
    return shares


def groups_of(model: Model, demands: Demands | None = None) -> list[Group]:
    """Return every group of a model, with the load that it is to get.

    Parameters
    ----------
    model : Model
    demands : dict, optional
        (router, task number) to the fraction of a core that the task can use; 1 for tasks that are not listed.
    """
    demands = demands or {}
    groups: list[Group] = []
    for router in model.routers.values():
        if router.direct:
            continue
        first = len(groups)
        for tasks in router.graph.groups:
            pins = {router.pins[t] for t in tasks if t in router.pins}
            allowed = (min(pins),) if pins else router.cores or tuple(range(model.cores))
            demand = sum(demands.get((router.name, t), math.inf) for t in tasks)
            after = tuple(first + i for i in router.graph.fed_by(tasks))
            pinned = bool(pins) or router.cores is not None
            groups.append(Group(router.name, tuple(tasks), allowed, demand, 0.0, after, pinned))
    every = tuple(range(model.cores))
    groups += [Group(nic.classifier, (0,), every) for nic in model.nics.values() if nic.classifier]
    return with_loads(groups, entitlements(model), model.cores)


def entitlements(model: Model) -> dict[str, float]:
    """Return every router's entitlement, and a port's classifier's: the sum of the routers' that it serves."""
    found = {router.name: router.entitlement for router in model.routers.values()}
    for nic in model.nics.values():
        if nic.classifier:
            served = [r.entitlement for r in model.routers.values() if nic.name in r.ports]
            found[nic.classifier] = sum(served) or 1.0
    return found


def with_loads(groups: list[Group], weights: dict[str, float], cores: int) -> list[Group]:
    """Return the groups with the load that each would get on one core as large as all `cores`."""
    mine: dict[str, list[int]] = {}
    for i, group in enumerate(groups):
        mine.setdefault(group.router, []).append(i)
    most = {name: sum(min(1.0, groups[i].demand) for i in found) for name, found in mine.items()}
    shares = fill_up(cores, {name: (weights[name], most[name]) for name in mine})
    loads = [0.0] * len(groups)
    for name, found in mine.items():
        within = fill_up(shares[name], {str(i): (1.0, min(1.0, groups[i].demand)) for i in found})
        for i in found:
            loads[i] = within[str(i)]
    return [replace(group, load=load) for group, load in zip(groups, loads, strict=True)]


def objective(groups: list[Group], cores: list[int], machine: Machine, count: int) -> float:
    """Return the cost of a placement: squared core loads, and the cost of cut pipelines."""
    load = [0.0] * count
    for group, core in zip(groups, cores, strict=True):
        load[core] += group.load
    cut = sum(_CUT[machine.distance(cores[i], cores[j])] for i, group in enumerate(groups) for j in group.after)
    return sum(x * x for x in load) + cut


def solve(groups: list[Group], count: int, machine: Machine, before: list[int] | None = None) -> list[int]:
    """Return the core of every group.

    Parameters
    ----------
    groups : list of Group
    count : int
        Cores.
    machine : Machine
        Says which cores are near each other.
    before : list of int, optional
        Where the groups run now: they move only if that is worth the cost.
    """
    choices = math.prod(len(g.allowed) for g in groups) if len(groups) < 64 else math.inf
    search = _Search(groups, count, machine, before)
    return search.exact() if choices <= _EXACT else search.descend()


class _Search:
    """Searches for the placement with the least objective."""

    def __init__(self, groups: list[Group], count: int, machine: Machine, before: list[int] | None) -> None:
        self.groups, self.machine, self.before = groups, machine, before
        self.load = [0.0] * count
        self.at: list[int] = [-1] * len(groups)
        self.near: list[list[int]] = [[] for _ in groups]
        for i, group in enumerate(groups):
            for j in group.after:
                self.near[i].append(j)
                self.near[j].append(i)

    def price(self, i: int, core: int) -> float:
        """Return what assigning group `i`, so far unassigned, to a core adds to the objective."""
        load = self.groups[i].load
        found = load * (2 * self.load[core] + load)
        for j in self.near[i]:
            if self.at[j] >= 0:
                found += _CUT[self.machine.distance(core, self.at[j])]
        if self.before and self.before[i] != core:
            found += _MOVE
        return found

    def put(self, i: int, core: int) -> None:
        self.at[i] = core
        self.load[core] += self.groups[i].load

    def take(self, i: int) -> int:
        core, self.at[i] = self.at[i], -1
        self.load[core] -= self.groups[i].load
        return core

    def exact(self) -> list[int]:
        """Branch and bound: try all placements, except those that are already worse than the best."""
        best: tuple[float, list[int]] = (math.inf, [])
        order = sorted(range(len(self.groups)), key=lambda i: -self.groups[i].load)

        def place(n: int, price: float) -> None:
            nonlocal best
            if price >= best[0] - 1e-12:
                return
            if n == len(order):
                best = (price, list(self.at))
                return
            i = order[n]
            for core in self.groups[i].allowed:
                more = self.price(i, core)
                self.put(i, core)
                place(n + 1, price + more)
                self.take(i)

        place(0, 0.0)
        return best[1]

    def descend(self) -> list[int]:
        """Begin with the present placement, or with the largest group first; move and exchange while that helps."""
        if self.before:
            for i, core in enumerate(self.before):
                self.put(i, core)
        else:
            for i in sorted(range(len(self.groups)), key=lambda i: (len(self.groups[i].allowed), -self.groups[i].load)):
                self.put(i, min(self.groups[i].allowed, key=lambda c: (self.price(i, c), c)))
        for _ in range(8):
            if not self._moves() and not self._swaps():
                break
        return self.at

    def _moves(self) -> bool:
        moved = False
        for i, group in enumerate(self.groups):
            core = self.take(i)
            best = min(group.allowed, key=lambda c: (self.price(i, c), c != core, c))
            better = self.price(i, best) < self.price(i, core) - 1e-9
            self.put(i, best if better else core)
            moved |= better
        return moved

    def _swaps(self) -> bool:
        """Exchange groups of the fullest core with groups elsewhere."""
        fullest = max(range(len(self.load)), key=lambda c: self.load[c])
        here = [i for i, core in enumerate(self.at) if core == fullest]
        for i in here:
            for j in range(len(self.groups)):
                there = self.at[j]
                if there == fullest or there not in self.groups[i].allowed or fullest not in self.groups[j].allowed:
                    continue
                self.take(i)
                old = self.price(i, fullest)
                self.take(j)
                old += self.price(j, there)
                new = self.price(i, there)
                self.put(i, there)
                new += self.price(j, fullest)
                self.put(j, fullest)
                if new < old - 1e-9:
                    return True
                self.take(i)
                self.take(j)
                self.put(i, fullest)
                self.put(j, there)
        return False


def allocate(
    model: Model,
    demands: Demands | None = None,
    before: dict[tuple[str, int], int] | None = None,
    fixed: bool = False,
) -> list[Placed]:
    """Place every group of every router; directly mapped routers are on the NIC's internal core, after the last core.

    Parameters
    ----------
    model : Model
    demands : dict, optional
        See :func:`groups_of`.
    before : dict, optional
        The placement that runs now, (router, task number) to core.
    fixed : bool
        Running groups stay where they are.
    """
    groups = groups_of(model, demands)
    now = None
    if before is not None and fixed:
        groups = [
            replace(g, allowed=(before[g.router, g.tasks[0]],)) if (g.router, g.tasks[0]) in before else g
            for g in groups
        ]
    elif before is not None:
        now = [before.get((g.router, g.tasks[0]), g.allowed[0]) for g in groups]
    cores = solve(groups, model.cores, MACHINES[model.machine], now)
    found = [
        Placed(group.router, group.tasks, core, group.load, group.pinned)
        for group, core in zip(groups, cores, strict=True)
    ]
    direct = [router for router in model.routers.values() if router.direct]
    return found + [Placed(r.name, tuple(g), model.cores, 1.0, True) for r in direct for g in r.graph.groups]


def placement(placed: Iterable[Placed]) -> dict[tuple[str, int], int]:
    """Return (router, task number) to core."""
    return {(p.router, task): p.core for p in placed for task in p.tasks}


def split(model: Model, placed: list[Placed]) -> dict[tuple[str, int], float]:
    """Return the weight of each router on each of its cores.

    On one core the weight is the entitlement. On several, the router's shares of them are to add up to its total load:
    its weights are scaled until they do, none beyond _TOP entitlements, so that a router that cannot get there starves
    no other. Disciplines without entitlements count paths, or tickets.
    """
    if model.discipline in ("roundrobin", "stride"):
        return _tickets(model, placed)
    loads: dict[tuple[str, int], float] = {}
    totals: dict[str, float] = {}
    for p in placed:
        load = max(p.load, 1e-6)
        loads[p.router, p.core] = loads.get((p.router, p.core), 0.0) + load
        totals[p.router] = totals.get(p.router, 0.0) + load
    entitled = entitlements(model)
    weights = {(name, core): entitled[name] * load / totals[name] for (name, core), load in loads.items()}
    cores_of: dict[str, list[int]] = {}
    for name, core in weights:
        cores_of.setdefault(name, []).append(core)
    several = {name: cores for name, cores in cores_of.items() if len(cores) > 1}
    for _ in range(40 if several else 0):
        on_core: dict[int, float] = {}
        for (_, core), weight in weights.items():
            on_core[core] = on_core.get(core, 0.0) + weight
        for name, cores in several.items():
            got = sum(weights[name, core] / on_core[core] for core in cores)
            for core in cores:
                weights[name, core] = min(weights[name, core] * totals[name] / got, _TOP * entitled[name])
    return weights


def _tickets(model: Model, placed: list[Placed]) -> dict[tuple[str, int], float]:
    """Return weights that count paths: one each, or the tickets of the task that has most of them."""
    weights: dict[tuple[str, int], float] = {}
    for p in placed:
        count = 1.0
        if model.discipline == "stride":
            router = model.routers.get(p.router)
            # A queue's own task idles while packets bypass it: the tickets of another task count.
            said = [router.tickets[t] for t in p.tasks if router and t in router.tickets]
            count = max(said, default=TICKETS)
        weights[p.router, p.core] = weights.get((p.router, p.core), 0.0) + count
    return weights


def expected_shares(model: Model, placed: list[Placed]) -> dict[str, float]:
    """Return each router's share of the whole platform if all are overloaded."""
    weights = split(model, placed)
    total: dict[int, float] = {}
    for (_, core), weight in weights.items():
        total[core] = total.get(core, 0.0) + weight
    shares = dict.fromkeys(model.routers, 0.0)
    for (name, core), weight in weights.items():
        if name in shares and core < model.cores:
            shares[name] += weight / total[core] / model.cores
    return shares
