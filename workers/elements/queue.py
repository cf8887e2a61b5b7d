# SPDX-License-Identifier: MIT
"""Where push becomes pull, and pull becomes push again."""

from __future__ import annotations

from typing import Any

from shm.intrinsics import load64, relaxed64
from shm.layout import RING
from shm.ring import push, room, used
from workers.arguments import Argument, between
from workers.datapath.packet import DROP, TAKEN, write_note
from workers.element import Element, Needs, cap


def _length(state: Any) -> str:
    return str(load64(state["ring"]) - relaxed64(state["ring"] + RING["tail"]))


class Queue(Element):
    """Stores packets first in, first out; drops what arrives while it is full.

    Syntax: `Queue([CAPACITY])`, 1000 packets by default.

    A queue in front of an Unqueue is also where a router may be cut between cores: what pushes and what pulls
    need not run on the same one. In front of a port with room, packets pass an empty queue by.

    Handlers: `length`, `highwater_length`, `capacity`, `drops` (read), `reset_counts` (write).
    """

    keeps = ("highwater",)
    cycles = 90
    processing = "h/l"
    is_queue = takes = True
    arguments = (Argument("CAPACITY", between(1, 65535), 1000),)
    state = {"ring": "i8", "capacity": "i8", "highwater": "i8"}
    reasons = ("queue_full",)

    @classmethod
    def needs(cls, values: dict[str, Any]) -> Needs:
        return Needs(rings={"ring": values["capacity"]})

    @staticmethod
    def process(state, packet, core):
        ring = state["ring"]
        if room(ring, 1) == 0:
            return DROP
        write_note(ring, packet, 0)
        push(ring, packet, core)
        in_use = used(ring)
        if in_use > state["highwater"]:
            state["highwater"] = in_use
        return TAKEN

    @staticmethod
    def _reset(state: Any, text: str) -> None:
        state["highwater"] = 0

    read_handlers = {
        "length": _length,
        "highwater_length": cap("highwater"),
        "capacity": cap("capacity"),
        "drops": lambda state: str(int(state["drops"][0])),
    }
    write_handlers = {"reset_counts": _reset}


class Unqueue(Element):
    """Pulls packets and pushes them on.

    Syntax: `Unqueue([BURST b])`: at most BURST packets a turn; as many as the scheduler grants by default.

    Handlers: `count` (read).
    """

    keeps = ("count",)
    cycles = 60
    processing = "l/h"
    driver = "pull"
    bursts = True
    arguments = (Argument("BURST", between(1, 65535), 65535),)
    state = {"burst": "i8", "count": "i8"}
    read_handlers = {"count": cap("count")}

    @staticmethod
    def process(state, packet):
        state["count"] += 1
        return 0
