# SPDX-License-Identifier: MIT
"""The slow path: elements in the interpreter, between slices.

Compiled paths punt packets into a ring; here each becomes a :class:`workers.element.SlowPacket`, its element's
`slow` runs, and what that yields goes back through the inject ring to the compiled element behind. The time
is charged to the task that punted.
"""

from __future__ import annotations

import ctypes
import struct
import time
from collections.abc import Callable
from typing import Any

from shm.layout import CLIENT, CORE, IDLE_PASS, IN_LARGE, LINE, MISSING, NOTE, TASK
from shm.memory import acquire64, load64, record, store64
from shm.ring import HEAD, NEXT_HEAD, NEXT_TAIL, POOL, TAIL, available, bump, commit_head, commit_tail, room, slot_at
from workers.element import Drop, SlowPacket, load
from workers.packet import HEADROOM, LARGE_ROOM, SMALL_ROOM, note_at
from workers.shape import Shape, offsets, reasons
from workers.stride import charge
from workers.turn import DROPS, MADE, PORT_BITS, PORT_MASK, begin, claim, commit, finish

#: Time for the slow path between two slices: a fifth of a slice, or a single packet where that takes longer.
BUDGET_NS = 200_000
_SLOT = struct.Struct("<IIIHH")
_NOTE = struct.Struct("<IiiHHBBBBH")
assert NOTE["device"] == 20 and NOTE["paint"] == 16

Tick = Callable[[], int]


def read_packet(ring: int, index: int) -> tuple[SlowPacket, int]:
    """Return the packet in the slot for `index`, and the entry it was noted for."""
    small, large, stamp, size, offset = _SLOT.unpack(ctypes.string_at(slot_at(ring, index), _SLOT.size))
    reference = large if offset & IN_LARGE else small
    address = load64(ring + POOL) + reference * LINE + (offset & (IN_LARGE - 1))
    dst, net, mac, entry, vlan, paint, kind, param, fix, device = _NOTE.unpack(
        ctypes.string_at(note_at(ring, index), _NOTE.size)
    )
    packet = SlowPacket(bytearray(ctypes.string_at(address, size)), time=stamp)
    packet.net, packet.mac = (None if p == MISSING else p for p in (net, mac))
    packet.dst, packet.vlan, packet.paint, packet.type = dst, vlan, paint, kind
    packet.param_off, packet.fix_src, packet.device = param, fix, device
    return packet, entry


def put_packet(ring: int, packet: SlowPacket, entry: int) -> bool:
    """Write a packet into a ring's next slot, in that slot's own buffer; False where it has no room."""
    if len(packet.data) > LARGE_ROOM or room(ring, 1) == 0:
        return False
    head = load64(ring + NEXT_HEAD)
    write_packet(ring, head, packet, entry)
    store64(ring + NEXT_HEAD, head + 1)
    return True


def write_packet(ring: int, index: int, packet: SlowPacket, entry: int) -> None:
    """Write a packet and its note into the slot for `index`."""
    size, slot = len(packet.data), slot_at(ring, index)
    large = size > SMALL_ROOM
    reference = _SLOT.unpack(ctypes.string_at(slot, _SLOT.size))[large]
    ctypes.memmove(load64(ring + POOL) + reference * LINE + HEADROOM, bytes(packet.data), size)
    small_large = ctypes.string_at(slot, 8)
    described = small_large + struct.pack("<IHH", packet.time, size, HEADROOM | (IN_LARGE if large else 0))
    ctypes.memmove(slot, described, _SLOT.size)
    places = (MISSING if p is None else p for p in (packet.net, packet.mac))
    note = _NOTE.pack(
        packet.dst,
        *places,
        entry,
        packet.vlan,
        packet.paint,
        packet.type,
        packet.param_off,
        packet.fix_src,
        packet.device,
    )
    ctypes.memmove(note_at(ring, index), note, _NOTE.size)


class Context:
    """What a slow path may ask of its surroundings."""

    def __init__(self, core: int, connected: set[int]) -> None:
        self._core = core
        self._connected = connected
        self.touched: set[int] = set()

    @property
    def now_ns(self) -> int:
        """The core's clock."""
        return load64(self._core + CORE["clock_ns"])

    def connected(self, output: int) -> bool:
        """Return whether an output of the element leads anywhere."""
        return output in self._connected

    def midnight_ms(self) -> int:
        """Return ms since midnight UT, as Internet timestamps count (RFC 791); virtual time begins at midnight."""
        now = self.now_ns if load64(self._core + CORE["virtual"]) else time.time_ns()
        return now // 1_000_000 % 86_400_000

    def hold(self, ring: int, packet: SlowPacket) -> bool:
        """Keep a packet in one of the element's own rings; False where it is full."""
        self.touched.add(ring)
        return put_packet(ring, packet, 0)

    def release(self, ring: int, wanted: Callable[[SlowPacket], bool]) -> list[SlowPacket]:
        """Take the packets that `wanted` says out of a ring of the element; the others stay, in order."""
        self.touched.add(ring)
        first, end = load64(ring + NEXT_TAIL), load64(ring + NEXT_HEAD)
        packets = [read_packet(ring, i)[0] for i in range(first, end)]
        out = [packet for packet in packets if wanted(packet)]
        # Those that stay move up to the end; a worker killed here loses no more than what it claimed.
        store64(ring + NEXT_TAIL, first + len(out))
        for i, packet in enumerate(p for p in packets if not wanted(p)):
            write_packet(ring, first + len(out) + i, packet, 0)
        return out


