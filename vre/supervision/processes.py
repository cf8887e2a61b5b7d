# SPDX-License-Identifier: MIT
"""The processes of a platform: a zygote, a worker per core, a wire. Starts, replaces and ends them."""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from shm.intrinsics import load64, store64
from shm.layout import CORE
from shm.manifest import CurrentManifest, Manifest
from shm.wire_layout import WIRE
from vre.errors import PlatformEnded, PlatformError
from vre.supervision.capture_writers import CaptureWriters
from vre.supervision.children import Children
from vre.supervision.control_processes import ControlProcesses
from vre.supervision.cpus import Plan
from vre.supervision.exits import Exits
from vre.supervision.incarnations import Incarnations
from vre.supervision.restart_policy import Supervisor, cause
from vre.supervision.standbys import Standbys
from vre.supervision.zygote_link import ZygoteLink
from workers.zygote import messages

Say = Callable[[str], None]
#: How long processes may take to end by themselves before they are killed.
_GRACE_S = 1.0
#: How long a core, or the wire, may take to come to the end of a slice: the watchdog is much faster.
_QUIESCE_S = 10.0
#: How long the zygote may be silent while it compiles.
_SILENT_S = 300.0
#: Period at which workers and domUs are checked.
_LOOK_S = 0.005


class ProcessGroup:
    """The processes of one platform: its :class:`vre.platform.engine.Engine` in real time.

    Parameters
    ----------
    manifest : CurrentManifest
    plan : Plan
        Which processor runs what.
    say, report : callable
        Told of progress, and of events.
    descriptors : sequence of int
        What every process inherits: of links out of the platform.
    """

    def __init__(
        self, manifest: CurrentManifest, plan: Plan, say: Say, report: Say, descriptors: Sequence[int] = ()
    ) -> None:
        self.manifest, self.plan, self._say, self._report = manifest, plan, say, report
        #: The manifest that the processes have, as text: a zygote that is started again gets the same.
        self._served = ""
        self._descriptors = list(descriptors)
        self._launched = self._changing = False
        #: Called every _LOOK_S.
        self.watch: Callable[[], None] = lambda: None
        #: Wakes when a message has come or a process has ended.
        self._poll = select.poll()
        self.link, self._children = ZygoteLink(self._poll, say), Children(self._poll)
        self.supervisor = Supervisor()
        self.incarnations = Incarnations(manifest, self.supervisor)
        self.standbys = Standbys(
            self.incarnations, self.supervisor, plan, self.link.send, lambda seconds: self.tend(seconds), report
        )
        self.exits = Exits(manifest, plan, self.supervisor, self.incarnations, self.standbys, report)
        self._writers = CaptureWriters(manifest, self.link.send)
        self._controls = ControlProcesses(manifest, self.link.send, report)

    def launch(self, path: Path) -> None:
        """Start the zygote, and from it all workers and the wire."""
        self._served = path.read_text()
        self.link.start(self._descriptors)
        self.link.send(messages.Start(str(path), self.plan.wire_cpu))
        self._await_ready()
        self._writers.start(self.plan.wire_cpu)
        self._controls.start()
        self.standbys.start()
        self.standbys.take_over()
        beats = [core + CORE["heartbeat"] for core in self.incarnations.cores]
        while not (all(load64(beat) for beat in beats) and load64(self.incarnations.wire + WIRE["pid"])):
            self.tend(0.002)
        self.standbys.keep()
        self._launched = True

    def change(self, path: Path) -> None:
        """Replace the workers and the wire by new ones, which have another manifest."""
        text = path.read_text()
        self._changing = True
        try:
            self.link.send(messages.Change(str(path)))
            self._await_ready()
            self.standbys.dismiss()
            self.standbys.start()
        finally:
            self._changing = False
        self._served = text
        self.standbys.take_over()
        self.standbys.keep()

    # Time.

    @staticmethod
    def now() -> float:
        """Return the time in seconds."""
        return time.monotonic()

    def tend(self, seconds: float) -> None:
        """Supervise for some time: the only way that time passes for the platform's own process."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._listen(min(left, _LOOK_S))
            self.standbys.ask_again()
            self._controls.ask_again()
            self.watch()

    def quiesce(self, counters: list[int], steps: int) -> None:
        """Wait until each of some counters in shared memory has advanced by `steps`."""
        before = [load64(counter) for counter in counters]
        self.nudge()
        end = time.monotonic() + _QUIESCE_S
        while any(load64(c) < b + steps for c, b in zip(counters, before, strict=True)):
            if time.monotonic() >= end:
                raise PlatformError(f"cores or wire did not finish a slice within {_QUIESCE_S:g} s")
            self.tend(0.0002)

    def _await_ready(self) -> None:
        """Wait until the zygote is ready. A zygote that is silent for too long is killed, which ends the wait."""
        heard, ready = time.monotonic(), False
        while not ready:
            heard_now = self._listen(_LOOK_S)
            ready = messages.Ready() in heard_now
            heard = time.monotonic() if heard_now else heard
            if time.monotonic() - heard > _SILENT_S:
                self.link.kill()
            self.watch()

    # What the zygote says, and what ends.

    def _listen(self, timeout: float) -> list[messages.FromZygote]:
        """Wait for messages or a process's end, for at most `timeout` seconds; act on them, and return the messages."""
        self.link.overhear()
        received = self.link.receive({fd for fd, _ in self._poll.poll(max(timeout * 1e3, 0.1))})
        if received is None:
            self._lose_zygote()
            return []
        for message in received:
            self._handle(message)
        for pid, status in self._children.ended():
            if self._writers.ended(pid, status) or self._controls.ended(pid, status):
                continue
            if pid in self.incarnations.numbers:
                self.exits.exited(pid, status)
        return received

    def _handle(self, message: messages.FromZygote) -> None:
        match message:
            case messages.Progress(text):
                self._say(text)
            case messages.Calibrated(ns_per_tick):
                self.manifest.now = replace(self.manifest.now, ns_per_tick=ns_per_tick)
            case messages.Failed(why):
                # Without a change in progress, it is a zygote that cannot be started again.
                kind = PlatformEnded if self._launched and not self._changing else PlatformError
                raise kind(f"cannot start: {why}")
            case messages.Forked(pid, asked):
                self._forked(pid, asked)
            case messages.Unforked(_, asked) if asked.kind == "control":
                self._controls.not_forked(asked.place)
            case messages.Unforked(why, asked):
                self.standbys.not_forked(why, asked)

    def _forked(self, pid: int, asked: messages.Fork) -> None:
        self._children.watch(pid)
        if asked.kind == "capture":
            self._writers.forked(pid, asked.place)
            return
        if asked.kind == "control":
            self._controls.forked(pid, asked.place)
            return
        self.standbys.forked()
        self.incarnations.numbers[pid] = asked.number
        self.supervisor.forked(pid, asked.place if asked.kind == "core" else None)

    def _lose_zygote(self) -> None:
        """Restart the zygote, which has ended: the wire goes on meanwhile, and the next workers come later.

        Raises PlatformError if a change needs the zygote, PlatformEnded if the platform cannot go on.
        """
        status = self.link.detach()
        if self.supervisor.stopping:
            return  # it is not needed any more
        why = f"the zygote process {cause(status)}"
        decision = self.supervisor.zygote_ended(status, time.monotonic())
        if decision or not self._launched:
            raise PlatformEnded(decision.reason if decision else why)
        self._report(f"{why}; it is started again")
        # The next zygote has the code at other addresses and writes these into tasks: no old worker may run then.
        self.exits.kill_workers()
        with open(os.memfd_create("manifest"), "w+") as manifest:
            known = replace(Manifest.from_json(self._served), ns_per_tick=self.manifest.now.ns_per_tick)
            manifest.write(known.to_json())
            manifest.flush()
            try:
                self.link.start([manifest.fileno(), *self._descriptors])
            except OSError as error:
                raise PlatformEnded(f"{why}, and cannot be started again: {error.strerror}") from None
            self.link.send(messages.Start(f"/proc/self/fd/{manifest.fileno()}", self.plan.wire_cpu, again=True))
        self.standbys.ask_for_missing()
        if self._changing:
            raise PlatformError(f"{why}: try again")

    # Which process has which core.

    def pid(self, core: int) -> int:
        """Return the worker of a core, 0 while it has none; the NIC's internal core never has one."""
        return self.incarnations.pid(core)

    def holder(self, core: int) -> int:
        """Return the worker that holds a core; one that was asked to hand over holds it until it does. 0 for none."""
        return self.incarnations.holder(core)

    def wire_holder(self) -> int:
        """Return the wire process, the next one while it is to take over, 0 for none."""
        return self.incarnations.wire_holder()

    def nudge(self) -> None:
        """Wake idle workers, which may have a task now."""
        self.incarnations.nudge()

    # Ending.

    def expel(self, core: int) -> None:
        """Kill a core's worker, and let the standby take over once the worker cannot run again."""
        self.exits.expel(core)

    def expel_wire(self) -> None:
        """Kill the wire, and let the standby take over once the wire cannot run again."""
        self.exits.expel_wire()

    def halt(self) -> None:
        """Stop cores and wire: from then on no packet moves."""
        self.supervisor.stopping = True
        self._controls.stop()
        with contextlib.suppress(PlatformError):
            self.standbys.dismiss()
        for core in self.incarnations.cores:
            store64(core + CORE["stop"], 1)
        end = time.monotonic() + _GRACE_S
        with contextlib.suppress(PlatformError):
            while self.supervisor.cores and time.monotonic() < end:
                self.tend(0.005)
            store64(self.incarnations.wire + WIRE["stop"], 1)
            while self.supervisor.wires and time.monotonic() < end:
                self.tend(0.005)
        self._writers.finish(self.tend)

    def end(self) -> None:
        """Kill what is left."""
        self.link.end()
        self._children.end(_GRACE_S)
        self.link.reap(_GRACE_S)
