# SPDX-License-Identifier: MIT
"""Step 1: which path runs on which core (the paper, section 3.1).

A group of tasks that share elements is placed as a whole. Groups are placed in the order of their weight,
the heaviest first, each on the core with the least weight so far that its router allows.
"""

from __future__ import annotations

from dataclasses import dataclass

from vre.model import Model


@dataclass(frozen=True)
class Placed:
    """One group of tasks and where it goes: `weight` is the entitlement it stands for."""

    router: str
    tasks: tuple[int, ...]
    core: int
    weight: float
    pinned: bool


def allocate(model: Model) -> list[Placed]:
    """Place every group of every router.

    A router's entitlement is split evenly over its groups. Deterministic: ties go to the router named
    first and to the lowest core.
    """
    load = [0.0] * model.cores
    groups = []
    for router in model.routers.values():
        found = router.graph.groups
        for tasks in found:
            groups.append((router, tuple(tasks), router.entitlement / len(found)))
    placed = []
    for router, group, weight in sorted(groups, key=lambda g: (g[0].cores is None, -g[2])):
        allowed = router.cores or range(model.cores)
        core = min(allowed, key=lambda c: (load[c], c))
        load[core] += weight
        placed.append(Placed(router.name, group, core, weight, router.cores is not None))
    return placed


def placement(placed: list[Placed]) -> dict[tuple[str, int], int]:
    """Return (router, task number) to core."""
    return {(p.router, task): p.core for p in placed for task in p.tasks}


def expected_shares(model: Model, placed: list[Placed]) -> dict[str, float]:
    """Return each router's share of the whole platform where all are overloaded: its part of its cores."""
    total: dict[int, float] = {}
    for p in placed:
        total[p.core] = total.get(p.core, 0.0) + p.weight
    shares = dict.fromkeys(model.routers, 0.0)
    for p in placed:
        shares[p.router] += p.weight / total[p.core] / model.cores
    return shares
