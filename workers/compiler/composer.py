# SPDX-License-Identifier: MIT
"""From a router's graph to compiled paths: `compose` writes a small module for each graph *shape*.

A shape is the classes and the wiring, not the parameters: those are in the state block, so identical
routers share compiled code. A function is a *trunk*: it runs the `process` of one element after the other along
the main way through the graph, and calls what branches off. Each task becomes one entry point that takes a batch
through its trunk.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field

from workers.datapath.packet import TAKEN
from workers.datapath.turn import DRAIN, PORT_BITS
from workers.graph.shape import Shape, channels, offsets, reach, upstream
from workers.graph.traces import Traces

#: What every module begins with.
_IMPORTS = """\
from shm.channel import commit_channel, give_gifts, keep_returns, returned, take
from shm.layout import CORE, RING, SLOT, TASK
from shm.intrinsics import load64, record, stack_record, unlikely
from shm.ring import available, commit_head, commit_tail, is_empty, room, slot_at
from workers.compiler.guard import guarded
from workers.datapath.packet import CLONE, PACKET, PUNT, TAKEN, clone, read_note, receive, spare_done, transfer
from workers.datapath.turn import (
    AHEAD, RESUME, ask_frames, ask_slots, begin, claim, commit, drop, finish, keep, least, log_is_full, look, made,
    pending, punt, requeue,
)
"""

#: How a task goes through what it makes or gets back, with a look at the clock from time to time.
_LOOKING = """\
    i, stop = 0, 0
    while i < count:
        stop = look(core, task, i, count)
        if stop == i:
            break
        while i < stop:"""


@dataclass
class Composer:
    """Writes the module of one shape."""

    shape: Shape
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.trunks = Traces(self.shape)
        self.classes, self.next, self.bypasses = self.trunks.classes, self.trunks.next, self.trunks.bypasses
        self.places, _ = offsets(self.shape.classes)
        # Who takes packets out of a queue for a port has asked the port for room.
        self.granted = {upstream(self.shape, port)[1][0]: port for port in self.bypasses.values()}

    def source(self) -> str:
        """Return the module's text."""
        used = sorted(set(self.classes), key=lambda c: c.__name__)
        head = [
            f'"""Paths of shape {self.shape.key()}: {" ".join(c.__name__ for c in self.classes[:12])}."""',
            _IMPORTS,
        ]
        head += [f"from {c.__module__} import {c.__name__}" for c in used]
        entries = [e for kind, driver in self.shape.tasks for e in self.trunks.entries(kind, driver)]
        head.append(f"\nENTRIES = {[f'e{e}' for e in entries]}")
        head.append("RECORD = PACKET.dtype")
        for c in used:
            head.append(f"S_{c.__name__} = {c.__name__}.layout().dtype")
            if c.process and c.foreign:
                # What is compiled of it is bounded, see there.
                head.append(f"P_{c.__name__} = guarded({c.__name__})")
            elif c.process:
                head.append(f"P_{c.__name__} = {c.__name__}.process")
            if c.emit and c.foreign:
                head.append(f"E_{c.__name__} = guarded({c.__name__}, 'emit')")
            elif c.emit:
                head.append(f"E_{c.__name__} = {c.__name__}.emit")
            if c.collect:
                head.append(f"E_{c.__name__} = {c.__name__}.collect")
        for first in self.trunks.order:
            self._function(first, f"e{first}")
        resumed = {t for n in range(len(self.shape.tasks)) for e in reach(self.shape, n) for t, _ in self._resumed(e)}
        for first in sorted(resumed - self.trunks.heads):
            # The slow path comes back into the middle of a trunk: its rest once more, so that the trunk
            # stays one function.
            self._function(first, f"r{first}")
        for number, (kind, element) in enumerate(self.shape.tasks):
            self._task(number, kind, element)
        return "\n".join(head + self.lines) + "\n"

    def _function(self, head: int, name: str) -> None:
        self.lines.append(f"\n\ndef {name}(block, core, packet, port):")
        before, granted = None, self.granted.get(head)
        for k in self.trunks.along(head):
            if before is not None and self.next[before, self.trunks.trunk[before]][1]:
                self.lines.append(f"    port = {self.next[before, self.trunks.trunk[before]][1]}")
            self._element(k, granted == k)
            if self.classes[k].copies() or self.classes[k].slow is not None:
                granted = None  # more packets may come to the port than were counted
            before = k

    def _element(self, k: int, granted: bool) -> None:
        """Write one element of a trunk: whatever does not go along the trunk ends in a return."""
        cls, place = self.classes[k], self.places[k]
        w = self.lines.append
        slow_counter = f"block + {place + 8 + 8 * len(cls.reasons)}"
        w(f"    # {cls.__name__}")
        if cls.process is None and cls.slow is not None:
            w(f"    punt(core, packet, {k << PORT_BITS} + port, {slow_counter})")
            return
        w(f"    state = record(block + {place}, S_{cls.__name__})")
        assert cls.process
        if k in self.bypasses:
            self._queue(k)
            return
        wanted = list(inspect.signature(cls.process).parameters)
        if "now" in wanted:
            w('    now = load64(core + CORE["clock_ns"])')
        given = ", ".join(repr(granted) if name == "granted" else name for name in wanted)
        w(f"    out = P_{cls.__name__}({given})")
        # What is in a queue goes on in another task's turn: a call from here would be one that is never made, and
        # where a circle leads through the queue, one of a function that calls this one.
        outputs = [] if self.trunks.ends(k) else sorted(o for e, o in self.next if e == k)
        trunk = self.trunks.trunk.get(k)
        if self.classes[k].copies():
            for output in outputs[1:]:
                if not cls.spreads:
                    w(f"    if unlikely(out == CLONE + {output}):")
                    w("        out = 0")
                    w("        aside = stack_record(RECORD)")
                    w("        transfer(packet, aside)")
                self._copy(k, output, "    " if cls.spreads else "        ")
            outputs = outputs[:1]
        if cls.takes:
            w("    if out == TAKEN:")
            w("        return")
        if cls.slow is not None:
            w("    if unlikely(out == PUNT):")
            w("        aside = stack_record(RECORD)")
            w("        transfer(packet, aside)")
            w(f"        punt(core, aside, {k << PORT_BITS} + port, {slow_counter})")
            w("        return")
        # The trunk is the way with the most behind it: the code of all others is laid out apart.
        for output in outputs:
            bad = cls.bad_port and output == cls.bad_port
            if output == trunk and not bad:
                continue
            w(f"    if unlikely(out {'< 0' if bad else f'== {output}'}):")
            w("        aside = stack_record(RECORD)")
            w("        transfer(packet, aside)")
            w(f"        {self._go(k, output).replace('packet', 'aside')}")
            w("        return")
        if cls.reasons or trunk is None:
            # Dropped, or sent to an output that is not there: a Switch turned too far, a lookup's output.
            w(f"    if unlikely(out != {trunk if trunk is not None else TAKEN}):")
            if cls.reasons:
                w(f"        drop(core, block + {place}, out if out < 0 else -1)")
            w("        return")
        if trunk is not None and self.next[k, trunk][0] in self.trunks.heads:
            w("    aside = stack_record(RECORD)")
            w("    transfer(packet, aside)")
            w(f"    {self._go(k, trunk).replace('packet', 'aside')}")

    def _queue(self, k: int) -> None:
        """Write a queue that feeds a port: while it is empty and the port has room, packets pass it by.

        Both its ends are in one group of tasks, hence on one core, and so the order of packets stays.
        """
        w, place = self.lines.append, self.places[k]
        sink = self.bypasses[k]
        port = self.places[sink] + self.classes[sink].layout()["ring"]
        w(f'    if unlikely(is_empty(state["ring"]) == 0 or room(load64(block + {port}), 1) == 0):')
        w("        aside = stack_record(RECORD)")
        w("        transfer(packet, aside)")
        w("        out = P_Queue(state, aside, core)")
        w("        if out != TAKEN:")
        w(f"            drop(core, block + {place}, out)")
        w("        return")
        if self.next[k, 0][0] in self.trunks.heads:
            w(f"    {self._go(k, 0)}")

    def _go(self, k: int, output: int) -> str:
        target = self.next.get((k, output))
        if target is None:
            return f"drop(core, block + {self.places[k]}, -1)" if self.classes[k].reasons else "return"
        if (k, output) in self.trunks.cut:
            counter = f"block + {self.places[k] + 8 + 8 * len(self.classes[k].reasons)}"
            return f"requeue(core, packet, {target[0] << PORT_BITS | target[1]}, {counter})"
        return f"e{target[0]}(block, core, packet, {target[1]})"

    def _copy(self, k: int, output: int, indent: str) -> None:
        for text in (
            f"made(core, block + {self.places[k]})",
            "twin = stack_record(RECORD)",
            "clone(packet, core, twin)" if self.classes[k].spreads else "clone(aside, core, twin)",
            self._go(k, output).replace("packet", "twin"),
            "spare_done(core)",
        ):
            self.lines.append(indent + text)

    def _task(self, number: int, kind: str, k: int) -> None:
        w = self.lines.append
        reached = reach(self.shape, number)
        resumes = sorted({target for e in reached for target in self._resumed(e)})
        outputs = [e for e in sorted(reached) if self.classes[e].is_queue or self.classes[e].sends()]
        asides = any(self.classes[e].slow is not None for e in reached) or bool(resumes)
        w(f"\n\ndef task{number}(block, core, task, quantum):  # {kind} {self.classes[k].__name__}")
        w("    packet = stack_record(RECORD)")
        if asides:
            w('    inject, punts = load64(task + TASK["inject"]), load64(task + TASK["punt"])')
            w("    back = pending(inject, RESUME)")
        else:
            w("    back = 0")
        inputs = {"rx": self._rx_input, "pull": self._pull_input, "source": self._no_input, "domu": self._returns}
        entry = inputs[kind](k)
        w("    if count == 0 and back == 0:")
        w("        return 0")
        w("    begin(core)")
        if resumes:
            self._resume(resumes)
        if kind == "source":
            self._emit(k)
        elif kind == "domu":
            self._collect(k)
        else:
            self._batch(entry, kind)
        w("    commit(core)")
        for e in channels(self.shape, number):
            w(f"    commit_channel(load64(block + {self._channel(e)}))")
        for e in outputs:
            w(f"    commit_head(load64(block + {self.places[e] + self.classes[e].layout()['ring']}))")
        if asides:
            w("    commit_head(punts)")
            w("    commit_head(inject)")
            w("    commit_tail(inject)")
        if kind in ("rx", "pull"):
            w("    commit_tail(ring)")
        w("    finish(core)")
        w("    return count + back")

    def _resumed(self, k: int) -> Iterator[tuple[int, int]]:
        """Yield the (element, input) that packets come back to: behind slow elements and cut edges."""
        for (element, output), target in self.next.items():
            if element == k and (self.classes[k].slow is not None or (k, output) in self.trunks.cut):
                yield target

    def _rx_input(self, k: int) -> str:
        self._input(k, "quantum")
        return f"e{k}(block, core, packet, 0)"

    def _pull_input(self, k: int) -> str:
        queue, first = upstream(self.shape, k)
        self._input(queue, f"{DRAIN} * quantum" if queue in self.bypasses else "quantum")
        if self.classes[k].sends():
            sink = self.places[k] + self.classes[k].layout()["ring"]
            self.lines.append(f"    count = room(load64(block + {sink}), count)")
        if self.classes[k].bursts:
            burst = self.places[k] + self.classes[k].layout()["burst"]
            self.lines.append(f"    count = least(count, load64(block + {burst}))")
        return f"e{first[0]}(block, core, packet, {first[1]})"

    def _channel(self, k: int) -> int:
        return self.places[k] + self.classes[k].layout()["channel"]

    def _returns(self, k: int) -> str:
        self.lines.append(f"    channel = load64(block + {self._channel(k)})")
        self.lines.append("    count = returned(channel, quantum)")
        return ""

    def _no_input(self, k: int) -> str:
        self.lines.append("    count = quantum")
        return ""

    def _input(self, k: int, most: str) -> None:
        self.lines.append(f"    ring = load64(block + {self.places[k] + self.classes[k].layout()['ring']})")
        self.lines.append(f"    count = available(ring, {most})")

    def _batch(self, entry: str, kind: str) -> None:
        noted = "\n            read_note(ring, at, packet)" if kind == "pull" else ""
        self.lines.append(f"""\
    first = at = asked = claim(ring, count)
    # Only what is claimed: the line behind belongs to the producer, who is writing it.
    end = claimed = first + count
    slots, mask, pool = load64(ring + RING["slots"]), load64(ring + RING["mask"]), load64(ring + RING["pool"])
    while at < end:
        stop = first + look(core, task, at - first, end - first)
        if stop == at:
            break
        asked = ask_frames(slots, mask, pool, asked, least(stop + AHEAD, claimed))
        ask_slots(slots, mask, asked, claimed - 1)
        while at < stop:
            receive(packet, slots + (at & mask) * SLOT.size, pool){noted}
            {entry}
            at += 1
            if unlikely(log_is_full(core)):
                stop = end = at
    count = at - first
    if at < claimed:
        keep(ring, at)""")

    def _emit(self, k: int) -> None:
        name, place = self.classes[k].__name__, self.places[k]
        # Others' may have failed; then there is no packet, but one that they made and that is dropped.
        failed = f"""
            if out < 0:
                drop(core, block + {place}, out)
                i += 1
                continue"""
        self.lines.append(f"""\
    state = record(block + {place}, S_{name})
{_LOOKING}
            out = 0 if log_is_full(core) else E_{name}(state, packet, core)
            if out == 0:
                stop = count = i
                break
            made(core, block + {place}){failed if self.classes[k].foreign else ""}
            e{k}(block, core, packet, 0)
            spare_done(core)
            i += 1
    count = i""")

    def _collect(self, k: int) -> None:
        name, place = self.classes[k].__name__, self.places[k]
        self.lines.append(f"""\
    state = record(block + {place}, S_{name})
    first = take(channel, count)
{_LOOKING}
            out = E_{name}(state, block + {place}, packet, core, first + i)
            if out >= 0:""")
        for output in sorted(o for e, o in self.next if e == k):
            self.lines.append(f"""\
                if out == {output}:
                    {self._go(k, output)}""")
        known = [f"out != {o}" for e, o in sorted(self.next) if e == k]
        self.lines.append(f"""\
                if {" and ".join(known) or "out >= 0"}:
                    drop(core, block + {place}, {-1 - self.classes[k].reasons.index("bad_return")})
                spare_done(core)
            i += 1
            if log_is_full(core):
                stop = count = i
    if i < count:
        count = i
    keep_returns(channel, first + count)
    give_gifts(core, channel)""")

    def _resume(self, resumes: list[tuple[int, int]]) -> None:
        w = self.lines.append
        w("""\
    if back:
        first = claim(inject, back)
        pool = load64(inject + RING["pool"])
        i, stop = 0, back
        while i < stop:
            receive(packet, slot_at(inject, first + i), pool)
            entry = read_note(inject, first + i, packet)
            i += 1""")
        for n, (element, port) in enumerate(resumes):
            w(f"            {'el' if n else ''}if entry == {element << PORT_BITS | port}:")
            w("                aside = stack_record(RECORD)")
            w("                transfer(packet, aside)")
            name = f"e{element}" if element in self.trunks.heads else f"r{element}"
            w(f"                {name}(block, core, aside, {port})")
        w("""\
            if unlikely(log_is_full(core)):
                # Nor is there room for a packet of the task's own.
                keep(inject, first + i)
                stop, back, count = i, i, 0""")


def compose(shape: Shape) -> str:
    """Return the source of the module for a shape."""
    return Composer(shape).source()
