# SPDX-License-Identifier: MIT
"""The slow path: elements in the interpreter, between slices.

Compiled paths punt packets into a ring; here each becomes a :class:`workers.element.SlowPacket`, its element's
`slow` runs, and its results go back through the inject ring to the compiled element behind: all of them or, if the
element fails, none (:mod:`workers.core.outcome`). The time is charged to the task that punted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from shm.intrinsics import acquire64, add64, load64, record, store64
from shm.journal import FAULT, NOBODY, put
from shm.journal import LINE as SAID
from shm.layout import CLIENT, CORE, IDLE_PASS, RING, TASK
from shm.ring import available, held, is_waiting, logged, next_pop, next_push, pop, publish, push_to, release, room
from workers.core.outcome import MOST, Outcome, Raised, settled, told
from workers.core.stride import charge_aside
from workers.datapath.slow_packet import Frame, framed, put_frame, read_packet
from workers.datapath.turn import DROPS, MADE, PORT_BITS, PORT_MASK, begin, commit, finish
from workers.element import RAISED, SlowPacket, load
from workers.graph.shape import Shape, offsets, reach, reasons

#: Time for the slow path between two slices: a fifth of a slice, or a single packet if that takes longer.
BUDGET_NS = 200_000

Tick = Callable[[], int]


class Context:
    """The services that a slow path may use."""

    def __init__(self, core: int, connected: set[int], inject: int, router: int = NOBODY, element: int = -1) -> None:
        self._core = core
        self._connected = connected
        self._inject = inject
        self._router, self._element = router, element
        self.touched: set[int] = set()

    @property
    def now_ns(self) -> int:
        """The core's clock."""
        return load64(self._core + CORE["clock_ns"])

    def say(self, text: str) -> None:
        """Print a line; if earlier lines have not been read, it is dropped and counted."""
        put(load64(self._core + CORE["journal"]), SAID, self._router, self._element, text)

    def connected(self, output: int) -> bool:
        """Return whether an output of the element is connected."""
        return output in self._connected

    def midnight_ms(self) -> int:
        """Return ms since midnight UT, as Internet timestamps count (RFC 791); virtual time begins at midnight."""
        now = self.now_ns if load64(self._core + CORE["virtual"]) else time.time_ns()
        return now // 1_000_000 % 86_400_000

    @property
    def behind(self) -> tuple[int, int]:
        """The next packet of the path that is on its way here, and where they end: none if both are the same."""
        punt = load64(load64(self._core + CORE["task"]) + TASK["punt"])
        return next_pop(punt), acquire64(punt + RING["head"])

    @property
    def room(self) -> int:
        """How many packets can go on from here in this turn."""
        return room(self._inject, 1 << 16)


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
        self._router = load64(load64(task + TASK["client"]) + CLIENT["router"])
        self._elements: dict[int, tuple[Any, set[int]]] = {}
        self._visited = False
        self._visits = [
            (element, cls.due, record(self.block + self.places[element], cls.layout().dtype))
            for element in sorted(reach(shape, load64(task + TASK["number"])))
            if (cls := self.classes[element]).due
        ]

    def pending(self, idle: set[int] | None = None) -> bool:
        """Return whether there is work, for a path that is enabled.

        `idle` has the states of elements that have been asked for a visit just now and need none. It is added to:
        elements that many paths of a router lead to are asked once.
        """
        return load64(self.task + TASK["enabled"]) != 0 and (
            self._waiting() or self._due(set() if idle is None else idle) is not None
        )

    def _waiting(self) -> bool:
        return bool(is_waiting(self.punt))

    def _due(self, idle: set[int]) -> int | None:
        """Return an element with a visit due, and room for its results; those in `idle` are not asked."""
        visits = [visit for visit in self._visits if self.block + self.places[visit[0]] not in idle]
        if not visits or room(self.inject, 1) == 0:
            return None
        now, found = load64(self.core + CORE["clock_ns"]), None
        self._stamp()
        for visit in visits:
            element, due, state = visit
            try:
                if due(state, now):
                    found = element
                    break
                idle.add(self.block + self.places[element])
            except Exception as error:  # it gets no more visits; it still handles packets
                self._visits.remove(visit)
                self._report(element, told(error))
        store64(self.core + CORE["task"], 0)
        return found

    def current_pass(self) -> int:
        """Return the pass of the task's client: the least pass goes first here, too."""
        at = load64(load64(self.task + TASK["slot"]))
        return load64(load64(self.task + TASK["client"]) + CLIENT["own_pass"]) if at == IDLE_PASS else at

    def run(self) -> None:
        """Handle one packet or one visit, alternately, and charge the task."""
        element = None if self._visited and self._waiting() else self._due(set())
        self._visited = element is not None
        if element is None and available(self.punt, 1) == 0:
            return
        before = self._stamp()
        begin(self.core)
        if element is None:
            touched = self._handle(*read_packet(self.punt, pop(self.punt, 1)))
        else:
            touched = self._visit(element)
        commit(self.core)
        for ring in touched:
            publish(ring)
            release(ring)
        publish(self.inject)
        release(self.punt)
        finish(self.core)
        store64(self.core + CORE["task"], 0)
        self._charge(self._ticks() - before if self._modelled is None else self._modelled)

    def _stamp(self) -> int:
        """Stamp the path that this worker is in; return the time."""
        now = self._ticks()
        store64(self.core + CORE["since"], now)
        store64(self.core + CORE["task"], self.task)
        return now

    def _report(self, element: int, text: str) -> None:
        """Report an element's fault."""
        put(load64(self.core + CORE["journal"]), FAULT, self._router, element, text)

    def _handle(self, packet: SlowPacket, entry: int) -> set[int]:
        element, port = entry >> PORT_BITS, entry & PORT_MASK
        slow = self.classes[element].slow
        assert slow
        return self._account(element, 1, lambda state, context: slow(state, packet, port, context))

    def _visit(self, element: int) -> set[int]:
        visit = self.classes[element].visit
        assert visit
        return self._account(element, 0, visit)

    def _account(self, element: int, taken: int, act: Callable[[Any, Context], Iterator[Any]]) -> set[int]:
        """Run an element on `taken` packets; forward, or count, the results; return the rings that it has used."""
        cls, place = self.classes[element], self.block + self.places[element]
        state, connected = self._known(element)
        context = Context(self.core, connected, self.inject, self._router, element)
        bad_port = cls.bad_port if context.connected(cls.bad_port) else 0
        rings = self._rings(state, cls)
        before = _held(rings)

        def frame(output: int, following: SlowPacket) -> Frame | None:
            target = self.next.get((element, output))
            made = framed(following, target[0] << PORT_BITS | target[1] if target else 0)
            return made if target else None

        try:
            outcome = settled(cls, lambda: act(state, context), frame, bad_port, MOST + before)
            if outcome.packets + _held(rings) - before < taken:
                raise Raised("packets are gone without a reason")
        except Raised as error:
            self._report(element, str(error))
            outcome = _lost(rings, before, taken)
        self._publish(cls, place, outcome, _held(rings) - before - taken)
        return context.touched

    def _known(self, element: int) -> tuple[Any, set[int]]:
        """Return an element's state and its connected outputs, which do not change."""
        if element not in self._elements:
            state = record(self.block + self.places[element], self.classes[element].layout().dtype)
            self._elements[element] = state, {output for e, output in self.next if e == element}
        return self._elements[element]

    def _publish(self, cls: Any, place: int, outcome: Outcome[Frame | None], kept: int) -> None:
        """Forward and count the results; `kept` more packets are in the element's own rings now."""
        why, lost = reasons(cls), dict(outcome.dropped)
        for one in outcome.frames:
            if one is None or not put_frame(self.inject, one):
                lost[why[-1]] = lost.get(why[-1], 0) + 1
        for reason, count in lost.items():
            self._add(place + DROPS + 8 * why.index(reason), count)
        # If there are more than were taken, the rest were made here.
        self._add(place + MADE, outcome.packets + kept)

    def _add(self, counter: int, count: int) -> None:
        if count:
            logged(self.core, counter, load64(counter) + count)

    @staticmethod
    def _rings(state: Any, cls: Any) -> list[int]:
        return [int(state["hold"])] if cls.holds else []

    def _charge(self, used: int) -> None:
        core = self.core
        add64(core + CORE["slow_ticks"], used)
        add64(self.task + TASK["slow_ticks"], used)
        charge_aside(load64(self.task + TASK["client"]), load64(self.task + TASK["slot"]), used)


def _held(rings: list[int]) -> int:
    """Return how many packets an element holds."""
    return sum(held(ring) for ring in rings)


def _lost(rings: list[int], before: int, taken: int) -> Outcome[Frame | None]:
    """Return the loss of `taken` packets whose element failed, including those taken from the ones held `before`."""
    kept = _held(rings) - before
    for ring in rings:
        # What it has put in meanwhile is the ring's last.
        push_to(ring, next_push(ring) - max(0, kept))
    return Outcome([], {RAISED: taken + max(0, -kept)})


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
        idle: set[int] = set()
        waiting = [task for task in tasks if task.pending(idle)]
        if not waiting:
            break
        min(waiting, key=SlowTask.current_pass).run()
        handled = True
    return handled
