# SPDX-License-Identifier: MIT
"""What composed functions are made of: a step is one of the templates here, and the values that go into it.

:mod:`workers.compiler.composer` decides which steps a function has.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

Value = int | str | tuple[str, ...]

TEMPLATES = {
    # Begin a function that takes a packet through elements.
    "function": """


def {name}(block, core, packet, port):""",
    # Go on to an input that is not 0.
    "enter": "    port = {port}",
    # Begin an element.
    "element": "    # {name}",
    # Take an element's state.
    "state": "    state = record(block + {place}, S_{name})",
    # Read the core's clock for an element that asks for it.
    "clock": '    now = load64(core + CORE["clock_ns"])',
    # Call an element's `process`.
    "run": "    out = P_{name}({given})",
    # Hand every packet to the slow path.
    "punt_all": "    punt(core, packet, {entry} + port, block + {counter})",
    # Store the packet unless the queue is empty and the port behind it has room. Both ends are in one group of tasks,
    # so on one core, and packets stay in order.
    "bypass": """
    if unlikely(is_empty(state["ring"]) == 0 or room(load64(block + {sink}), 1) == 0):
        aside = stack_record(RECORD)
        transfer(packet, aside)
        out = P_{name}({given})
        if out != TAKEN:
            drop(core, block + {place}, out)
        return""",
    # Send a copy to an output, whatever the element says.
    "spread": """
    made(core, block + {place})
    twin = stack_record(RECORD)
    clone(packet, core, twin)
    {go}
    spare_done(core)""",
    # Send a copy to an output if the element asks for it; the packet itself goes on to output 0.
    "clone": """
    if unlikely(out == CLONE + {output}):
        out = 0
        aside = stack_record(RECORD)
        transfer(packet, aside)
        made(core, block + {place})
        twin = stack_record(RECORD)
        clone(aside, core, twin)
        {go}
        spare_done(core)""",
    # End with a packet that the element has stored or sent.
    "taken": """
    if out == TAKEN:
        return""",
    # Hand the packet to the slow path if the element asks for it.
    "punt": """
    if unlikely(out == PUNT):
        aside = stack_record(RECORD)
        transfer(packet, aside)
        punt(core, aside, {entry} + port, block + {counter})
        return""",
    # Leave the trace for an output that is not its own: the code of all others is laid out apart.
    "branch": """
    if unlikely(out {when}):
        aside = stack_record(RECORD)
        transfer(packet, aside)
        {go}
        return""",
    # Drop a packet for a reason, or one for an output that is not there: a Switch turned too far, a lookup's output.
    "drop": """
    if unlikely(out != {unless}):
        drop(core, block + {place}, out if out < 0 else -1)
        return""",
    # Go on to where another trace begins.
    "join": """
    aside = stack_record(RECORD)
    transfer(packet, aside)
    {go}""",
    # Go on to where another trace begins, with a packet that already has an address.
    "call": "    {go}",
    # Begin the entry point of a task.
    "task": """


def task{number}(block, core, task, quantum):  # {driver} {name}
    packet = stack_record(RECORD)""",
    # Ask what has come back from the slow path.
    "asides": """
    inject, punts = load64(task + TASK["inject"]), load64(task + TASK["punt"])
    back = pending(inject, RESUME)""",
    # Nothing of this task goes to the slow path.
    "no_asides": "    back = 0",
    # Ask a ring for packets.
    "ring": """
    ring = load64(block + {ring})
    count = available(ring, {most})""",
    # Take no more packets than the port has room for.
    "room": "    count = room(load64(block + {ring}), count)",
    # Take no more packets than the element says.
    "burst": "    count = least(count, load64(block + {burst}))",
    # Ask a channel for packets that a domU has sent back.
    "returns": """
    channel = load64(block + {channel})
    count = returned(channel, quantum)""",
    # Make as many packets as a turn may have.
    "quantum": "    count = quantum",
    # Open the turn's transaction, if there is anything to do.
    "begin": """
    if count == 0 and back == 0:
        return 0
    begin(core)""",
    # Take what has come back from the slow path to where it goes on.
    "resume": """
    if back:
        first = pop(inject, back)
        pool = load64(inject + RING["pool"])
        i, stop = 0, back
        while i < stop:
            receive(packet, slot_at(inject, first + i), pool)
            entry = read_note(inject, first + i, packet)
            i += 1
            {ways}
            if unlikely(log_is_full(core)):
                # Nor is there room for a packet of the task's own.
                pop_to(inject, first + i)
                stop, back, count = i, i, 0""",
    # Take packets out of a ring.
    "batch": """
    first = at = asked = pop(ring, count)
    # Only what is popped: the line behind belongs to the producer, who is writing it.
    end = popped = first + count
    slots, mask, pool = load64(ring + RING["slots"]), load64(ring + RING["mask"]), load64(ring + RING["pool"])
    while at < end:
        stop = first + look(core, task, at - first, end - first)
        if stop == at:
            break
        asked = ask_frames(slots, mask, pool, asked, least(stop + AHEAD, popped))
        ask_slots(slots, mask, asked, popped - 1)
        while at < stop:
            receive(packet, slots + (at & mask) * SLOT.size, pool)
            {entry}
            at += 1
            if unlikely(log_is_full(core)):
                stop = end = at
    count = at - first
    if at < popped:
        pop_to(ring, at)""",
    # Let a source make packets.
    "emit": """
    state = record(block + {place}, S_{name})
    i, stop = 0, 0
    while i < count:
        stop = look(core, task, i, count)
        if stop == i:
            break
        while i < stop:
            out = 0 if log_is_full(core) else E_{name}(state, packet, core)
            if out == 0:
                stop = count = i
                break
            made(core, block + {place})
            {failed}
            {go}
            spare_done(core)
            i += 1
    count = i""",
    # Take packets out of a channel, to the outputs that the domU has chosen. A channel that offers none may be closed,
    # and its indices about to be reset: it is left alone.
    "collect": """
    if count:
        state = record(block + {place}, S_{name})
        first = take(channel, count)
        i, stop = 0, 0
        while i < count:
            stop = look(core, task, i, count)
            if stop == i:
                break
            while i < stop:
                out = E_{name}(state, block + {place}, packet, core, first + i)
                if out >= 0:
                    {ways}
                    if {unknown}:
                        drop(core, block + {place}, {code})
                    spare_done(core)
                i += 1
                if log_is_full(core):
                    stop = count = i
        if i < count:
            count = i
        keep_returns(channel, first + count)
        give_gifts(core, channel)""",
    # Commit the turn, then publish it: channels, heads of outputs, and last the tails of inputs. If the worker is
    # killed after `commit`, workers.core.recovery publishes the rest.
    "finish": """
    commit(core)
    {publish}
    finish(core)
    return count + back""",
}


@dataclass(frozen=True)
class Step:
    """Some lines of a composed function: a template's name, and its values.

    A value that is a tuple is a line for each of its strings, as far indented as the line that it stands on alone.
    """

    kind: str
    values: dict[str, Value]

    def lines(self) -> Iterable[str]:
        """Yield the lines."""
        for line in TEMPLATES[self.kind].removeprefix("\n").split("\n"):
            value = self.values.get(line.strip(" {}"))
            if isinstance(value, tuple):
                yield from (line[: len(line) - len(line.lstrip())] + one for one in value)
            else:
                yield line.format(**self.values)


def step(kind: str, **values: Value) -> Step:
    """Return a step."""
    return Step(kind, values)
