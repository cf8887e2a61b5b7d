# SPDX-License-Identifier: MIT
"""A fence round a bench's memory: every load and store of its paths, run as twins, is held against what they may touch.

A path may touch its core, its router's records and rings, the ports' rings, its channels, and the buffers of the
packets that it has in hand. An element may touch the bytes of its packet, its own state, areas, rings and channel,
and what a swap or an undo takes. What is beyond is noted, with the element, and not done.
"""

from __future__ import annotations

import inspect
import sys
from bisect import bisect_right
from contextlib import contextmanager
from types import FunctionType

from shm import intrinsics
from shm.channel import DOWN_BYTES, UP_BYTES
from shm.intrinsics import load64
from shm.layout import CORE, NOTE, RING, SLOT, SPARES, TASK, UNDO, UNDO_ENTRIES
from workers.core import slow_path
from workers.datapath import packet as packets
from workers.datapath import slow_packet
from workers.datapath.headers import IP_SIZE
from workers.datapath.packet import GUARD
from workers.element import load

_LOADS = {"load8": 1, "load16": 2, "load32": 4, "load64": 8, "be16": 2, "be32": 4, "acquire64": 8, "relaxed64": 8}
_LOADS["acquire32"] = 4
_STORES = {"store8": 1, "store16": 2, "store32": 4, "store64": 8, "put_be16": 2, "put_be32": 4, "release64": 8}
_STORES["release32"] = 4
_STORES["add64"] = 8
#: They take an address, and neither read nor write there.
_HARMLESS = {"prefetch", "prefetch_read", "record"}
#: A port reads the first word of every frame, which :func:`workers.datapath.nic.deliver` makes its own.
_FIRST_WORD = 8
#: A word may begin before the first bytes of a packet, as long as what is there counts for nothing.
_WORD_BEFORE = 4


def accessors():
    """Return the names of all functions that read or write at an address."""
    functions = inspect.getmembers(intrinsics, inspect.isfunction)
    return {name for name, function in functions if next(iter(inspect.signature(function).parameters), "") == "address"}


assert accessors() - _HARMLESS == {*_LOADS, *_STORES}, "the fence does not know one"


class Regions:
    """Ranges of addresses."""

    def __init__(self, ranges):
        self._starts, self._ends = [], []
        for start, end in sorted(ranges):
            if self._ends and start <= self._ends[-1]:
                self._ends[-1] = max(self._ends[-1], end)
            else:
                self._starts.append(start)
                self._ends.append(end)

    def hold(self, address, size):
        """Return whether a range lies in one of them."""
        at = bisect_right(self._starts, address) - 1
        return at >= 0 and address + size <= self._ends[at]


