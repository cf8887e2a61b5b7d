# SPDX-License-Identifier: MIT
"""Packets that a router makes itself."""

from __future__ import annotations

from typing import Any

from shm.intrinsics import copy, load64
from shm.layout import CORE
from workers.arguments import Argument, between, boolean, data, integer, rate
from workers.datapath.packet import LARGE_ROOM, spare_packet
from workers.element import Element, Needs, cap

_RANDOM = bytes(range(64))
#: An interval keeps so much after the point, so that any rate is exact to a hundred-thousandth.
_INTERVAL_BITS = 16


def _frame(text: str) -> bytes:
    value = data(text)
    if len(value) > LARGE_ROOM:
        raise ValueError(f"{len(value)} bytes do not fit a buffer of {LARGE_ROOM}")
    return value


class InfiniteSource(Element):
    """Makes packets as fast as it is scheduled.

    Syntax: `InfiniteSource([DATA, LIMIT, BURST, ACTIVE, STOP s, LENGTH l])`

    DATA is the packet (64 bytes of a pattern by default); LIMIT how many in all, -1 for no end; BURST is
    accepted and left to the scheduler. STOP true ends the run when LIMIT is reached.

    Handlers: `count`, `active`, `limit` (read, write but count).
    """

    keeps = ("count",)
    ports = "0/1"
    processing = "/a"
    driver = "source"
    stops = True
    arguments = (
        Argument("DATA", _frame, _RANDOM),
        Argument("LIMIT", integer, -1, live=True),
        Argument("BURST", between(1, 65535), 1),
        Argument("ACTIVE", boolean, True, live=True),
        Argument("STOP", boolean, False, keyword=True),
        Argument("LENGTH", between(0, LARGE_ROOM), None, keyword=True),
    )
    state = {"frame": "i8", "size": "i8", "limit": "i8", "count": "i8", "active": "u1", "stop": "u1"}
    read_handlers = {"count": cap("count")}

    @classmethod
    def _bytes(cls, values: dict[str, Any]) -> bytes:
        frame = values["data"]
        size = values["length"]
        return frame if size is None else (frame * (size // max(1, len(frame)) + 1))[:size]

    @classmethod
    def needs(cls, values: dict[str, Any]) -> Needs:
        return Needs(areas={"frame": max(8, len(cls._bytes(values)))})

    @classmethod
    def set_up(cls, state: Any, values: dict[str, Any]) -> None:
        frame = cls._bytes(values)
        _write(int(state["frame"]), frame)
        state["size"] = len(frame)

    @staticmethod
    def emit(state, packet, core):
        if state["active"] == 0 or (state["limit"] >= 0 and state["count"] >= state["limit"]):
            return 0
        spare_packet(packet, core, state["size"])
        copy(packet["data"], state["frame"], state["size"])
        state["count"] += 1
        return 1

    @staticmethod
    def process(state, packet):
        return 0


class RatedSource(InfiniteSource):
    """Makes packets at a steady rate of its core's clock.

    Syntax: `RatedSource([DATA, RATE, LIMIT, ACTIVE, STOP s, LENGTH l])`, RATE in packets a second (10 by default).

    Handlers: `count`, `active`, `limit` (read, write but count).
    """

    arguments = (
        Argument("DATA", _frame, _RANDOM),
        Argument("RATE", rate, 10.0),
        Argument("LIMIT", integer, -1, live=True),
        Argument("ACTIVE", boolean, True, live=True),
        Argument("STOP", boolean, False, keyword=True),
        Argument("LENGTH", between(0, LARGE_ROOM), None, keyword=True),
    )
    #: The interval is in 2**-_INTERVAL_BITS ns; `due_part` is what comes after the point of `due_ns`.
    state = InfiniteSource.state | {"interval": "i8", "due_ns": "i8", "due_part": "i8"}

    @classmethod
    def set_up(cls, state: Any, values: dict[str, Any]) -> None:
        super().set_up(state, values)
        state["interval"] = round(1e9 / values["rate"] * (1 << _INTERVAL_BITS))

    @staticmethod
    def emit(state, packet, core):
        if state["active"] == 0 or (state["limit"] >= 0 and state["count"] >= state["limit"]):
            return 0
        now = load64(core + CORE["clock_ns"])
        late = now - state["due_ns"]
        # Where its clock has gone back, it is another core's now.
        if late < 0 and -late <= (state["interval"] >> _INTERVAL_BITS) + 1:
            return 0
        # A source that fell behind by more than 10 ms starts afresh: no burst after a stop.
        if late < 0 or late > 10_000_000:
            state["due_ns"] = now
            state["due_part"] = 0
        part = state["due_part"] + state["interval"]
        state["due_ns"] += part >> _INTERVAL_BITS
        state["due_part"] = part & (1 << _INTERVAL_BITS) - 1
        spare_packet(packet, core, state["size"])
        copy(packet["data"], state["frame"], state["size"])
        state["count"] += 1
        return 1


def _write(address: int, frame: bytes) -> None:
    import ctypes

    ctypes.memmove(address, frame, len(frame))
