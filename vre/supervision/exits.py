# SPDX-License-Identifier: MIT
"""What follows the end of a worker or of a wire: its core is brought in order, and the next one goes on."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable

from shm.intrinsics import add64, load64, release64, store64
from shm.layout import CORE
from shm.manifest import CurrentManifest
from shm.wire_layout import WIRE
from vre.errors import PlatformEnded
from vre.supervision.children import will_not_run
from vre.supervision.cpus import Plan
from vre.supervision.incarnations import Incarnations
from vre.supervision.restart_policy import GiveUp, Quarantine, Recover, Restart, Rewire, Stamped, Supervisor, cause
from vre.supervision.standbys import Standbys
from vre.supervision.watchdog import path_of
from workers.core.recovery import channels_on, recover, ring_ends
from workers.process import take_processor
from workers.wire.recovery import recover_wire


class Exits:
    """Carries out what the supervisor decides about processes that have ended.

    Parameters
    ----------
    manifest : CurrentManifest
    plan : Plan
        Which processor runs what.
    supervisor : Supervisor
    incarnations : Incarnations
    standbys : Standbys
    report : callable
        Told of events.

    Attributes
    ----------
    quarantine : callable
        Called with what is quarantined, while no worker runs on its core.
    """

    def __init__(
        self,
        manifest: CurrentManifest,
        plan: Plan,
        supervisor: Supervisor,
        incarnations: Incarnations,
        standbys: Standbys,
        report: Callable[[str], None],
    ) -> None:
        self._manifest, self._plan, self._supervisor = manifest, plan, supervisor
        self._incarnations, self._standbys, self._report = incarnations, standbys, report
        self.quarantine: Callable[[Quarantine], None] = lambda what: None
        #: Workers that end because their zygote has: no path is to blame.
        self._blameless: set[int] = set()

    def exited(self, pid: int, status: int) -> None:
        """Do what follows the end of a worker or a wire, with its exit `status`. Raises PlatformEnded."""
        path = self._stamped(pid)
        decision = self._supervisor.exited(pid, status, time.monotonic(), path)
        mine = self._incarnations.numbers.pop(pid)
        if isinstance(decision, GiveUp):
            if load64(self._incarnations.wire + WIRE["pid"]) == pid:
                recover_wire(self._incarnations.wire)  # the account is exact all the same
            raise PlatformEnded(decision.reason)
        if decision is None:
            return
        if isinstance(decision, Rewire):
            self._wire_ended(decision, pid, mine, status)
            return
        address = self._incarnations.cores[decision.core]
        if isinstance(decision, Restart) and mine > load64(address + CORE["incarnation"]):
            # A standby: it has never had the core.
            self._standbys.died(decision.core, mine)
        elif isinstance(decision, Restart) or load64(address + CORE["left"]) < mine:
            lost = self._recover(decision)
            within = f" in router {path.router}, path {path.name}" if path else ""
            self._report(f"core {decision.core}: worker {pid} {cause(status)}{within}; {lost} packets lost; replaced")
        # Else it had handed over: the core is the next one's.

    def _wire_ended(self, decision: Rewire, pid: int, mine: int, status: int) -> None:
        wire = self._incarnations.wire
        if mine > load64(wire + WIRE["incarnation"]):
            # A standby: it has never been the wire.
            self._standbys.wire_died(mine)
        elif load64(wire + WIRE["left"]) < mine:
            self._recover_wire(mine, decision.asked)
            self._report(f"the wire, process {pid}, {cause(status)}; replaced")
        # Else it had handed over.

    def _recover_wire(self, number: int, asked: bool) -> None:
        """Let the next wire go on where wire `number` ended."""
        wire, manifest = self._incarnations.wire, self._manifest.now
        recover_wire(wire)
        for core, entry in enumerate(manifest.cores):
            if entry.nic:  # the wire ran the NIC's internal core, too
                recover(entry.address, *ring_ends(manifest, core), channels_on(manifest, core))
        add64(wire + WIRE["restarts"], 1)
        release64(wire + WIRE["left"], number)
        if not asked:
            self._standbys.fork_wire()
            release64(wire + WIRE["incarnation"], number + 1)
        self._incarnations.wake_wire()
        if not asked:
            self._standbys.fork_wire()

    def _recover(self, decision: Restart | Recover) -> int:
        """Let the next worker of a core go on where the last one ended; return how many packets that had."""
        core, address = decision.core, self._incarnations.cores[decision.core]
        number = load64(address + CORE["incarnation"])
        manifest = self._manifest.now
        lost = recover(address, *ring_ends(manifest, core), channels_on(manifest, core))
        add64(address + CORE["restarts"], 1)
        if decision.quarantine:
            self.quarantine(decision.quarantine)
        # A dead worker does not hand over: do it in its place.
        if isinstance(decision, Recover):
            release64(address + CORE["left"], number - 1)
        else:
            store64(address + CORE["left"], number)
            self._standbys.fork(core)
            release64(address + CORE["incarnation"], number + 1)
            self._incarnations.wake(core)
            self._standbys.fork(core)
        return lost

    def _stamped(self, pid: int) -> Stamped | None:
        """Return the path that a worker, which has ended, was in, if that path can be to blame for it."""
        if pid in self._blameless:
            self._blameless.discard(pid)
            return None
        core = self._supervisor.cores.get(pid, self._supervisor.retired.get(pid))
        # A standby's core is another's, and so is that of one that had handed over.
        if core is None or load64(self._incarnations.cores[core] + CORE["pid"]) != pid:
            return None
        return path_of(self._manifest.now, load64(self._incarnations.cores[core] + CORE["task"]))

    def kill_workers(self) -> None:
        """Kill all workers, whose zygote has ended: no path is to blame for their ends.

        A wire that runs the NIC's internal core is one of them.
        """
        for pid in self._supervisor.cores:
            self._blameless.add(pid)
            os.kill(pid, signal.SIGKILL)
        if any(core.nic for core in self._manifest.now.cores):
            for pid in self._supervisor.wires:
                os.kill(pid, signal.SIGKILL)

    def expel(self, core: int) -> None:
        """Kill a core's worker, and let the standby go on as soon as that will never run again."""
        pid = self._incarnations.holder(core)
        if pid == 0:
            return
        # Its exit takes milliseconds: move it off the standby's processor.
        take_processor(self._plan.wire_cpu, pid)
        with contextlib.suppress(ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, pid, 19)
            os.kill(pid, signal.SIGKILL)
        # If that takes long, the exit is handled when it is reaped, as any other.
        if pid in self._incarnations.numbers and will_not_run(pid):
            self.exited(pid, -signal.SIGKILL)

    def expel_wire(self) -> None:
        """Kill the wire, and let its standby go on as soon as it will never run again."""
        pid = self._incarnations.wire_holder()
        if pid == 0:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        if pid in self._incarnations.numbers and will_not_run(pid):
            self.exited(pid, -signal.SIGKILL)