class Fence:
    """The memory that a bench's router may touch. `with fence:` puts it up; `broken` is what has gone beyond."""

    def __init__(self, bench):
        self.bench, self.broken = bench, []
        self._on = False
        self._element = None  # what is allowed to the element that runs
        self._name = ""
        self._hands = []  # packets of the element that runs
        self._buffers = []  # of packets that the path has in hand
        self._path = Regions(self._own())
        self._elements = self._by_state()

    def _own(self):
        for name, segment in self.bench.builder.space.segments.items():
            kind = name.removeprefix(self.bench.directory.prefix)
            if not kind.startswith("pool") and "beside" not in kind:
                yield segment.base, segment.base + segment.size
        for where in self.bench.builder.routers["r"].program.elements:
            if where["shared"]:
                yield from _channel(where)

    def _by_state(self):
        """Return address of an element's state to what it may touch."""
        bench, found = self.bench, {}
        program = bench.builder.routers["r"].program
        core = [
            (bench.core, bench.core + CORE.size),
            (load64(bench.core + CORE["undo"]), load64(bench.core + CORE["undo"]) + UNDO.size * UNDO_ENTRIES),
            (load64(bench.core + CORE["spare"]), load64(bench.core + CORE["spare"]) + 8 * SPARES),
        ]
        # An element may ask how much waits on its task's way to the slow path.
        core += [(task, task + TASK.size) for task in program.tasks]
        core += [(ring.address, ring.address + RING.size) for aside in program.asides for ring in aside.values()]
        for node, where in zip(program.graph.nodes, program.elements, strict=True):
            state = where["state"]
            ranges = [*core, (state, state + node.cls.layout().size)]
            ranges += [(at, at + max(8, where["sizes"][name])) for name, at in where["areas"].items()]
            for ring in where["rings"].values():
                ranges += _ring(ring)
            if "devname" in node.values:
                port = bench.builder.ports[node.values["devname"]]
                ranges += [r for ring in port.tx.values() for r in _ring(ring)] if node.cls.driver != "rx" else []
            if where["shared"]:
                ranges += _channel(where)
            found[state] = (node.name, node.cls.__name__, Regions(ranges))
        return found

    def turn(self, quantum):
        """Let the bench take a turn inside the fence."""
        self._on = True
        try:
            return self.bench.turn(quantum)
        finally:
            self._on = False

    # What is asked at each access.

    def _allows(self, address, size):
        if self._element is None:
            return self._path.hold(address, size) or self._in_buffers(address, size)
        if self._element.hold(address, size):
            return True
        for packet in self._hands:
            owner = int(packet["owner"])
            if owner <= address and address + size <= owner + 4:
                return True
            end = max(int(packet["data"]) + int(packet["length"]), self._received(packet) + _FIRST_WORD)
            low = min(int(packet["floor"]), int(packet["data"]) - _WORD_BEFORE)
            if low <= address and address + size <= end:
                return True
        return False

    def _received(self, packet):
        """Return where a packet that has just come in begins, a low address else."""
        data = int(packet["data"])
        return data if data == int(packet["buffer"]) + packets.HEADROOM else data - _FIRST_WORD

    def _in_buffers(self, address, size):
        return any(start + GUARD <= address and address + size <= end for start, end in self._buffers)

    def _check(self, address, size, what):
        address, size = int(address), int(size)
        if size <= 0 or not self._on or self._allows(address, size):
            return True
        self.broken.append(f"{what} of {size} at {self._place(address)} by {self._name or 'the path'}")
        return False

    def _place(self, address):
        for packet in self._hands:
            if 0 <= address - int(packet["buffer"]) + 4096 < 8192:
                fields = {n: int(packet[n]) - int(packet["buffer"]) for n in ("floor", "data", "net")}
                return f"{address - int(packet['buffer'])} of a buffer with {fields}, length {int(packet['length'])}"
        for name, segment in self.bench.builder.space.segments.items():
            if segment.base <= address < segment.base + segment.size:
                return f"{name}+{address - segment.base}"
        return hex(address)

    # Wrappers.

    def _load(self, twin, size):
        return lambda address: twin(address) if self._check(address, size, twin.__name__) else 0

    def _store(self, twin, size):
        return lambda address, value: twin(address, value) if self._check(address, size, twin.__name__) else None

    def _copy(self, target, source, size):
        if self._check(source, size, "copy from") & self._check(target, size, "copy to"):
            intrinsics.copy(target, source, size)

    def _open(self, twin):
        """Note the buffer that a packet is opened in."""

        def opened(packet, *arguments):
            twin(packet, *arguments)
            self._buffers.append((int(packet["buffer"]), int(packet["buffer"]) + int(packet["room"])))
            self._hands.append(packet)

        return opened

    def _begin(self, twin):
        def begin(core):
            self._buffers.clear()
            self._hands.clear()
            twin(core)

        return begin

    def _process(self, twin):
        """Hold an element to its own."""
        names = list(inspect.signature(twin).parameters)

        def process(*arguments):
            given = dict(zip(names, arguments, strict=True))
            before = self._element, self._name, self._hands
            name, cls, self._element = self._elements[given["state"].__array_interface__["data"][0]]
            self._name, self._hands = f"{cls} {name}", [given["packet"]]
            try:
                if twin.__name__ == "process":
                    self._sound(given["packet"], "before")
                out = twin(*arguments)
                if twin.__name__ == "process" or out >= (twin.__name__ == "emit"):
                    self._sound(given["packet"], "after")
                return out
            finally:
                self._element, self._name, self._hands = before

        return process

    def _sound(self, packet, when):
        p = {name: int(packet[name]) for name in ("buffer", "room", "floor", "data", "length", "net")}
        end = p["data"] + p["length"]
        right = p["buffer"] + GUARD <= p["floor"] <= p["data"] <= end <= p["buffer"] + p["room"]
        header = p["net"] == 0 or p["floor"] <= p["net"] <= end - IP_SIZE
        if not right or not header:
            self.broken.append(f"{when} {self._name}: {p}")

    @contextmanager
    def up(self):
        """Put it up round what is done inside."""
        twins = {getattr(intrinsics, n): self._load(getattr(intrinsics, n), size) for n, size in _LOADS.items()}
        twins |= {getattr(intrinsics, n): self._store(getattr(intrinsics, n), size) for n, size in _STORES.items()}
        twins |= {intrinsics.copy: self._copy}
        twins |= {getattr(packets, n): self._open(getattr(packets, n)) for n in ("receive", "spare_packet")}
        twins |= {slow_path.begin: self._begin(slow_path.begin)}
        changed = []
        packages = {"shm"} | {cls.__module__.partition(".")[0] for cls in load().values()}
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] not in packages and not name.startswith("vre_path_"):
                continue
            if module in (intrinsics, sys.modules[__name__]):
                continue
            for name, value in list(vars(module).items()):
                fenced = twins.get(value) if isinstance(value, FunctionType) else None
                if fenced is None and module.__name__.startswith("vre_path_") and name[:2] in ("P_", "E_"):
                    fenced = self._process(value)
                if fenced:
                    changed.append((module, name, value))
                    setattr(module, name, fenced)
        shim = _Ctypes(self)
        changed.append((slow_packet, "ctypes", slow_packet.ctypes))
        slow_packet.ctypes = shim
        try:
            yield self
        finally:
            for module, name, value in changed:
                setattr(module, name, value)


