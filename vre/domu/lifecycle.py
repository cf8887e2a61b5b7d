# SPDX-License-Identifier: MIT
"""The domUs of a platform from step to step: started, watched, judged, closed and started again.

What is decided is in :mod:`vre.domu.policy`; this is the shell around it. A domU goes in steps, and each look takes
those that are due: its channels are closed, the workers that used them have finished a slice, what it still had is
counted as lost, it has ended; then it is started again, with memory of its own that is new.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shm.channel import CHANNEL
from shm.escape import escape
from shm.intrinsics import add64, load64, store64
from shm.layout import CORE
from shm.manifest import CurrentManifest
from shm.memfd import renew
from vre.config.model import Model
from vre.domu.accounting import CpuShares
from vre.domu.cpu_shares import Part, Shares, stop_or_go
from vre.domu.policy import (
    DIED,
    DUE,
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
from vre.domu.process import DomuProcess, Log
from vre.domu.zygote import DomuZygote
from vre.errors import PlatformEnded, PlatformError
from vre.supervision.attention import Attention
from vre.supervision.boundary import Boundary
from vre.supervision.cpus import Plan
from vre.supervision.progress import Progress
from vre.supervision.restart_policy import cause

#: Returns that may be refused in a second before the domU is taken to mean it.
BAD_RETURNS = 1000
_TICK_S = 0.1
#: How long a domU that has been killed is waited for: one that the system does not let go of is left behind.
_LONGEST_DEATH_S = 10.0
#: A zygote that ends again and again is started after pauses of up to so many seconds.
_LONGEST_PAUSE_S = 60.0


class DomuLifecycle:
    """Keeps all domUs of one platform going. dom0 never waits for one.

    Parameters
    ----------
    model : Model
    manifest : CurrentManifest
    root : Path
        An empty folder that jails are built at, each seeing its own.
    plan : Plan
        Which processors they run on.
    shares : Shares
        Says what part of them each may have.
    say, report : callable
        Told of progress, and of events.
    """

    def __init__(
        self,
        model: Model,
        manifest: CurrentManifest,
        root: Path,
        plan: Plan,
        shares: Shares,
        say: Callable[[str], None],
        report: Callable[[str], None],
    ) -> None:
        self._parts = CpuShares(model, manifest, plan, shares, report)
        self._model, self._manifest, self._root, self._say, self._report = model, manifest, root, say, report
        self.domus: dict[str, DomuProcess] = {}
        self.tier = model.sandbox
        self._domu_zygote: DomuZygote | None = None
        self._ready = False
        self._slow_look = 0.0
        #: When a zygote that was lost is started again, 0 if there is one; and how many were.
        self._lost, self._losses = 0.0, 0
        #: What deadlines are measured in.
        self._attention = Attention()
        #: What goes wrong with one domU goes wrong with that one only.
        self.boundary = Boundary(report)
        #: Answers what a router's domU asks for, by its router's name.
        self.on_control: Callable[[str, dict[str, Any]], dict[str, Any]] = lambda name, message: {"error": "nobody"}

    # Starting.

    def _start(self, domu: DomuProcess) -> None:
        """Start a domU; one that cannot be started has failed."""
        domu.begun, domu.ready, domu.jailed = self._attention.now, False, False
        domu.ending, domu.cause, domu.unjailed = "", "", ""
        try:
            self._fork(domu)
        except PlatformEnded:
            raise
        except Exception as error:
            self._give_up(domu, "cannot be started", error)

    def _give_up(self, domu: DomuProcess, what: str, error: Exception) -> None:
        """Close a domU that something went wrong with; the others notice nothing."""
        expected = isinstance(error, (OSError, PlatformError))
        said = f"{what}: {error}" if expected else self.boundary.note(what, f"router {domu.name}: its domU", error)
        if domu.closing is None and domu.policy.state in (STARTING, RUNNING):
            self._close(domu, FAILED, escape(said))

    def _fork(self, domu: DomuProcess) -> None:
        """Give a domU fresh memory, and have it forked. Raises OSError, PlatformError."""
        assert self._domu_zygote
        with contextlib.ExitStack() as theirs:
            control, its_control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            domu.control = control
            theirs.callback(its_control.close)
            control.setblocking(False)
            log, its_log = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            domu.log = Log(log)
            theirs.callback(os.close, its_log)
            os.set_blocking(its_log, True)
            memory = [fd for channel in domu.channels for fd in renew(channel)]
            memory += [domu.image.copy()] if domu.image else []
            for fd in memory:
                theirs.callback(os.close, fd)
            for core in self._cores(domu):
                # Workers map it when they look round.
                add64(core + CORE["roster"], 1)
            message = domu.spec() | {"tier": self.tier, "root": str(self._root), "cpus": self._parts.cpus(domu)}
            self._domu_zygote.send(message, [its_control.fileno(), its_log, *memory])
            domu.asked = True

    def _cores(self, domu: DomuProcess) -> list[int]:
        """Return the cores that use a domU's channels now."""
        numbers = {domu.tenant.cores.get(n) for n in range(len(domu.tenant.program.tasks))}
        return [self._manifest.now.cores[n].address for n in sorted(n for n in numbers if n is not None)]

    # Watching.

    def look(self) -> None:
        """Take every step that is due; never wait."""
        now = time.monotonic()
        self._attention.look(now)
        if self._lost:
            self._begin_again(now)
        if not self._ready:
            return
        try:
            self._listen()
        except PlatformError as error:
            self._lose_zygote(now, error)
            return
        slowly = now - self._slow_look >= _TICK_S
        if slowly:
            self._slow_look = now
        for domu in list(self.domus.values()):
            self._guarded(domu, self._look_at, domu, now, slowly)
        if slowly:
            self._parts.keep(self.domus.values(), now)

    def _lose_zygote(self, now: float, error: PlatformError) -> None:
        """Close all domUs: with the zygote all have ended that were forked from it."""
        assert self._domu_zygote
        self._domu_zygote.end()
        self._domu_zygote, self._ready = None, False
        self._losses += 1
        self._lost = now + min(_LONGEST_PAUSE_S, 2.0 ** (self._losses - 1))
        self._report(f"{error}: it is started again")
        for domu in self.domus.values():
            running = domu.asked or domu.keeper
            domu.kill()
            domu.await_end()
            domu.asked = False
            if running and domu.closing is None and not domu.ending:
                self._close(domu, DIED, "ended with the zygote that it came from")

    def _begin_again(self, now: float) -> None:
        """Start the zygote again, a while after it was lost; domUs follow when it is ready."""
        if self._domu_zygote is None and now >= self._lost:
            self._domu_zygote = DomuZygote(self._say)
        try:
            if self._domu_zygote and self._domu_zygote.ready(self.tier):
                self._ready, self._lost = True, 0.0
        except PlatformError as error:
            self._lose_zygote(now, error)

    def _guarded(self, domu: DomuProcess, step: Callable[..., None], *args: Any) -> None:
        """Take a step of one domU's; whatever it raises is that domU's end, and no other's."""
        try:
            step(*args)
        except PlatformEnded:
            raise
        except Exception as error:
            self._give_up(domu, "cannot be looked after", error)

    def _listen(self) -> None:
        assert self._domu_zygote
        for message in self._domu_zygote.messages():
            if "domu" in message:
                domu = self.domus.get(message["domu"])
                if domu:
                    self._guarded(domu, self._forked, domu, message)
            elif "exited" in message:
                domu = next((d for d in self.domus.values() if d.keeper == message["exited"]), None)
                if domu:
                    self._guarded(domu, self._exited, domu, message["status"])

    def _forked(self, domu: DomuProcess, message: dict[str, Any]) -> None:
        domu.keeper, domu.asked = message["keeper"], False
        if "failed" in message:
            domu.unjailed = message["failed"]
            domu.cause = f"cannot be jailed ({domu.unjailed})"
            if not domu.keeper and domu.closing is None:
                self._close(domu, FAILED, domu.cause)
            return
        domu.born(message["pid"])
        domu.begun = self._attention.now
        if domu.closing is not None or domu.ending:
            # It was closed before it had a name to be killed by.
            domu.kill()
        domu.part, domu.share, domu.excess = 0.0, Part(), 0
        self._parts.give(domu)

    def _exited(self, domu: DomuProcess, status: int) -> None:
        # Its last words may say more than its status.
        self._listen_to(domu)
        domu.died()
        hostile = status == -signal.SIGSYS
        event = HOSTILE if hostile else DIED
        why = "made a system call that only an attacker makes" if hostile else cause(status)
        if not domu.ending:
            self._close(domu, event, domu.cause or why)
        elif domu.ending == HUNG and status != -signal.SIGKILL:
            # It had ended by itself: taking its namespaces down takes longer than a deadline.
            domu.ending, domu.cause = event, why
        self._pass_on(domu, ended=True)

    def _look_at(self, domu: DomuProcess, now: float, slowly: bool) -> None:
        state = domu.policy.state
        self._leave_behind(domu)
        if domu.closing is not None:
            self._close_further(domu, now)
            return
        if state == QUARANTINED and now >= domu.policy.until:
            self._again(domu, DUE, now)
        elif state == STARTING:
            self._listen_to(domu)
            # It may be ready before its keeper has said who it is; until then it could be neither stopped nor killed.
            if domu.ready and domu.pid and self._mapped(domu):
                self._open(domu, now)
            elif self._attention.now - domu.begun > domu.tenant.router.domu.start_s:
                self._close(domu, OVERDUE, f"was not ready after {domu.tenant.router.domu.start_s:g} s")
        elif state == RUNNING:
            self._judge(domu, now)
        if state != STARTING and domu.pid:
            self._listen_to(domu)
        if slowly and domu.pid:
            self._pass_on(domu)
            self._parts.charge(domu, now)
            self._parts.give(domu)

    def _leave_behind(self, domu: DomuProcess) -> None:
        """Go on without a domU that was killed long ago and has not ended: it runs no code, but a system call."""
        if not (domu.keeper and (domu.ending or domu.closing is not None)):
            domu.killed = -1.0
        elif domu.killed < 0:
            domu.killed = self._attention.now
        elif self._attention.now - domu.killed > _LONGEST_DEATH_S:
            self._report(f"router {domu.name}: its domU, process {domu.pid}, does not end: it is left behind")
            domu.died()

    def _mapped(self, domu: DomuProcess) -> bool:
        """Return whether the workers that use its channels have mapped their memory."""
        return all(load64(core + CORE["seen_roster"]) == load64(core + CORE["roster"]) for core in self._cores(domu))

    def _open(self, domu: DomuProcess, now: float) -> None:
        domu.policy.on(READY, now)
        domu.kept = True
        domu.progress = Progress(domu.progress.deadline, since=self._attention.now)
        domu.loans = Loans(domu.progress.deadline)
        for channel in domu.channels:
            store64(channel + CHANNEL["open"], 1)
        if domu.policy.restarts and not domu.quiet:
            self._report(f"router {domu.name}: its domU runs again")

    def _judge(self, domu: DomuProcess, now: float) -> None:
        """Look at what dom0 has seen of a domU: verdicts, refused returns, packets that do not come back."""
        seen = domu.seen()
        if seen.hostile:
            self._close(domu, HOSTILE, "set a ring index that no producer can have reached")
            return
        if now - domu.faults_at >= 1 or seen.refused < domu.faults_seen:
            domu.faults_at, domu.faults_seen = now, seen.refused
        elif seen.refused - domu.faults_seen > BAD_RETURNS:
            self._close(domu, HOSTILE, f"returned more than {BAD_RETURNS} packets a second that it did not have")
            return
        domu.schedstat.look(now)
        if domu.share.throttle:
            stop_or_go(domu.share.throttle, domu.pid, now, domu.schedstat.ran_ns)
        # From here on in time in which somebody looked: a platform that was frozen finds nobody late.
        watched = self._attention.now
        if domu.progress.hung(seen.owed, seen.mark, watched, domu.held_up_s, seen.untaken):
            held = watched - domu.progress.since
            self._close(domu, HUNG, f"returned nothing for {held * 1e3:.0f} ms")
        elif domu.loans.overdue(domu.slots, watched, domu.held_up_s):
            most = Loans.MOST * domu.progress.deadline
            self._close(domu, HUNG, f"held packets for longer than {most:g} s")

    # Ending, and beginning again.

    def _close(self, domu: DomuProcess, event: str, why: str) -> None:
        """Close its channels at once; all else follows step by step."""
        for channel in domu.channels:
            store64(channel + CHANNEL["open"], 0)
        domu.ending, domu.cause = event, why
        domu.serial, domu.noticed = domu.serial + 1, self._attention.now - domu.progress.since
        domu.closing = [(core + CORE["heartbeat"], load64(core + CORE["heartbeat"])) for core in self._cores(domu)]
        domu.kill()

    def _close_further(self, domu: DomuProcess, now: float) -> None:
        assert domu.closing is not None
        if any(load64(word) == before for word, before in domu.closing) or domu.keeper or domu.asked:
            return
        domu.closing = None
        lost = domu.let_go()
        # One that a change brought and that has never run is not tried again: the change is refused.
        state = domu.policy.on(domu.ending if domu.kept else STOP, now)
        if not domu.kept:
            return
        follows = "it is started again" if state == STARTING else f"quarantined {domu.until(now)}"
        if not domu.quiet:
            self._report(f"router {domu.name}: its domU {domu.cause}; {lost} packets lost; {follows}")
        if state == STARTING:
            self._start(domu)

    def _again(self, domu: DomuProcess, event: str, now: float) -> None:
        domu.policy.on(event, now)
        self._start(domu)

    # What it says, and what it costs.

    def _listen_to(self, domu: DomuProcess) -> None:
        domu.messages(2, lambda message: self._answer(domu, message))

    def _answer(self, domu: DomuProcess, message: dict[str, Any]) -> dict[str, Any] | None:
        if domu.policy.state == STARTING:
            if message.get("ready") is True:
                domu.ready = True
            elif message.get("jailed") is True:
                domu.jailed = True
            elif "unjailed" in message and not domu.jailed:
                # None of its code has run: it is the host that says so.
                domu.unjailed = escape(str(message["unjailed"]))
                self._close(domu, FAILED, f"cannot be jailed ({domu.unjailed})")
            elif "failed" in message and domu.closing is None:
                self._close(domu, FAILED, f"cannot load its elements: {escape(str(message['failed']))}")
            return None
        return self.on_control(domu.name, message)

    def _pass_on(self, domu: DomuProcess, ended: bool = False) -> None:
        for line in domu.log.lines(ended) if domu.log else ():
            self._report(f"router {domu.name}: its domU says: {line}")
