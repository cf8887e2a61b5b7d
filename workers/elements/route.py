# SPDX-License-Identifier: MIT
"""Route lookup. All lookup elements are one: the same table, the same handlers."""

from __future__ import annotations

import re
from heapq import nsmallest
from typing import Any

from shm.intrinsics import load32, unlikely
from workers.arguments import Argument, ArgumentError, between, ip, mask_of, prefix, show_ip, words
from workers.datapath.fib import GROUP, NOWHERE, FibError, chunks_for, hops_at, lookup, member, table_bytes
from workers.datapath.flow import flow_hash
from workers.datapath.packet import DROP
from workers.element import Element, Needs

#: Characters of the shortest line of a table.
_SHORTEST = len("0.0.0.0/0\t-\t-\n")
#: Chunks kept free for routes added while the router runs.
_HEADROOM = 256


def route(text: str) -> tuple[int, int, int, int]:
    """Parse `ADDR/MASK [GATEWAY] OUTPUT` into (address, length, gateway, output)."""
    parts = words(text)
    if len(parts) not in (2, 3):
        raise ValueError(f"'{text}' is not ADDR/MASK [GATEWAY] OUTPUT")
    address, length = prefix(parts[0])
    output = parts[-1]
    if not re.fullmatch("[0-9]{1,3}", output, re.ASCII) or int(output) > 255:
        raise ArgumentError(f"output '{output}' is not a number from 0 to 255", text.rindex(output))
    return address, length, ip(parts[1]) if len(parts) == 3 else 0, int(output)


class RadixIPLookup(Element):
    """Finds the longest matching prefix of the destination annotation (RFC 1812, section 5.2.4).

    Syntax: `RadixIPLookup(ADDR1/MASK1 [GW1] OUT1, ...[, CAPACITY c])`

    A packet goes to output OUT; where a gateway is given, it becomes the destination annotation. Packets
    without a route are dropped. 100,000 routes load in under 2 s. CAPACITY is the number of distinct /16
    and /24 blocks to keep free for longer prefixes added later (256 by default).

    Handlers: `table` (read); `add`, `set` (a route), `remove` (ADDR/MASK), `ctrl` (such commands, one a line), `flush`
    (write).
    """

    cycles = 250
    lines = 2
    ports = "1/-"
    processing = "h/h"
    arguments = (
        Argument("ROUTE", route, rest=True),
        Argument("CAPACITY", between(0, 1 << 20), _HEADROOM, keyword=True),
    )
    state = {"table": "i8", "hops": "i8", "chunks": "i8"}
    reasons = ("no_route",)
    fib = True
    table_reads, table_writes = ("table",), ("add", "set", "remove", "ctrl", "flush")

    @classmethod
    def outputs(cls, values: dict[str, Any]) -> int | None:
        return max((r[3] for r in values["route"]), default=-1) + 1 or None

    @classmethod
    def _chunks(cls, values: dict[str, Any]) -> int:
        return chunks_for((r[0], r[1]) for r in values["route"]) + values["capacity"]

    @classmethod
    def needs(cls, values: dict[str, Any]) -> Needs:
        return Needs(areas={"table": table_bytes(cls._chunks(values))})

    @classmethod
    def set_up(cls, state: Any, values: dict[str, Any]) -> None:
        state["chunks"] = cls._chunks(values)
        state["hops"] = state["table"] + hops_at(cls._chunks(values))

    @staticmethod
    def process(state, packet):
        entry = lookup(state["table"], packet["dst"])
        if unlikely(entry == 0):
            return DROP
        hop = state["hops"] + (entry - 1) * 8
        output = load32(hop + 4)
        if unlikely(output >= GROUP):
            if output == NOWHERE:
                return DROP
            hop = member(state["hops"], hop, flow_hash(packet["net"], packet["data"] + packet["length"], packet["dst"]))
            output = load32(hop + 4)
        gateway = load32(hop)
        if gateway:
            packet["dst"] = gateway
        return output


class StaticIPLookup(RadixIPLookup):
    """Finds the longest matching prefix; see RadixIPLookup.

    Syntax: `StaticIPLookup(ADDR1/MASK1 [GW1] OUT1, ...)`
    """


class DirectIPLookup(RadixIPLookup):
    """Finds the longest matching prefix; see RadixIPLookup.

    Syntax: `DirectIPLookup(ADDR1/MASK1 [GW1] OUT1, ...)`
    """


def show_table(fib: Any, most: int | None = None) -> str:
    """Return the routes of a table, one a line, longest prefixes last; of a route with several next hops, each.

    If only the first `most` characters are wanted, no more lines than these need are made, whatever the table holds.
    """
    lines: list[str] = []
    for length, level in enumerate(fib.routes):
        left = None if most is None else most // _SHORTEST + 1 - len(lines)
        for address, hop in sorted(level.items()) if left is None else nsmallest(left, level.items()):
            for gateway, output in fib.members(hop):
                where = "-" if output == NOWHERE else output
                lines.append(f"{show_ip(address)}/{length}\t{show_ip(gateway) if gateway else '-'}\t{where}\n")
    return "".join(lines)[:most]


def control(fib: Any, outputs: int, name: str, text: str) -> None:
    """Carry out a write handler of a lookup element: `add`, `set`, `remove`, `ctrl`, `flush`.

    Raises
    ------
    FibError, ValueError
        What is wrong with the command; nothing has changed then.
    """
    if name == "ctrl":
        _batch(fib, outputs, text)
        return
    if name == "flush":
        fib.flush()
        return
    if name == "remove":
        parts = words(text)
        # Click takes the whole route, too.
        address, length = route(text)[:2] if len(parts) > 1 else prefix(parts[0] if parts else text.strip())
        fib.remove(address, length)
        return
    address, length, gateway, output = route(text.strip())
    if output >= outputs:
        raise FibError(f"output {output} out of range: the element has {outputs}")
    if name == "add" and address in fib.routes[length]:
        raise FibError(f"conflict with existing route {show_ip(address)}/{length}")
    fib.add(address, length, gateway, output)


def _batch(fib: Any, outputs: int, text: str) -> None:
    """Carry out commands, one a line: all, or none where one of them cannot be."""
    before = []
    try:
        for line in text.strip().splitlines():
            verb, _, rest = line.strip().partition(" ")
            if verb not in ("add", "set", "remove"):
                raise FibError(f"'{verb}' is not add, set or remove")
            address, length = prefix(words(rest)[0] if rest.strip() else "")
            address &= mask_of(length)
            before.append((address, length, fib.routes[length].get(address)))
            control(fib, outputs, verb, rest)
    except ValueError:
        # Backwards, so that each finds the room that it had.
        for address, length, hop in reversed(before):
            if hop:
                fib.add(address, length, *hop)
            elif address in fib.routes[length]:
                fib.remove(address, length)
        raise
