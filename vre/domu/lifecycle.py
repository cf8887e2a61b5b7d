# SPDX-License-Identifier: MIT
"""The domUs of a platform from step to step: started, watched, judged, closed and started again.

What is decided is in :mod:`vre.domu.policy` and :mod:`vre.domu.judgement`; this is the shell around it. A domU goes in
steps, and each look takes those that are due: its channels are closed, the workers that used them have finished a
slice, what it still had is counted as lost, it has ended; then it is started again, with memory of its own that is new.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shm.escape import escape
from shm.intrinsics import add64, load64
from shm.layout import CORE
from shm.manifest import CurrentManifest
from vre.domu.accounting import CpuShares
from vre.domu.cpu_shares import Part, stop_or_go
from vre.domu.fork import fork
from vre.domu.judgement import judge
from vre.domu.policy import (
    DIED,
    DUE,
    ENDED,
    FAILED,
    HOSTILE,
    HUNG,
    OVERDUE,
    QUARANTINED,
    READY,
    RUNNING,
    STARTING,
    STOP,
    Loans,
)
from vre.domu.process import DomuProcess
from vre.domu.ration import Ration
from vre.domu.supervised_zygote import SupervisedZygote
from vre.errors import PlatformEnded, PlatformError
from vre.supervision.attention import Attention
from vre.supervision.boundary import Boundary
from vre.supervision.progress import Progress
from vre.supervision.restart_policy import cause
from workers.zygote.domu_messages import Exited, Forked, FromZygote, Unforked

_TICK_S = 0.1
#: Messages of one domU that a look handles.
_MESSAGES = 2
#: How long a killed domU is waited for; one that hangs in the kernel longer is abandoned.
_LONGEST_DEATH_S = 10.0


class DomuLifecycle:
    """Keeps all domUs of one platform running. dom0 never waits for one.

    Parameters
    ----------
    manifest : CurrentManifest
        Says where the cores are that use their channels.
    root : Path
        An empty folder that jails are mounted on, each in its own mount namespace.
    tier : str
        The tier of their jail.
    zygote : SupervisedZygote
        What they are forked from.
    cpu_shares : CpuShares
        Which processors they run on, and what part of them each may have.
    boundary : Boundary
        What goes wrong with one domU goes wrong with that one only.
    report : callable
        Told of events.
    answer : callable
        Answers a domU's request, given its router's name.

    Attributes
    ----------
    domus : dict of str to DomuProcess
        By their key.
    attention : Attention
        The clock of deadlines.
    """

    def __init__(
        self,
        manifest: CurrentManifest,
        root: Path,
        tier: str,
        zygote: SupervisedZygote,
        cpu_shares: CpuShares,
        boundary: Boundary,
        report: Callable[[str], None],
        answer: Callable[[str, dict[str, Any]], dict[str, Any]],
    ) -> None:
        self._manifest, self._root, self._tier, self._zygote = manifest, root, tier, zygote
        self._cpu_shares, self._boundary, self._report, self._reply = cpu_shares, boundary, report, answer
        self.domus: dict[str, DomuProcess] = {}
        self._slow_look = 0.0
        self.attention = Attention()

    # Starting.

    def enter(self, domu: DomuProcess) -> None:
        """Supervise a domU from now on, and start it."""
        domu.progress.deadline = domu.memory.router.domu.deadline_ns / 1e9
        self.domus[domu.key] = domu
        self._start(domu)

    def again(self, domu: DomuProcess, event: str, now: float) -> None:
        """Start a domU that was quarantined again, for that `event`."""
        domu.policy.on(event, now)
        self._start(domu)

    def _start(self, domu: DomuProcess) -> None:
        """Start a domU; one that cannot be started has failed."""
        domu.begun, domu.ready, domu.jailed = self.attention.now, False, False
        domu.ending, domu.cause, domu.unjailed = "", "", ""
        try:
            spec = domu.spec(self._tier, str(self._root), self._cpu_shares.cpus(domu))
            fork(domu, spec, lambda: self._remap(domu), self._zygote.send)
        except PlatformEnded:
            raise
        except Exception as error:
            self._give_up(domu, "cannot be started", error)

    def _remap(self, domu: DomuProcess) -> None:
        """Let the workers that use a domU's channels map their memory when they look at their run queues next."""
        for core in self.cores(domu):
            add64(core + CORE["roster"], 1)

    def _give_up(self, domu: DomuProcess, what: str, error: Exception) -> None:
        """Close a domU after a fault in handling it; the others are not affected."""
        expected = isinstance(error, (OSError, PlatformError))
        said = f"{what}: {error}" if expected else self._boundary.note(what, f"router {domu.name}: its domU", error)
        if domu.closing is None and domu.policy.state in (STARTING, RUNNING):
            self.close(domu, FAILED, escape(said))

    def cores(self, domu: DomuProcess) -> list[int]:
        """Return the cores whose tasks use a domU's channels now."""
        numbers = {domu.memory.cores.get(n) for n in range(len(domu.memory.program.tasks))}
        return [self._manifest.now.cores[n].address for n in sorted(n for n in numbers if n is not None)]

    # Watching.

    def look(self) -> None:
        """Take every step that is due, without blocking."""
        now = time.monotonic()
        self.attention.look(now)
        messages, lost = self._zygote.look(now)
        for message in messages:
            self._hear(message)
        if lost:
            self._orphan()
        if not self._zygote.ready:
            return
        slowly = now - self._slow_look >= _TICK_S
        if slowly:
            self._slow_look = now
        for domu in list(self.domus.values()):
            self.guarded(domu, self._look_at, domu, now, slowly)
        if slowly:
            self._cpu_shares.keep(self.domus.values(), now)

    def _orphan(self) -> None:
        """Close all domUs: they have ended with the zygote that they were forked from."""
        for domu in self.domus.values():
            running = domu.asked or domu.monitor
            domu.kill()
            domu.await_end()
            domu.asked = False
            if running and domu.closing is None and not domu.ending:
                self.close(domu, DIED, "ended with its zygote")

    def guarded(self, domu: DomuProcess, step: Callable[..., None], *args: Any) -> None:
        """Take a step of one domU; an exception closes that domU, and no other."""
        try:
            step(*args)
        except PlatformEnded:
            raise
        except Exception as error:
            self._give_up(domu, "cannot be supervised", error)

    def _hear(self, message: FromZygote) -> None:
        """Act on what the zygote says: a domU has been forked, or has ended."""
        if isinstance(message, Forked | Unforked):
            domu = self.domus.get(message.domu)
            if domu:
                self.guarded(domu, self._forked, domu, message)
        elif isinstance(message, Exited):
            domu = next((d for d in self.domus.values() if d.monitor == message.monitor), None)
            if domu:
                self.guarded(domu, self._exited, domu, message.status)

    def _forked(self, domu: DomuProcess, message: Forked | Unforked) -> None:
        domu.monitor, domu.asked = message.monitor, False
        if isinstance(message, Unforked):
            domu.unjailed = message.why
            domu.cause = f"cannot be jailed ({domu.unjailed})"
            if not domu.monitor and domu.closing is None:
                self.close(domu, FAILED, domu.cause)
            return
        domu.born(message.pid)
        domu.begun = self.attention.now
        if domu.closing is not None or domu.ending:
            # It was closed before its process id was known.
            domu.kill()
        domu.part, domu.share, domu.excess = 0.0, Part(), 0
        self._cpu_shares.give(domu)

    def _exited(self, domu: DomuProcess, status: int) -> None:
        # Its last messages may say more than its status.
        domu.ration = Ration()
        self._listen_to(domu)
        domu.died()
        hostile = status == -signal.SIGSYS
        event = HOSTILE if hostile else DIED
        why = "made a system call that only an attacker makes" if hostile else cause(status)
        if not domu.ending:
            self.close(domu, event, domu.cause or why)
        elif domu.ending == HUNG and status != -signal.SIGKILL:
            # It ended by itself; taking down its namespaces may outlast the deadline.
            domu.ending, domu.cause = event, why
        self.pass_on(domu, ended=True)

    def _look_at(self, domu: DomuProcess, now: float, slowly: bool) -> None:
        state = domu.policy.state
        self._leave_behind(domu)
        if domu.closing is not None:
            self.close_further(domu, now)
            return
        if state == QUARANTINED and now >= domu.policy.until:
            self.again(domu, DUE, now)
        elif state == STARTING:
            self._await_ready(domu, now)
        elif state == RUNNING:
            self._judge(domu, now)
        if state != STARTING and domu.pid:
            self._listen_to(domu)
        if slowly and domu.pid:
            self.pass_on(domu)
            self._cpu_shares.charge(domu, now)
            self._cpu_shares.give(domu)

    def _await_ready(self, domu: DomuProcess, now: float) -> None:
        """Open the channels of a starting domU once it can be given packets."""
        self._listen_to(domu)
        if domu.closing is not None:
            return  # for what it has just said
        # It may be ready before its monitor reports its process id; until then it cannot be stopped or killed.
        if domu.ready and domu.pid and self._mapped(domu):
            self._open(domu, now)
        elif self.attention.now - domu.begun > domu.memory.router.domu.start_s:
            self.close(domu, OVERDUE, f"was not ready after {domu.memory.router.domu.start_s:g} s")

    def _leave_behind(self, domu: DomuProcess) -> None:
        """Abandon a domU that was killed long ago and has not ended: it runs no code but a system call."""
        if not (domu.monitor and (domu.ending or domu.closing is not None)):
            domu.killed = -1.0
        elif domu.killed < 0:
            domu.killed = self.attention.now
        elif self.attention.now - domu.killed > _LONGEST_DEATH_S:
            self._report(f"router {domu.name}: its domU, process {domu.pid}, does not end: it is abandoned")
            domu.died()

    def _mapped(self, domu: DomuProcess) -> bool:
        """Return whether the workers that use its channels have mapped their memory."""
        return all(load64(core + CORE["seen_roster"]) == load64(core + CORE["roster"]) for core in self.cores(domu))

    def _open(self, domu: DomuProcess, now: float) -> None:
        domu.open_channels()
        domu.policy.on(READY, now)
        domu.kept = True
        domu.progress = Progress(domu.progress.deadline, since=self.attention.now)
        domu.loans = Loans(domu.progress.deadline)
        if domu.policy.restarts and not domu.quiet:
            self._report(f"router {domu.name}: its domU runs again")

    def _judge(self, domu: DomuProcess, now: float) -> None:
        """Keep a domU to its share, and close it if dom0 has seen that it must be."""
        domu.schedstat.look(now)
        if domu.share.throttle:
            stop_or_go(domu.share.throttle, domu.pid, now, domu.schedstat.ran_ns)
        verdict = judge(domu, now, self.attention.now)
        if verdict:
            self.close(domu, *verdict)

    # Ending, and beginning again.

    def close(self, domu: DomuProcess, event: str, why: str) -> None:
        """Close its channels at once; the rest follows in steps: :meth:`close_further`."""
        domu.close_channels()
        domu.ending, domu.cause = event, why
        domu.serial, domu.noticed = domu.serial + 1, self.attention.now - domu.progress.since
        domu.closing = [(core + CORE["heartbeat"], load64(core + CORE["heartbeat"])) for core in self.cores(domu)]
        domu.kill()

    def close_further(self, domu: DomuProcess, now: float) -> None:
        """Count what a closed domU still had as lost, once it has ended and no worker is in its channels; go on."""
        if domu.closing is None or domu.monitor or domu.asked:
            return
        if any(load64(word) == before for word, before in domu.closing):
            return
        domu.closing = None
        lost = domu.let_go()
        # If a change brought it and it has never run, it is not tried again: the change is refused.
        state = domu.policy.on(domu.ending if domu.kept else STOP, now)
        if state == ENDED:
            return
        follows = "it is started again" if state == STARTING else f"quarantined {domu.until(now)}"
        if not domu.quiet:
            self._report(f"router {domu.name}: its domU {domu.cause}; {lost} packets lost; {follows}")
        if state == STARTING:
            self._start(domu)

    # Its messages, and its processor time.

    def _listen_to(self, domu: DomuProcess) -> None:
        for _ in range(_MESSAGES):
            if domu.ration.due(time.monotonic()):
                domu.messages(1, lambda message: self._answer(domu, message))

    def _answer(self, domu: DomuProcess, message: dict[str, Any]) -> dict[str, Any] | None:
        if domu.closing is not None:
            return None  # it has been ended already
        if domu.policy.state == STARTING:
            if message.get("ready") is True:
                domu.ready = True
            elif message.get("jailed") is True:
                domu.jailed = True
            elif "unjailed" in message and not domu.jailed:
                # None of its code has run: this is the host's report.
                domu.unjailed = escape(str(message["unjailed"]))
                self.close(domu, FAILED, f"cannot be jailed ({domu.unjailed})")
            elif "failed" in message:
                self.close(domu, FAILED, f"cannot load its elements: {escape(str(message['failed']))}")
            return None
        begun = time.thread_time()
        try:
            return self._reply(domu.name, message)
        finally:
            domu.ration.spent(time.thread_time() - begun, time.monotonic(), len(self.domus))

    def pass_on(self, domu: DomuProcess, ended: bool = False) -> None:
        """Report what a domU has written to its log; all of it if it has `ended`."""
        for line in domu.log.lines(ended) if domu.log else ():
            self._report(f"router {domu.name}: its domU says: {line}")
