# SPDX-License-Identifier: MIT
"""A domU: the sandboxed process that runs one router's untrusted elements.

Everything here runs inside the jail (:mod:`workers.jail`), in the hands of whoever wrote the elements. Nothing is
believed that this process says.
"""

from __future__ import annotations

import ctypes
import importlib.util
import inspect
import json
import os
import select
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shm.channel import DOWN_BYTES, DROPPED, FAILED, SLOT_BYTES, SLOT_START, SLOTS, UP_BYTES
from shm.memfd import map_at
from workers.arguments import split
from workers.crossing import Crossing, give_returns, take_requests, wait_for_requests
from workers.element import Element

#: An idle domU looks so often before it naps, and naps from this long up to that long.
_ROUNDS, _NAP_S, _LONGEST_NAP_S = 2000, 20e-6, 1e-3
#: Tracebacks that a domU writes in a second.
_TRACEBACKS = 5


class Packet:
    """A packet in the hands of an element's `push`.

    Slices read and write the frame in place: `packet[12:14]`. Without a word it goes to output 0.

    Attributes
    ----------
    input : int
        Input of the element that it came by.
    net : int or None
        Where its IP header begins, where dom0 has marked one.
    paint, type, vlan, device : int
        Its annotations (Click).
    """

    __slots__ = ("_begin", "_end", "_memory", "_output", "_row", "_stage", "input", "marks")

    def __init__(self, memory: memoryview, begin: int, end: int, port: int, marks: int, row: int, stage: Any) -> None:
        self._memory, self._begin, self._end = memory, begin, end
        self._output, self._row, self._stage = 0, row, stage
        self.input, self.marks = port, marks

    def __len__(self) -> int:
        return self._end - self._begin

    @property
    def data(self) -> memoryview:
        """The frame's bytes, as they are in the slot."""
        return self._memory[self._begin : self._end]

    def __getitem__(self, key: Any) -> Any:
        return self.data[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self.data[key] = value

    @property
    def net(self) -> int | None:
        """Where its IP header begins, None where no element has marked one."""
        return ((self.marks & 0xFFFF) or None) and (self.marks & 0xFFFF) - 1

    @property
    def paint(self) -> int:
        """The paint annotation."""
        return self.marks >> 16 & 0xFF

    @property
    def type(self) -> int:
        """The packet type annotation: host, broadcast, multicast, other host."""
        return self.marks >> 24 & 0xFF

    @property
    def vlan(self) -> int:
        """The VLAN tag annotation."""
        return self.marks >> 32 & 0xFFFF

    @property
    def device(self) -> int:
        """The number of the port that it came in by."""
        return self.marks >> 48 & 0xFFFF

    def strip(self, size: int) -> None:
        """Remove `size` bytes at the front."""
        self._begin += min(size, len(self) - 1)

    def prepend(self, data: bytes) -> None:
        """Put bytes in front; ValueError where there is no room."""
        if self._begin % SLOT_BYTES < len(data):
            raise ValueError(f"no room for {len(data)} bytes in front of the packet")
        self._begin -= len(data)
        self._memory[self._begin : self._begin + len(data)] = data

    def resize(self, size: int) -> None:
        """Cut off or add bytes at the end; ValueError where there is no room."""
        if size < 1 or self._begin % SLOT_BYTES + size > SLOT_BYTES:
            raise ValueError(f"a packet cannot have {size} bytes")
        self._end = self._begin + size

    def drop(self) -> None:
        """Drop it."""
        self._output = DROPPED

    def emit(self, port: int, data: bytes | None = None) -> bool:
        """Send another packet, a copy of this one or `data`, to an output; False where the domU has no slot for it."""
        return self._stage.emit(port, bytes(self.data) if data is None else data)


class Packets:
    """Up to 256 packets in the hands of an element's `batch`.

    Attributes
    ----------
    data : ndarray of uint8, shape (packets, longest)
        The frames; what is written here is in the packets afterwards.
    length : ndarray of int64
        Bytes of each; may be changed up to `longest`.
    input, output : ndarray of int64
        Where each came in, and where it is to go: 0 until it is changed.
    marks : ndarray of int64
        Annotations, as in :class:`Packet`.
    """

    def __init__(self, data: Any, length: Any, port: Any, marks: Any) -> None:
        self.data, self.length, self.input, self.marks = data, length, port, marks
        self.output = np.zeros(len(length), dtype=np.int64)

    def __len__(self) -> int:
        return len(self.length)

    def drop(self, which: Any) -> None:
        """Drop the packets that a mask or a list of indices names."""
        self.output[which] = DROPPED


class Stage:
    """One untrusted element in its domU. Subclasses run batches of packets through it.

    `exits` maps each output to an output of the cluster, or to None where another element of the domU follows, which
    `inner` then names with its input.
    """

    def __init__(self, element: Any, crossing: Crossing, wiring: dict[str, Any]) -> None:
        self.element, self.crossing = element, crossing
        self.exits: dict[int, int] = {int(k): v for k, v in wiring["exits"].items()}
        self.inner: dict[int, list[int]] = {int(k): v for k, v in wiring["inner"].items()}
        self.lookup = np.full(256, DROPPED, dtype=np.int64)
        self.lookup[FAILED] = FAILED
        for output, exit_ in self.exits.items():
            self.lookup[output] = exit_
        self._emitted: list[tuple[int, int]] = []

    def run(self, rows: Any) -> None:
        """Handle the packets in `rows` of the crossing's table; their outputs are in its column 3 afterwards."""
        raise NotImplementedError

    def emit(self, port: int, data: bytes) -> bool:
        """Make a packet that leaves by output `port`."""
        if not 1 <= len(data) <= SLOT_BYTES - SLOT_START:
            raise ValueError(f"a packet cannot have {len(data)} bytes")
        row = self.crossing.make(data)
        if row >= 0:
            self._emitted.append((row, port))
        return row >= 0

    def take_emitted(self) -> list[tuple[int, int]]:
        """Return (row, output) of the packets made since the last call."""
        found, self._emitted = self._emitted, []
        return found


class PacketStage(Stage):
    """An element with `push`."""

    def run(self, rows: Any) -> None:
        """Handle packet by packet."""
        table, memory, push = self.crossing.table, self.crossing.memory, self.element.push
        outputs = []
        for row, (word, length, start, port, marks) in zip(rows.tolist(), table[rows].tolist(), strict=True):
            begin = (word & 0xFFFF) * SLOT_BYTES + start
            packet = Packet(memory, begin, begin + length, port, marks, row, self)
            try:
                said = push(packet)
            except Exception:
                report()
                outputs.append((length, start, FAILED))
                continue
            output = packet._output if said is None or packet._output else said
            outputs.append((packet._end - packet._begin, start + packet._begin - begin, output & 0xFF))
        table[rows, 1:4] = outputs


class BatchStage(Stage):
    """An element with `batch`."""

    def run(self, rows: Any) -> None:
        """Handle all at once."""
        table, frames = self.crossing.table, self.crossing.frames
        slots, lengths, starts = table[rows, 0] & 0xFFFF, table[rows, 1], table[rows, 2]
        # Packets that something has been stripped from begin elsewhere than the others.
        columns = starts[:, None] + np.arange(max(lengths.max(), 64))
        columns = np.minimum(columns, SLOT_BYTES - 1)
        packets = Packets(frames[slots[:, None], columns], lengths.copy(), table[rows, 3].copy(), table[rows, 4])
        try:
            self.element.batch(packets)
        except Exception:
            report()
            table[rows, 3] = FAILED
            return
        frames[slots[:, None], columns] = packets.data
        table[rows, 1], table[rows, 3] = packets.length, packets.output


class CompiledStage(Stage):
    """An element with `process`, compiled in here."""

    def __init__(self, element: Any, crossing: Crossing, wiring: dict[str, Any], state: Any) -> None:
        super().__init__(element, crossing, wiring)
        self._state = state
        self._run = compile_process(element)
        # Compiled now, and not when the first packet waits.
        self.run(np.arange(0))

    def run(self, rows: Any) -> None:
        """Handle them in machine code."""
        self._run(self._state.ctypes.data, self.crossing.data, self.crossing.table, rows)


def compile_process(cls: type[Element]) -> Callable[..., None]:
    """Return `run(state's address, slots' address, table, rows)` that takes packets through a class's `process`."""
    import numba

    from shm.compiled import register_kernels
    from shm.memory import record, stack_record
    from workers.packet import PACKET, unannotated

    register_kernels()
    process = cls.process
    assert process
    wanted = list(inspect.signature(process).parameters)
    strange = [name for name in wanted if name not in ("state", "packet", "port")]
    if strange:
        raise TypeError(f"{cls.__name__}.process takes state, packet and port; not {', '.join(strange)}")
    handle, arguments = numba.njit(error_model="numpy")(process), ", ".join(wanted)
    names: dict[str, Any] = {
        "handle": handle,
        "record": record,
        "stack_record": stack_record,
        "unannotated": unannotated,
    }
    names |= {"S": cls.layout().dtype, "R": PACKET.dtype, "SLOT_BYTES": SLOT_BYTES, "DROPPED": DROPPED}
    exec(_RUN.replace("ARGUMENTS", arguments), names)
    return numba.njit(error_model="numpy")(names["run"])


_RUN = """
def run(state_at, data, table, rows):
    state, packet = record(state_at, S), stack_record(R)
    for i in range(len(rows)):
        row = table[rows[i]]
        buffer = data + (row[0] & 0xFFFF) * SLOT_BYTES
        packet["owner"] = 0
        packet["buffer"] = buffer
        packet["room"] = SLOT_BYTES
        packet["data"] = buffer + row[2]
        packet["length"] = row[1]
        unannotated(packet, 0)
        if row[4] & 0xFFFF:
            packet["net"] = packet["data"] + (row[4] & 0xFFFF) - 1
        packet["paint"] = row[4] >> 16 & 0xFF
        port = row[3]
        out = handle(ARGUMENTS)
        row[1] = packet["length"]
        row[2] = packet["data"] - buffer
        row[3] = out if 0 <= out < 16 else DROPPED
"""


class Guest:
    """All of a router's untrusted elements behind one channel, and how they are wired.

    `cluster` has `elements`, each with `file`, `class`, `arguments`, `exits` and `inner`; and `entries`, the element
    and its input for each input of the cluster.
    """

    def __init__(self, cluster: dict[str, Any], crossing: Crossing, control: Control) -> None:
        self.crossing = crossing
        self.entries = [tuple(entry) for entry in cluster["entries"]]
        self.stages = [make_stage(element, crossing, control) for element in cluster["elements"]]
        self._single = len(self.stages) == 1 and self.entries == [(0, 0)]

    def serve(self) -> bool:
        """Handle a batch; return whether there was one."""
        count = self.crossing.take()
        if count == 0:
            return False
        table, rows = self.crossing.table, np.arange(count)
        if self._single:
            self._through(0, rows, {})
        else:
            self._enter(table, rows)
        self.crossing.give()
        return True

    def _enter(self, table: Any, rows: Any) -> None:
        waiting: dict[int, list[Any]] = {}
        for i, (element, port) in enumerate(self.entries):
            mine = rows[table[rows, 3] == i]
            table[mine, 3] = port
            if len(mine):
                waiting.setdefault(element, []).append(mine)
        while waiting:
            element = min(waiting)
            self._through(element, np.concatenate(waiting.pop(element)), waiting)

    def _through(self, number: int, rows: Any, waiting: dict[int, list[Any]]) -> None:
        stage, table = self.stages[number], self.crossing.table
        stage.run(rows)
        made = stage.take_emitted()
        if made:
            rows = np.concatenate([rows, [row for row, _ in made]])
            for row, output in made:
                table[row, 3] = output
        outputs = table[rows, 3]
        for output, (following, port) in stage.inner.items():
            mine = rows[outputs == output]
            if len(mine):
                table[mine, 3] = port
                waiting.setdefault(following, []).append(mine)
        if stage.inner:
            here = ~np.isin(outputs, list(stage.inner))
            rows, outputs = rows[here], outputs[here]
        table[rows, 3] = stage.lookup[outputs & 0xFF]


class Control:
    """The domU's end of the control channel: one message of JSON at a time, at most 4 KiB."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._poll = select.poll()
        self._poll.register(connection.fileno(), select.POLLIN)

    def tell(self, **message: Any) -> None:
        """Send a message."""
        os.write(self.connection.fileno(), json.dumps(message).encode()[:4096])

    def ask(self, **message: Any) -> dict[str, Any]:
        """Send a request to the platform; return its answer, or raise ValueError with what is wrong."""
        self.tell(**message)
        answer = json.loads(os.read(self.connection.fileno(), 4096) or b"{}")
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer

    def closed(self) -> bool:
        """Return whether the platform has gone."""
        return any(event & (select.POLLHUP | select.POLLERR) for _, event in self._poll.poll(0))


def make_stage(element: dict[str, Any], crossing: Crossing, control: Control) -> Stage:
    """Import an element's file and build the element. Raises whatever the file does."""
    cls = load_class(Path(element["file"]), element["class"])
    arguments = element["arguments"]
    made: Any
    if inspect.isclass(cls) and issubclass(cls, Element):
        values, errors = cls.bind(arguments)
        if errors:
            raise ValueError("; ".join(str(error) for error in errors))
        if cls.process:
            state = np.zeros(1, dtype=cls.layout().dtype)
            if cls.needs(values).rings:
                raise TypeError(f"{cls.__name__} keeps packets, which a compiled element in a domU cannot")
            for name, size in cls.needs(values).areas.items():
                area = np.zeros(size + 8, dtype=np.uint8)
                state[0][name] = area.ctypes.data
                _AREAS.append(area)
            cls.configure(state[0], values)
            return CompiledStage(cls, crossing, element, state)
        made = cls()
        for name, value in values.items():
            setattr(made, name, value)
        if hasattr(made, "set_up_domu"):
            made.set_up_domu()
    else:
        made = cls(*[text for text, _ in split(arguments)])
    made.control = control
    for name, stage in (("batch", BatchStage), ("push", PacketStage)):
        if hasattr(made, name):
            return stage(made, crossing, element)
    raise TypeError(f"{cls.__name__} has none of process, push and batch")


_AREAS: list[Any] = []
_MODULES: dict[Path, Any] = {}


def load_class(path: Path, name: str) -> Any:
    """Return a class of an element's file."""
    if path not in _MODULES:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)
        _MODULES[path] = module
    if not hasattr(_MODULES[path], name):
        raise AttributeError(f"{path.name} has no class {name}")
    return getattr(_MODULES[path], name)