class _Ctypes:
    """What the slow path copies with."""

    def __init__(self, fence):
        from ctypes import memmove, string_at

        self._fence, self._string_at, self._memmove = fence, string_at, memmove
        bench, rooms = fence.bench, (packets.SMALL_STRIDE, packets.LARGE_STRIDE)
        self._buffers = Regions(
            (bench.base + 64 * int(at) + GUARD, bench.base + 64 * int(at) + room)
            for references, room in zip(bench.buffers(), rooms, strict=True)
            for at in references
        )

    def _in_slot(self, address, size):
        """Return whether a range is in a buffer of the router's own rings: it is in no path's hands here."""
        fence = self._fence
        if fence._path.hold(address, size) or self._buffers.hold(address, size):
            return True
        fence.broken.append(f"slow path: {size} at {fence._place(address)}")
        return False

    def string_at(self, address, size):
        """Return bytes."""
        return self._string_at(address, size) if self._in_slot(address, size) else bytes(size)

    def memmove(self, target, source, size):
        """Copy bytes."""
        if self._in_slot(target, size):
            self._memmove(target, source, size)


def _ring(ring):
    yield ring.address, ring.address + RING.size
    yield ring.slots, ring.slots + ring.count * SLOT.size
    if ring.notes:
        yield ring.notes, ring.notes + ring.count * NOTE.size
    if ring.tags:
        yield ring.tags, ring.tags + 2 * ring.count


def _channel(where):
    down, up = where["shared"]
    yield down, down + DOWN_BYTES
    yield up, up + UP_BYTES
