# SPDX-License-Identifier: MIT
"""Untrusted elements at work in their domU: a stage each, which takes batches of packets through it."""

from __future__ import annotations

import importlib.util
import inspect
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from shm.channel import DROPPED, FAILED, SLOT_BYTES, SLOT_START
from workers.arguments import split
from workers.domu.frontend import Frontend
from workers.domu.packets import Packet, Packets
from workers.domu.sources import spec_for
from workers.domu.spec import ElementSpec
from workers.element import Element

#: Tracebacks that a domU writes in a second.
_TRACEBACKS = 5


class Stage:
    """One untrusted element in its domU. Subclasses run batches of packets through it.

    `inner` is that of its :class:`workers.domu.spec.ElementSpec`; `lookup` maps other outputs to the cluster's.
    """

    def __init__(self, element: Any, crossing: Frontend, spec: ElementSpec) -> None:
        self.element, self.crossing, self.inner = element, crossing, spec.inner
        self.lookup = np.full(256, DROPPED, dtype=np.int64)
        self.lookup[FAILED] = FAILED
        for output, exit_ in spec.exits.items():
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

    def __init__(self, element: Any, crossing: Frontend, spec: ElementSpec, state: Any) -> None:
        super().__init__(element, crossing, spec)
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

    from shm.codegen import register_kernels
    from shm.intrinsics import record, stack_record
    from workers.datapath.packet import PACKET, unannotated

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
    names |= {
        "S": cls.layout().dtype,
        "R": PACKET.dtype,
        "SLOT_BYTES": SLOT_BYTES,
        "SLOT_START": SLOT_START,
        "DROPPED": DROPPED,
    }
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
        # What was stripped in here may be put back.
        packet["floor"] = buffer + min(row[2], SLOT_START)
        packet["length"] = row[1]
        unannotated(packet, 0)
        net = buffer + SLOT_START + (row[4] & 0xFFFF) - 1
        if row[4] & 0xFFFF and packet["floor"] <= net and net + 20 <= packet["data"] + packet["length"]:
            packet["net"] = net
        packet["paint"] = row[4] >> 16 & 0xFF
        port = row[3]
        out = handle(ARGUMENTS)
        row[1] = packet["length"]
        row[2] = packet["data"] - buffer
        row[3] = out if 0 <= out < 16 else DROPPED
"""


def make_stage(spec: ElementSpec, source: str, crossing: Frontend, control: Any) -> Stage:
    """Import an element's file, `source`, and build the element. Raises whatever the file does."""
    cls = load_class(Path(source), spec.class_name)
    arguments = spec.arguments
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
            return CompiledStage(cls, crossing, spec, state)
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
            return stage(made, crossing, spec)
    raise TypeError(f"{cls.__name__} has none of process, push and batch")


_AREAS: list[Any] = []
_MODULES: dict[Path, Any] = {}


def load_class(path: Path, name: str) -> Any:
    """Return a class of an element's file."""
    if path not in _MODULES:
        spec = spec_for(path)
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
