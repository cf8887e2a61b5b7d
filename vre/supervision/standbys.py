# SPDX-License-Identifier: MIT
"""The next worker of each core and the next wire: forked ahead of time, and put in place of those that run."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable

from shm.intrinsics import load64, release64, store64
from shm.layout import CORE
from shm.wire_layout import WIRE
from vre.errors import PlatformEnded, PlatformError
from vre.supervision.cpus import Plan
from vre.supervision.incarnations import Incarnations
from vre.supervision.restart_policy import Supervisor
from workers.zygote.messages import Fork

#: How long the standbys of a change may take to be ready.
_READY_S = 60.0
#: In place of a core's number.
_WIRE = -1
#: How many standbys may end while a change waits for them.
_DEATHS = 3
#: How long processes may take to hand over: the watch over each of them is much faster.
_HAND_OVER_S = 60.0
#: Pause before a failed fork is tried again.
_AGAIN_S = 0.1


class Standbys:
    """The standbys of one platform.

    Parameters
    ----------
    incarnations : Incarnations
    supervisor : Supervisor
    plan : Plan
        Which processor runs what.
    send : callable
        Asks the zygote for a process.
    tend : callable
        Lets time pass, and supervises.
    report : callable
        Told of events.
    """

    def __init__(
        self,
        incarnations: Incarnations,
        supervisor: Supervisor,
        plan: Plan,
        send: Callable[[Fork], None],
        tend: Callable[[float], None],
        report: Callable[[str], None],
    ) -> None:
        self._incarnations, self._supervisor, self._plan = incarnations, supervisor, plan
        self._send, self._tend, self._report = send, tend, report
        #: The numbers that the zygote has been asked for, by core.
        self._asked: dict[int, set[int]] = {}
        #: What the zygote could not fork, and when it is asked again.
        self.unforked: list[tuple[float, Fork]] = []
        self._short = False
        self._deaths = 0

    # One at a time.

    def keep(self) -> None:
        """Fork the next worker of each core, and the next wire, as standbys."""
        for core in range(len(self._incarnations.cores)):
            self.fork(core)
        self.fork_wire()

    def fork(self, core: int) -> None:
        """Ask for the next worker of a core, unless that has been done."""
        self._ask(core, load64(self._incarnations.cores[core] + CORE["incarnation"]) + 1)

    def _ask(self, core: int, number: int) -> None:
        if number not in self._asked.setdefault(core, set()):
            self._asked[core].add(number)
            self._send(Fork("core", core, self._plan.cpus[core], number, gently=number > 1))

    def fork_wire(self) -> None:
        """Ask for the next wire, unless that has been done."""
        number = load64(self._incarnations.wire + WIRE["incarnation"]) + 1
        if number not in self._asked.setdefault(_WIRE, set()):
            self._asked[_WIRE].add(number)
            self._send(Fork("wire", 0, self._plan.wire_cpu, number, gently=number > 1))

    def ask_for_missing(self) -> None:
        """Ask a new zygote for the workers that the old one did not fork."""
        self.unforked.clear()
        for core, address in enumerate(self._incarnations.cores):
            now = load64(address + CORE["incarnation"])
            there = {self._incarnations.numbers[pid] for pid, c in self._supervisor.cores.items() if c == core}
            self._asked[core] = {now, now + 1} & there
            for number in {now, now + 1} - there:
                self._ask(core, number)
        wire = load64(self._incarnations.wire + WIRE["incarnation"])
        self._asked[_WIRE] = {self._incarnations.numbers[pid] for pid in self._supervisor.wires} | {wire}
        self.fork_wire()

    def forked(self) -> None:
        """Take note that there is room for one more process."""
        self._short = False

    def not_forked(self, why: str, fork: Fork) -> None:
        """Take note that there was no room for a process."""
        if not self._short:
            self._report(f"cannot start a process: {why}; retrying")
        self._short = True
        self.unforked.append((time.monotonic() + _AGAIN_S, fork))

    def ask_again(self) -> None:
        """Repeat the requests for processes that could not be forked."""
        now = time.monotonic()
        due = [fork for at, fork in self.unforked if at <= now]
        self.unforked = [(at, fork) for at, fork in self.unforked if at > now]
        for fork in due:
            if self._is_needed(fork):
                self._send(fork)

    def _is_needed(self, fork: Fork) -> bool:
        """Return whether no successor of a worker or a wire has taken over yet."""
        if fork.kind == "core":
            return fork.number >= load64(self._incarnations.cores[fork.place] + CORE["incarnation"])
        return fork.kind != "wire" or fork.number >= load64(self._incarnations.wire + WIRE["incarnation"])

    def died(self, core: int, number: int) -> None:
        """Fork a core's standby anew, which has ended before its turn."""
        self._deaths += 1
        self._asked.get(core, set()).discard(number)
        self.fork(core)

    def wire_died(self, number: int) -> None:
        """Fork the wire's standby anew, which has ended before its turn."""
        self._deaths += 1
        self._asked.get(_WIRE, set()).discard(number)
        self.fork_wire()

    # All together.

    def dismiss(self) -> None:
        """End the standbys: they know another manifest than the one that comes, or are not needed any more."""
        while found := self._incarnations.standbys():
            pid, word = found[0]
            self._supervisor.cores.pop(pid, None)
            self._supervisor.wires.discard(pid)
            # It may have died already, which has not been noticed yet.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            while pid in self._incarnations.numbers:
                self._tend(0.001)
            store64(word, 0)
        self._asked.clear()
        self.unforked.clear()

    def start(self) -> None:
        """Fork the next worker of each core and the next wire; return when all are ready. Raises PlatformError."""
        cores, wire = self._incarnations.cores, self._incarnations.wire
        next_wire = load64(wire + WIRE["incarnation"]) + 1
        numbers = [load64(core + CORE["incarnation"]) + 1 for core in cores]
        self.fork_wire()
        for core in range(len(cores)):
            self.fork(core)
        self._deaths = 0
        end = time.monotonic() + _READY_S
        while not (
            load64(wire + WIRE["standby"]) >= next_wire
            and all(load64(core + CORE["standby"]) >= n for core, n in zip(cores, numbers, strict=True))
        ):
            if self._deaths > _DEATHS:
                raise PlatformError("the new processes ended while they started")
            if time.monotonic() >= end:
                raise PlatformError(f"the new processes were not ready after {_READY_S:g} s")
            self._tend(0.002)

    def take_over(self) -> None:
        """Let the standbys take over from all others, and wait until they have. Raises PlatformEnded."""
        cores, wire = self._incarnations.cores, self._incarnations.wire
        numbers, supervisor = self._incarnations.numbers, self._supervisor
        old = [pid for pid, core in supervisor.cores.items() if numbers[pid] < load64(cores[core] + CORE["standby"])]
        old += [pid for pid in supervisor.wires if numbers[pid] < load64(wire + WIRE["standby"])]
        for pid in old:
            supervisor.retire(pid)
        for core in cores:
            release64(core + CORE["incarnation"], load64(core + CORE["standby"]))
        for number in range(len(cores)):
            self._incarnations.wake(number)
        release64(wire + WIRE["incarnation"], load64(wire + WIRE["standby"]))
        self._incarnations.wake_wire()
        words = [(core + CORE["left"], core + CORE["incarnation"]) for core in cores]
        words.append((wire + WIRE["left"], wire + WIRE["incarnation"]))
        end = time.monotonic() + _HAND_OVER_S
        for left, incarnation in words:
            while load64(left) != load64(incarnation) - 1:
                if time.monotonic() >= end:
                    raise PlatformEnded(f"processes did not hand over to the next ones within {_HAND_OVER_S:g} s")
                self._tend(0.0005)
