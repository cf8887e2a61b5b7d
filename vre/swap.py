# SPDX-License-Identifier: MIT
"""What a router's new configuration takes over from the old one: by element name and class (Click: hotconfig)."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from shm.channel import CHANNEL
from shm.layout import NOTE, SLOT, TASK
from shm.memory import load64, release64, store64
from shm.ring import HEAD, NEXT_HEAD, NEXT_TAIL, TAIL
from vre.space import RingPlan, view
from vre.tenant import Program, Tenant
from workers.shape import reasons
from workers.turn import DROPS, MADE


def take_over(tenant: Tenant, old: Program, new: Program) -> None:
    """Carry state, packets and counters from a configuration that has stopped to one that has not begun.

    What finds no place in the new one is in the router's account still: counters as `carried`, packets as dropped for
    the reason `replaced`.
    """
    names = {node.name: i for i, node in enumerate(new.graph.nodes)}
    for i, node in enumerate(old.graph.nodes):
        before = old.elements[i]
        j = names.get(node.name)
        if j is not None and new.graph.nodes[j].cls is node.cls:
            _keep(node.cls, before, new.elements[j])
            if node.cls.processing == "h/l":
                move_packets(before["rings"]["ring"], new.elements[j]["rings"]["ring"])
        else:
            _carry(tenant, node.cls, before["state"])
    for ring in old.rings:
        _count(tenant, "replaced", load64(ring.address + HEAD) - load64(ring.address + TAIL))
    for channel in old.channels.values():
        _count(tenant, "domu_lost", load64(channel + CHANNEL["lost"]))
    for number, task in enumerate(old.tasks):
        _count(tenant, "killed", load64(task + TASK["killed"]))
        if old.graph.tasks[number][0] in ("rx", "source"):
            tenant.carried_packets += load64(task + TASK["packets"])


def _count(tenant: Tenant, reason: str, count: int) -> None:
    if count:
        tenant.carried[reason] = tenant.carried.get(reason, 0) + count


def _keep(cls: Any, before: dict[str, Any], after: dict[str, Any]) -> None:
    """Copy an element's counters, and what its class keeps."""
    old, new = (view(where["state"], cls.layout().dtype)[0] for where in (before, after))
    new["made"] = old["made"]
    new["drops"] = old["drops"]
    for name in cls.keeps:
        if name not in before["areas"]:
            new[name] = old[name]
        elif before["sizes"][name] == after["sizes"][name]:
            ctypes.memmove(after["areas"][name], before["areas"][name], before["sizes"][name])


def _carry(tenant: Tenant, cls: Any, state: int) -> None:
    """Add an element's counters to the router's account: the element is gone."""
    tenant.carried_made += load64(state + MADE)
    for i, reason in enumerate(reasons(cls)):
        _count(tenant, reason, load64(state + DROPS + 8 * i))


def move_packets(old: RingPlan, new: RingPlan) -> int:
    """Move what waits in one ring to the end of another, as far as that has room; return how many packets.

    Nobody uses either ring meanwhile. Each slot gives its buffers for those of the slot that it fills.
    """
    tail, head = load64(old.address + TAIL), load64(old.address + HEAD)
    first = load64(new.address + HEAD)
    count = min(head - tail, new.capacity - (first - load64(new.address + TAIL)))
    here, there = (tail + np.arange(count)) % old.count, (first + np.arange(count)) % new.count
    source, target = view(old.slots, SLOT.dtype, old.count), view(new.slots, SLOT.dtype, new.count)
    taken, given = source[here].copy(), target[there].copy()
    target[there] = taken
    for name in ("small", "large"):
        source[name][here] = given[name]
    view(new.notes, NOTE.dtype, new.count)[there] = view(old.notes, NOTE.dtype, old.count)[here]
    for ring, field, published, value in ((new, NEXT_HEAD, HEAD, first + count), (old, NEXT_TAIL, TAIL, tail + count)):
        store64(ring.address + field, value)
        release64(ring.address + published, value)
    return count
