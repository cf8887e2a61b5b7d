# SPDX-License-Identifier: MIT
"""From a router's graph to compiled paths: `compose` writes a small module for each graph *shape*.

A shape is the classes and the wiring, not the parameters: those are in the state block, so identical
routers share compiled code. A function is a *trace*: it runs the `process` of one element after the other along
the main way through the graph, and calls what branches off. Each task becomes one entry point that takes a batch
through its trace.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from workers.compiler.steps import Step, Value, step
from workers.datapath.turn import DRAIN, DROPS, PORT_BITS
from workers.graph.shape import Shape, channels, offsets, reach, upstream
from workers.graph.traces import Traces

#: What every module begins with.
_IMPORTS = """\
from shm.channel import commit_channel, give_gifts, keep_returns, returned, take
from shm.layout import CORE, RING, SLOT, TASK
from shm.intrinsics import load64, record, stack_record, unlikely
from shm.ring import available, is_empty, pop, pop_to, publish, release, room, slot_at
from workers.compiler.guard import guarded
from workers.datapath.packet import CLONE, PACKET, PUNT, TAKEN, clone, read_note, receive, spare_done, transfer
from workers.datapath.turn import (
    AHEAD, RESUME, ask_frames, ask_slots, begin, commit, drop, finish, least, log_is_full, look, made, pending, punt,
    requeue,
)
"""


class Composer:
    """Decides which steps the functions of a shape's module have."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.traces = Traces(shape)
        self.classes, self.next, self.bypasses = self.traces.classes, self.traces.next, self.traces.bypasses
        self.places, _ = offsets(shape.classes)
        # What takes packets out of a queue for a port has asked the port for room.
        self.granted = {upstream(shape, port)[1][0]: port for port in self.bypasses.values()}

    def source(self) -> str:
        """Return the module's text."""
        lines = [*self._head(), *(line for one in self.steps() for line in one.lines())]
        return "\n".join(lines) + "\n"

    def steps(self) -> Iterator[Step]:
        """Yield the steps of all functions; one that others call comes before them."""
        for first in self.traces.order:
            yield from self.function(first, f"e{first}")
        resumed = {t for n in range(len(self.shape.tasks)) for e in reach(self.shape, n) for t, _ in self._resumed(e)}
        for first in sorted(resumed - self.traces.heads):
            # The slow path comes back into the middle of a trace: its rest once more, so that the trace
            # stays one function.
            yield from self.function(first, f"r{first}")
        for number in range(len(self.shape.tasks)):
            yield from self.task(number)

    def _head(self) -> Iterator[str]:
        """Yield what is in front of the functions."""
        yield f'"""Paths of shape {self.shape.key()}: {" ".join(c.__name__ for c in self.classes[:12])}."""'
        yield _IMPORTS
        used = sorted(set(self.classes), key=lambda c: c.__name__)
        yield from (f"from {c.__module__} import {c.__name__}" for c in used)
        entries = [e for kind, driver in self.shape.tasks for e in self.traces.entries(kind, driver)]
        yield f"\nENTRIES = {[f'e{e}' for e in entries]}"
        yield "RECORD = PACKET.dtype"
        for c in used:
            name = c.__name__
            yield f"S_{name} = {name}.layout().dtype"
            # What is compiled of others' elements is bounded, see workers.compiler.guard.
            if c.process:
                yield f"P_{name} = guarded({name})" if c.foreign else f"P_{name} = {name}.process"
            if c.emit:
                yield f"E_{name} = guarded({name}, 'emit')" if c.foreign else f"E_{name} = {name}.emit"
            if c.collect:
                yield f"E_{name} = {name}.collect"

    def function(self, head: int, name: str) -> Iterator[Step]:
        """Yield the steps of the trace that begins with an element."""
        yield step("function", name=name)
        before, granted = None, self.granted.get(head)
        for k in self.traces.along(head):
            port = self.next[before, self.traces.onward[before]][1] if before is not None else 0
            if port:
                yield step("enter", port=port)
            yield from self.element(k, granted == k)
            if self.classes[k].copies() or self.classes[k].slow is not None:
                granted = None  # more packets may come to the port than were counted
            before = k

    def element(self, k: int, granted: bool) -> Iterator[Step]:
        """Yield the steps of one element of a trace: whatever does not go along the trace ends in a return."""
        cls, place = self.classes[k], self.places[k]
        name = cls.__name__
        yield step("element", name=name)
        if cls.process is None:
            assert cls.slow
            yield step("punt_all", **self._punted(k))
            return
        yield step("state", name=name, place=place)
        onward = self.traces.onward.get(k)
        joins = onward is not None and self.next[k, onward][0] in self.traces.heads
        if k in self.bypasses:
            sink = self._field(self.bypasses[k], "ring")
            yield step("bypass", name=name, given=self._given(k, "aside", granted), place=place, sink=sink)
            if joins:
                yield step("call", go=self._go(k, 0, "packet"))
            return
        if "now" in inspect.signature(cls.process).parameters:
            yield step("clock")
        yield step("run", name=name, given=self._given(k, "packet", granted))
        yield from self._copies(k)
        if cls.takes:
            yield step("taken")
        if cls.slow is not None:
            yield step("punt", **self._punted(k))
        yield from self._branches(k, onward)
        if cls.reasons:
            yield step("drop", place=place, unless="TAKEN" if onward is None else onward)
        if joins and onward is not None:
            yield step("join", go=self._go(k, onward, "aside"))

    def _given(self, k: int, packet: str, granted: bool) -> str:
        """Return what an element's `process` is called with."""
        said = {"packet": packet, "granted": repr(granted)}
        process = self.classes[k].process
        assert process
        return ", ".join(said.get(name, name) for name in inspect.signature(process).parameters)

    def _punted(self, k: int) -> dict[str, Value]:
        """Return how an element's packets are told on the slow path, and where those that find no room are counted."""
        return {"entry": k << PORT_BITS, "counter": self._slow_counter(k)}

    def _slow_counter(self, k: int) -> int:
        return self.places[k] + DROPS + 8 * len(self.classes[k].reasons)

    def _field(self, k: int, name: str) -> int:
        """Return where a field of an element's state is in the block."""
        return self.places[k] + self.classes[k].layout()[name]

    def _outputs(self, k: int) -> list[int]:
        """Return the outputs that packets are called along.

        What is in a queue goes on in another task's turn: a call from here would be one that is never made, and where a
        circle leads through the queue, one of a function that calls this one.
        """
        return [] if self.traces.ends(k) else sorted(o for e, o in self.next if e == k)

    def _copies(self, k: int) -> Iterator[Step]:
        cls, place = self.classes[k], self.places[k]
        for output in self._outputs(k)[1:] if cls.copies() else ():
            if cls.spreads:
                yield step("spread", place=place, go=self._go(k, output, "twin"))
            else:
                yield step("clone", place=place, output=output, go=self._go(k, output, "twin"))

    def _branches(self, k: int, onward: int | None) -> Iterator[Step]:
        cls = self.classes[k]
        for output in self._outputs(k)[: 1 if cls.copies() else None]:
            bad = cls.bad_port and output == cls.bad_port
            if output != onward or bad:
                yield step("branch", when="< 0" if bad else f"== {output}", go=self._go(k, output, "aside"))

    def _go(self, k: int, output: int, packet: str) -> str:
        """Return the statement that sends what is called `packet` along an output."""
        target = self.next.get((k, output))
        if target is None:
            return f"drop(core, block + {self.places[k]}, -1)" if self.classes[k].reasons else "return"
        if (k, output) in self.traces.cut:
            return f"requeue(core, {packet}, {target[0] << PORT_BITS | target[1]}, block + {self._slow_counter(k)})"
        return f"e{target[0]}(block, core, {packet}, {target[1]})"

    def task(self, number: int) -> Iterator[Step]:
        """Yield the steps of a task's entry point."""
        kind, k = self.shape.tasks[number]
        reached = reach(self.shape, number)
        resumes = sorted({target for e in reached for target in self._resumed(e)})
        asides = any(self.classes[e].slow is not None for e in reached) or bool(resumes)
        yield step("task", number=number, driver=kind, name=self.classes[k].__name__)
        yield step("asides" if asides else "no_asides")
        yield from self._asked(kind, k)
        yield step("begin")
        if resumes:
            ways = [line for n, target in enumerate(resumes) for line in self._way_back(n, *target)]
            yield step("resume", ways=tuple(ways))
        yield self._work(kind, k)
        yield step("finish", publish=tuple(self._published(number, asides)))

    def _resumed(self, k: int) -> Iterator[tuple[int, int]]:
        """Yield the (element, input) that packets come back to: behind slow elements and cut edges."""
        for (element, output), target in self.next.items():
            if element == k and (self.classes[k].slow is not None or (k, output) in self.traces.cut):
                yield target

    def _way_back(self, n: int, element: int, port: int) -> Iterator[str]:
        """Yield the lines that take a packet back to an input; the n-th of them."""
        yield f"{'el' if n else ''}if entry == {element << PORT_BITS | port}:"
        yield "    aside = stack_record(RECORD)"
        yield "    transfer(packet, aside)"
        yield f"    {'e' if element in self.traces.heads else 'r'}{element}(block, core, aside, {port})"

    def _asked(self, kind: str, k: int) -> Iterator[Step]:
        """Yield the steps that find out how many packets there are for a turn."""
        if kind == "domu":
            yield step("returns", channel=self._field(k, "channel"))
        elif kind == "source":
            yield step("quantum")
        elif kind == "rx":
            yield step("ring", ring=self._field(k, "ring"), most="quantum")
        else:
            queue, _ = upstream(self.shape, k)
            most = f"{DRAIN} * quantum" if queue in self.bypasses else "quantum"
            yield step("ring", ring=self._field(queue, "ring"), most=most)
            if self.classes[k].sends():
                yield step("room", ring=self._field(k, "ring"))
            if self.classes[k].bursts:
                yield step("burst", burst=self._field(k, "burst"))

    def _work(self, kind: str, k: int) -> Step:
        """Return the step that takes a turn's packets through the task's trace."""
        if kind == "domu":
            return self._collect(k)
        if kind == "source":
            return self._emit(k)
        target, port = upstream(self.shape, k)[1] if kind == "pull" else (k, 0)
        noted = ("read_note(ring, at, packet)",) if kind == "pull" else ()
        return step("batch", entry=(*noted, f"e{target}(block, core, packet, {port})"))

    def _emit(self, k: int) -> Step:
        cls, place = self.classes[k], self.places[k]
        # Others' may have failed; then there is no packet, but one that they made and that is dropped.
        lines = ("if out < 0:", f"    drop(core, block + {place}, out)", "    i += 1", "    continue")
        failed = lines if cls.foreign else ()
        return step("emit", name=cls.__name__, place=place, failed=failed, go=f"e{k}(block, core, packet, 0)")

    def _collect(self, k: int) -> Step:
        cls, place = self.classes[k], self.places[k]
        outputs = sorted(o for e, o in self.next if e == k)
        ways = [line for o in outputs for line in (f"if out == {o}:", f"    {self._go(k, o, 'packet')}")]
        unknown = " and ".join(f"out != {o}" for o in outputs) or "out >= 0"
        code = -1 - cls.reasons.index("bad_return")
        return step("collect", name=cls.__name__, place=place, ways=tuple(ways), unknown=unknown, code=code)

    def _published(self, number: int, asides: bool) -> Iterator[str]:
        """Yield what a turn publishes, in the order of the step `finish`."""
        for e in channels(self.shape, number):
            yield f"commit_channel(load64(block + {self._field(e, 'channel')}))"
        for e in sorted(reach(self.shape, number)):
            if self.classes[e].is_queue or self.classes[e].sends():
                yield f"publish(load64(block + {self._field(e, 'ring')}))"
        if asides:
            yield from ("publish(punts)", "publish(inject)", "release(inject)")
        if self.shape.tasks[number][0] in ("rx", "pull"):
            yield "release(ring)"


def compose(shape: Shape) -> str:
    """Return the source of the module for a shape."""
    return Composer(shape).source()
