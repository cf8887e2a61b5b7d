# SPDX-License-Identifier: MIT
"""A worker: the process that is an emulated core."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from shm.channel import CHANNEL
from shm.intrinsics import acquire64, add64, load64, release64, store64
from shm.layout import CLIENT, CORE, TASK
from shm.manifest import Manifest, RouterEntry
from shm.memfd import follow
from workers.core.perf_counters import LineMeter, line_meter
from workers.core.slow_path import BUDGET_NS, SlowTask, run_slow
from workers.core.stride import charge_aside
from workers.graph.shape import Shape
from workers.process import take_processor

#: Time between two visits to the interpreter.
SLICE_NS = 1_000_000
#: Pause of an idle worker that sleeps: two of them and the timer's slack stay far below a millisecond.
NAP_S = 20e-6
#: Pause of a worker that has no task: others may want its processor.
_EMPTY_NAP_S = 0.02
#: Polling period of a standby that is not woken.
STANDBY_S = 0.1
#: CPU time in one slice after which a worker's own timer kills it, if the watchdog does not.
_BACKSTOP_S = 5.0

Kernel = Callable[..., int]
T = TypeVar("T")


def tasks_on(core: int) -> Iterator[int]:
    """Yield the address of every task that a core has now."""
    clients = load64(core + CORE["clients"])
    for c in range(load64(core + CORE["client_count"])):
        client = load64(clients + 8 * c)
        task = load64(client + CLIENT["tasks"]) if client else 0
        while task:
            yield task
            task = load64(task + TASK["next"])


class Worker:
    """One emulated core. Made in the zygote, so that a process forked for it runs at once.

    Parameters
    ----------
    manifest : Manifest
    number : int
        Which core.
    run_slice, read_ticks : callable
        The compiled loop and the clock.
    """

    def __init__(self, manifest: Manifest, number: int, run_slice: Kernel, read_ticks: Kernel) -> None:
        self.core, self._nic = manifest.cores[number].address, manifest.cores[number].nic
        self._slice, self._ticks = run_slice, read_ticks
        self._slice_ticks = round(SLICE_NS / manifest.ns_per_tick)
        self._slow_ticks = round(BUDGET_NS / manifest.ns_per_tick)
        self._dilated = manifest.settings.dilated
        self._shapes = {task.address: shape_of(router) for router in manifest.routers for task in router.tasks}
        self._channels = {task.address: task.channels for router in manifest.routers for task in router.tasks}
        self._mapped: dict[int, int] = {}
        self._charged: list[tuple[int, int]] = []
        self.slow: list[SlowTask] = []
        self._empty = True
        self._meter: LineMeter | None = None
        self.look_round()

    def look_round(self) -> None:
        """Update the list of the core's tasks, and map the memory of their channels."""
        roster = load64(self.core + CORE["roster"])
        known = {slow.task: slow for slow in self.slow}
        # A task of a router that was added after this fork is for the next worker.
        here = [task for task in tasks_on(self.core) if task in self._shapes]
        self.slow = [slow for task in here if (slow := known.get(task) or self._for_path(task, self._slow_path))]
        self._empty = not any(tasks_on(self.core))
        if self._meter:
            self._meter.close()
            self._meter = None
        if load64(self.core + CORE["pid"]) == os.getpid() and load64(self.core + CORE["virtual"]) == 0:
            self._meter = line_meter([slow.task for slow in self.slow])
        crossing = [task for task in tasks_on(self.core) if self._channels.get(task)]
        clients = {(load64(task + TASK["client"]), load64(task + TASK["slot"])) for task in crossing}
        self._charged = sorted(clients)
        if load64(self.core + CORE["pid"]) == os.getpid():
            mapped = [self._for_path(task, self._map_channels) for task in crossing]
            if self._nic and not all(mapped):
                return  # the wire must map it before packets are sent into it; try again
        release64(self.core + CORE["seen_roster"], roster)

    def _for_path(self, task: int, act: Callable[[int], T]) -> T | None:
        """Do something that a path needs, with the path stamped.

        If it fails, the worker ends, and the stamp names the path (see vre.supervision.restart_policy). Return None if
        nothing ends: in quarantine, in the zygote, whose workers will repeat it, and in the wire.
        """
        own = load64(self.core + CORE["pid"]) == os.getpid() and not self._nic and load64(task + TASK["enabled"])
        if own:
            store64(self.core + CORE["since"], self._ticks())
            store64(self.core + CORE["task"], task)
        try:
            done = act(task)
        except Exception:
            if own:
                raise
            return None
        if own:
            store64(self.core + CORE["task"], 0)
        return done

    def _slow_path(self, task: int) -> SlowTask:
        return SlowTask(self.core, task, self._shapes[task], self._ticks)

    def _map_channels(self, task: int) -> bool:
        for channel in self._channels[task]:
            self._map(channel)
        return True

    def _map(self, channel: int) -> None:
        """Map a channel's memory, if it has changed."""
        while self._mapped.get(channel) != (now := acquire64(channel + CHANNEL["incarnation"])):
            follow(channel)
            self._mapped[channel] = now

    def _charge_domus(self) -> None:
        """Charge routers for the processor time of their domUs."""
        for client, slot in self._charged:
            due = load64(client + CLIENT["debt"]) - load64(client + CLIENT["paid"])
            if due > 0:
                add64(client + CLIENT["paid"], due)
                charge_aside(client, slot, due)

    def take_over(self) -> None:
        """Take the core over."""
        store64(self.core + CORE["pid"], os.getpid())
        self.look_round()

    def run(self, number: int, cpu: int | None) -> None:
        """Wait for worker `number` - 1 to leave the core; run slices on `cpu` until the next one is to have it."""
        core = self.core
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        # Move to its own processor: otherwise it would wait for the wire's when it is woken.
        take_processor(cpu)
        store64(core + CORE["standby"], number)
        while acquire64(core + CORE["left"]) != number - 1 or acquire64(core + CORE["incarnation"]) < number:
            if load64(core + CORE["stop"]):
                return
            if acquire64(core + CORE["incarnation"]) < number:
                # It is woken when it is needed; polling would cost others more than its time.
                signal.sigtimedwait({signal.SIGUSR1}, STANDBY_S)
            else:
                time.sleep(NAP_S)
        self.take_over()
        sleeps = load64(core + CORE["spin_ticks"]) > 0
        while load64(core + CORE["stop"]) == 0 and acquire64(core + CORE["incarnation"]) == number:
            self._step(sleeps)
        release64(core + CORE["left"], number)

    def visit(self, ticks: int) -> tuple[int, bool]:
        """Run one slice; return how many turns of it moved packets, and whether some came back from the slow path."""
        core = self.core
        if load64(core + CORE["roster"]) != load64(core + CORE["seen_roster"]):
            self.look_round()
        moved = self._slice(core, self._ticks() + ticks)
        self._count_lines()
        handled = run_slow(self.slow, self._ticks, self._slow_ticks)
        self._charge_domus()
        add64(core + CORE["slices"], 1)
        # Publish the heartbeat last: waiters may then reclaim what this slice was using.
        release64(core + CORE["heartbeat"], load64(core + CORE["heartbeat"]) + 1)
        return moved, handled

    def _count_lines(self) -> None:
        """Update the meter; if it fails, the declared model holds again."""
        try:
            if self._meter:
                self._meter.after_slice()
        except (OSError, ArithmeticError, ValueError):
            self._meter = None

    def _step(self, sleeps: bool) -> None:
        core = self.core
        signal.setitimer(signal.ITIMER_PROF, _BACKSTOP_S)
        moved, handled = self.visit(self._slice_ticks)
        if handled:
            # Packets have come back: look at idle tasks at once.
            store64(core + CORE["next_poll"], 0)
        elif self._empty:
            # Woken when a task comes; one that napped for a millisecond kept others off its processor for seconds.
            signal.sigtimedwait({signal.SIGUSR1}, _EMPTY_NAP_S)
        elif self._dilated:
            # A slice ends early when the core is ahead of its traffic: let the wire catch up.
            os.sched_yield()
        elif sleeps and moved == 0:
            time.sleep(NAP_S)


def shape_of(router: RouterEntry) -> Shape:
    """Return the shape that a manifest's router has."""
    return Shape.of(router.shape)