class SlowTask:
    """The slow path of one task."""

    def __init__(self, core: int, task: int, shape: Shape, read_ticks: Tick, modelled: int | None = None) -> None:
        self.core, self.task, self.shape, self._ticks, self._modelled = core, task, shape, read_ticks, modelled
        self.block = load64(task + TASK["block"])
        self.punt, self.inject = load64(task + TASK["punt"]), load64(task + TASK["inject"])
        registry = load()
        self.classes = [registry[name] for name in shape.classes]
        self.places = offsets(shape.classes)[0]
        self.next = {(e[0], e[1]): (e[2], e[3]) for e in shape.edges}

    def pending(self) -> bool:
        """Return whether packets wait here, of a path that may run."""
        return load64(self.task + TASK["enabled"]) != 0 and acquire64(self.punt + HEAD) != load64(self.punt + TAIL)

    def current_pass(self) -> int:
        """Return the pass of the task's client: who has had least goes first here, too."""
        at = load64(load64(self.task + TASK["slot"]))
        return load64(load64(self.task + TASK["client"]) + CLIENT["own_pass"]) if at == IDLE_PASS else at

    def run(self) -> None:
        """Handle one packet and charge the task."""
        if available(self.punt, 1) == 0:
            return
        before = self._ticks()
        store64(self.core + CORE["task"], self.task)
        store64(self.core + CORE["since"], before)
        begin(self.core)
        touched = self._handle(*read_packet(self.punt, claim(self.punt, 1)))
        commit(self.core)
        for ring in touched:
            commit_head(ring)
            commit_tail(ring)
        commit_head(self.inject)
        commit_tail(self.punt)
        finish(self.core)
        store64(self.core + CORE["task"], 0)
        self._charge(self._ticks() - before if self._modelled is None else self._modelled)

    def _handle(self, packet: SlowPacket, entry: int) -> set[int]:
        element, port = entry >> PORT_BITS, entry & PORT_MASK
        cls, place = self.classes[element], self.block + self.places[element]
        context = Context(self.core, {output for e, output in self.next if e == element})
        state = record(place, cls.layout().dtype)
        assert cls.slow
        out = 0  # packets that have come of this one: more than one, and the rest were made here
        held = sum(load64(r + NEXT_HEAD) - load64(r + NEXT_TAIL) for r in self._rings(state, cls))
        for result in cls.slow(state, packet, port, context):
            out += 1
            if isinstance(result, Drop):
                if result.packet and context.connected(cls.bad_port) and cls.bad_port:
                    result = (cls.bad_port, result.packet)
                else:
                    bump(self.core, place + DROPS + 8 * reasons(cls).index(result.reason))
                    continue
            output, following = result
            target = self.next.get((element, output))
            code = target[0] << PORT_BITS | target[1] if target else 0
            if target is None or not put_packet(self.inject, following, code):
                bump(self.core, place + DROPS + 8 * len(cls.reasons))
        out += sum(load64(r + NEXT_HEAD) - load64(r + NEXT_TAIL) for r in self._rings(state, cls)) - held
        for _ in range(out - 1):
            bump(self.core, place + MADE)
        return context.touched

    @staticmethod
    def _rings(state: Any, cls: Any) -> list[int]:
        return [int(state["hold"])] if "hold" in cls.state else []

    def _charge(self, used: int) -> None:
        core = self.core
        store64(core + CORE["slow_ticks"], load64(core + CORE["slow_ticks"]) + used)
        store64(self.task + TASK["slow_ticks"], load64(self.task + TASK["slow_ticks"]) + used)
        charge(load64(self.task + TASK["client"]), load64(self.task + TASK["slot"]), used, used)


def run_slow(tasks: list[SlowTask], read_ticks: Tick, budget_ticks: int) -> bool:
    """Handle waiting packets, the task with the least pass first, until the budget is used.

    Returns
    -------
    bool
        Whether there was anything to do.
    """
    end = read_ticks() + budget_ticks
    handled = False
    while read_ticks() < end:
        waiting = [task for task in tasks if task.pending()]
        if not waiting:
            break
        min(waiting, key=SlowTask.current_pass).run()
        handled = True
    return handled