_last: list[float] = []


def report() -> None:
    """Write the traceback of an element's exception to the log, a few times a second at most."""
    now = time.monotonic()
    while _last and now - _last[0] > 1:
        _last.pop(0)
    if len(_last) < _TRACEBACKS:
        _last.append(now)
        traceback.print_exc()


def compile_crossing() -> dict[str, Any]:
    """Return the compiled functions of :mod:`workers.crossing`; done once, outside the jail."""
    from workers import compiler  # sets up the cache
    from workers.compiler import numba

    int64, table = numba.int64, numba.int64[:, ::1]
    row = numba.int64[::1]
    signatures = {
        "take": (take_requests, int64(int64, int64, table, row, row)),
        "give": (give_returns, numba.void(int64, int64, table, int64)),
        "wait": (wait_for_requests, int64(int64, int64, int64)),
    }
    compiler.compiled.register_kernels()
    return {
        name: numba.njit(signature, cache=True, error_model="numpy")(function)
        for name, (function, signature) in signatures.items()
    }


def run(connection: socket.socket, descriptors: Sequence[int], spec: dict[str, Any], kernels: dict[str, Any]) -> int:
    """Load the router's elements and serve its channels until the platform closes the control channel.

    Parameters
    ----------
    connection : socket
        Control channel.
    descriptors : sequence of int
        Memory of the channels: down and up of the first, of the second, ...
    spec : dict
        `clusters`, one for each channel, see :class:`Guest`.
    kernels : dict
        From :func:`compile_crossing`.

    Returns
    -------
    int
        Exit status.
    """
    ctypes.CDLL(None).prctl(29, 1000, 0, 0, 0)  # timers may be 1 us late, not 50
    control = Control(connection)
    guests = []
    for i, cluster in enumerate(spec["clusters"]):
        down = map_at(0, descriptors[2 * i], DOWN_BYTES, writable=False)
        up = map_at(0, descriptors[2 * i + 1], UP_BYTES)
        guests.append(Guest(cluster, Crossing(down, up, kernels), control))
    control.tell(ready=True)
    nap = _NAP_S
    while True:
        busy = False
        for guest in guests:
            busy |= guest.serve()
        if busy:
            nap = _NAP_S
        elif not guests or not guests[0].crossing.wait(_ROUNDS):
            if control.closed():
                return 0
            time.sleep(nap)
            nap = min(2 * nap, _LONGEST_NAP_S)


assert SLOTS <= 1 << 16
