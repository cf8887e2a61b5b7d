# SPDX-License-Identifier: MIT
"""The domUs of a platform: started, watched, judged and replaced. dom0 never waits for one.

What is decided is in :mod:`vre.domu_policy`; this is the shell around it. A domU goes in steps, and each look takes
those that are due: its channels are closed, the workers that used them have finished a slice, what it still had is
counted as lost, it has ended; then it is started again, with memory of its own that is new.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shm.channel import CHANNEL, FAULTS, reset
from shm.layout import CLIENT, CORE
from shm.memfd import release, renew
from shm.memory import acquire64, load64, store64
from vre.domu_policy import (
    DIED,
    DUE,
    ENDED,
    FAILED,
    HOSTILE,
    HUNG,
    OVERDUE,
    QUARANTINED,
    READY,
    RELEASED,
    RUNNING,
    STARTING,
    STOP,
    Policy,
    Progress,
)
from vre.errors import ConfigError, PlatformError, Problem
from vre.model import Model
from vre.shares import Shares, weight_of
from vre.supervisor import cause
from vre.tenant import Tenant
from workers.domu_zygote import MESSAGE
from workers.jail import FIRST_UID

#: Returns that may be refused in a second before the domU is taken to mean it.
BAD_RETURNS = 1000
#: Bytes of a domU's log that are read at a look, and lines of it that are kept in a second.
_LOG_BYTES, _LOG_LINES = 65536, 20
_LONGEST_LINE = 200
_TICK_S = 0.1


@dataclass
class Domu:
    """One router's domU."""

    tenant: Tenant
    uid: int | None
    policy: Policy = field(default_factory=Policy)
    progress: Progress = field(default_factory=lambda: Progress(0.05))
    pid: int = 0
    keeper: int = 0
    pidfd: int = -1
    control: socket.socket | None = None
    log: int = -1
    begun: float = 0.0  # when it was started
    ready: bool = False  # it has said that its elements are loaded
    proven: bool = False  # it has run
    quiet: bool = False  # it is closed because somebody asks for it
    closing: list[tuple[int, int]] | None = None  # words in shared memory that must go on, and from where
    ending: str = ""  # why it is being ended, until it has
    cpu_ns: int = 0  # of all its incarnations
    cause: str = ""
    serial: int = 0  # counts how often it has been closed
    noticed: float = 0.0  # seconds from the last sign of life to the last close
    _cpu_seen: int = 0
    _faults_seen: int = 0
    _faults_at: float = 0.0
    _unread: bytes = b""
    _lines: int = 0
    _hidden: int = 0
    _lines_at: float = 0.0

    @property
    def channels(self) -> list[int]:
        """Addresses of its channels."""
        return list(self.tenant.program.channels.values())

    def scheduled(self) -> tuple[int, float]:
        """Return how long it has run, in ns, and waited for a processor, in s: the kernel says so, not the domU."""
        try:
            ran, waited, _ = Path(f"/proc/{self.pid}/schedstat").read_text().split()
        except (OSError, ValueError):
            return self._cpu_seen, 0.0
        return int(ran), int(waited) / 1e9


class Domus:
    """All domUs of one platform.

    Parameters
    ----------
    model : Model
    manifest : dict
    root : Path
        An empty folder that jails are built at, each seeing its own.
    cpus : tuple of int
        Processors that domUs run on.
    shares : Shares
        Says what part of them each may have.
    say, report : callable
        Told of progress, and of events.
    """

    def __init__(
        self,
        model: Model,
        manifest: dict[str, Any],
        root: Path,
        cpus: tuple[int, ...],
        shares: Shares,
        say: Callable[[str], None],
        report: Callable[[str], None],
    ) -> None:
        self._cpus, self.shares = cpus, shares
        self._model, self._manifest, self._root, self._say, self._report = model, manifest, root, say, report
        self.domus: dict[str, Domu] = {}
        self.tier = model.sandbox
        self._zygote: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._started: dict[str, dict[str, Any]] = {}
        self._slow_look = 0.0
        self.on_control: Callable[[str, dict[str, Any]], dict[str, Any]] | None = None

    # Starting.

    def launch(self, tenants: list[Tenant], wait: Callable[[float], None]) -> None:
        """Start the domUs of routers that have untrusted elements; return when their elements are loaded.

        Raises
        ------
        ConfigError
            An element's file cannot be loaded.
        PlatformError
            This host cannot jail it.
        """
        tenants = [tenant for tenant in tenants if tenant.program.channels]
        if not tenants:
            return
        if self._zygote is None:
            self._start_zygote()
        for tenant in tenants:
            domu = Domu(tenant, FIRST_UID + tenant.index if os.geteuid() == 0 else None)
            domu.progress.deadline = tenant.router.domu.deadline_ns / 1e9
            self.domus[tenant.name] = domu
            self._start(domu)
        problems = []
        for tenant in tenants:
            domu = self.domus[tenant.name]
            while domu.policy.state == STARTING and not domu.cause:
                wait(0.005)
            if domu.cause:
                problems.append(self._problem(domu))
        if problems:
            raise ConfigError(problems)

    def _problem(self, domu: Domu) -> Problem:
        node = next(node for node in domu.tenant.program.graph.nodes if node.cls.driver == "domu")
        return Problem(node.where, f"router '{domu.tenant.name}': its domU {domu.cause}")

    def _start_zygote(self) -> None:
        self._say("starting the zygote of domUs")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", "workers.domu_zygote", str(theirs.fileno()), str(os.getpid())]
        keep = {k: v for k, v in os.environ.items() if k in ("PATH", "PYTHONPATH", "VRE_CACHE", "HOME", "LANG")}
        threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
        self._zygote = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, env=keep | threads
        )
        theirs.close()
        self._channel = ours
        ours.settimeout(60)
        try:
            answer = json.loads(ours.recv(MESSAGE) or b"{}")
        except (TimeoutError, OSError):
            answer = {}
        if not answer.get("ready"):
            raise PlatformError("the zygote of domUs does not start")
        if not answer["filter"] and self.tier != "unsafe":
            raise PlatformError(
                "this host cannot filter system calls, so untrusted elements cannot be jailed: install libseccomp "
                "(Debian: libseccomp2), or run with --unsafe-trust-elements"
            )
        ours.setblocking(False)

    def _start(self, domu: Domu) -> None:
        """Give a domU fresh memory, and have it forked."""
        assert self._channel
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        log, theirs_log = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(theirs_log, True)
        descriptors = [theirs.fileno(), theirs_log]
        for channel in domu.channels:
            descriptors += renew(channel)
        for core in self._cores(domu):
            # Workers map it when they look round.
            store64(core + CORE["roster"], load64(core + CORE["roster"]) + 1)
        graph = domu.tenant.program.graph
        clusters = [node.values["cluster"] for node in graph.nodes if node.cls.driver == "domu"]
        sources = sorted({element["file"] for cluster in clusters for element in cluster["elements"]})
        clusters = json.loads(json.dumps(clusters))
        for cluster in clusters:
            for element in cluster["elements"]:
                element["source"] = sources.index(element.pop("file"))
        message = {
            "domu": domu.tenant.name,
            "tier": self.tier,
            "uid": domu.uid,
            "root": str(self._root),
            "memory": domu.tenant.router.domu.memory,
            "sources": sources,
            "clusters": clusters,
            "cpus": self._cpus,
        }
        domu.begun, domu.ready, domu.ending, domu.cause = time.monotonic(), False, "", ""
        domu.control, domu.log = ours, log
        with contextlib.suppress(OSError):
            socket.send_fds(self._channel, [json.dumps(message).encode()], descriptors)
        theirs.close()
        for fd in descriptors[1:]:
            os.close(fd)

    def _cores(self, domu: Domu) -> list[int]:
        """Return the cores that use a domU's channels now."""
        numbers = {domu.tenant.cores.get(n) for n in range(len(domu.tenant.program.tasks))}
        return [self._manifest["cores"][n]["address"] for n in sorted(n for n in numbers if n is not None)]

    # Watching.

    def look(self) -> None:
        """Take every step that is due; never wait."""
        if self._zygote is None:
            return
        self._listen()
        now = time.monotonic()
        slowly = now - self._slow_look >= _TICK_S
        if slowly:
            self._slow_look = now
        for domu in list(self.domus.values()):
            self._look_at(domu, now, slowly)

    def _listen(self) -> None:
        assert self._channel
        while True:
            try:
                data = self._channel.recv(MESSAGE)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                raise PlatformError("the zygote of domUs has ended")
            message = json.loads(data)
            if "domu" in message:
                self._forked(message)
            elif "exited" in message:
                self._exited(message["exited"], message["status"])

    def _forked(self, message: dict[str, Any]) -> None:
        domu = self.domus.get(message["domu"])
        if domu is None:
            return
        domu.keeper = message["keeper"]
        if "failed" in message:
            domu.cause = f"cannot be jailed ({message['failed']})"
            return
        domu.pid, domu._cpu_seen = message["pid"], 0
        with contextlib.suppress(OSError):
            domu.pidfd = os.pidfd_open(domu.pid)
        routers = self._model.routers
        entitled = routers[domu.tenant.name].entitlement / sum(r.entitlement for r in routers.values())
        self.shares.give(domu.tenant.name, domu.pid, weight_of(entitled))

    def _exited(self, keeper: int, status: int) -> None:
        domu = next((d for d in self.domus.values() if d.keeper == keeper), None)
        if domu is None:
            return
        domu.keeper = domu.pid = 0
        if domu.pidfd >= 0:
            os.close(domu.pidfd)
            domu.pidfd = -1
        if not domu.ending:
            hostile = status == -signal.SIGSYS
            said = "made a system call that only an attacker makes" if hostile else cause(status)
            self._close(domu, HOSTILE if hostile else DIED, domu.cause or said)
        self._drain_log(domu, time.monotonic())

    def _look_at(self, domu: Domu, now: float, slowly: bool) -> None:
        state = domu.policy.state
        if domu.closing is not None:
            self._close_further(domu, now)
            return
        if state == QUARANTINED and now >= domu.policy.until:
            self._again(domu, DUE, now)
        elif state == STARTING:
            self._read_control(domu)
            if domu.ready and self._mapped(domu):
                self._open(domu, now)
            elif now - domu.begun > domu.tenant.router.domu.start_s:
                self._close(domu, OVERDUE, f"was not ready after {domu.tenant.router.domu.start_s:g} s")
        elif state == RUNNING:
            self._judge(domu, now)
        if slowly and domu.pid:
            self._read_control(domu)
            self._drain_log(domu, now)
            self._charge(domu)

    def _mapped(self, domu: Domu) -> bool:
        """Return whether the workers that use its channels have mapped their memory."""
        return all(load64(core + CORE["seen_roster"]) == load64(core + CORE["roster"]) for core in self._cores(domu))

    def _open(self, domu: Domu, now: float) -> None:
        domu.policy.on(READY, now)
        domu.proven = True
        domu.progress.since = now
        for channel in domu.channels:
            store64(channel + CHANNEL["open"], 1)
        if domu.policy.restarts and not domu.quiet:
            self._report(f"router {domu.tenant.name}: its domU runs again")

    def _judge(self, domu: Domu, now: float) -> None:
        """Look at what dom0 has seen of a domU: verdicts, refused returns, packets that do not come back."""
        owed, mark, refused = False, 0, 0
        for channel in domu.channels:
            if load64(channel + CHANNEL["verdict"]):
                self._close(domu, HOSTILE, "set a ring index that no producer can have reached")
                return
            tail = load64(channel + CHANNEL["tail"])
            out = load64(channel + CHANNEL["head"]) - tail - load64(channel + CHANNEL["gifts"])
            # Where returns wait for dom0, it is not the domU that is late.
            owed |= out > 0 and acquire64(load64(channel + CHANNEL["up"])) == tail
            mark += tail
            refused += sum(load64(channel + CHANNEL["faults"] + 8 * i) for i in range(len(FAULTS)))
        if now - domu._faults_at >= 1 or refused < domu._faults_seen:
            domu._faults_at, domu._faults_seen = now, refused
        elif refused - domu._faults_seen > BAD_RETURNS:
            self._close(domu, HOSTILE, f"returned more than {BAD_RETURNS} packets a second that it did not have")
            return
        if domu.progress.hung(owed, mark, now, domu.scheduled()[1]):
            held = now - domu.progress.since
            self._close(domu, HUNG, f"returned nothing for {held * 1e3:.0f} ms")

    # Ending, and beginning again.

    def _close(self, domu: Domu, event: str, why: str) -> None:
        """Close its channels at once; all else follows step by step."""
        for channel in domu.channels:
            store64(channel + CHANNEL["open"], 0)
        domu.ending, domu.cause = event, why
        domu.serial, domu.noticed = domu.serial + 1, time.monotonic() - domu.progress.since
        domu.closing = [(core + CORE["heartbeat"], load64(core + CORE["heartbeat"])) for core in self._cores(domu)]
        self.kill(domu)

    def kill(self, domu: Domu) -> None:
        """Kill a domU, and with the first process of its PID namespace all others in it."""
        with contextlib.suppress(ProcessLookupError):
            if domu.pidfd >= 0:
                signal.pidfd_send_signal(domu.pidfd, signal.SIGKILL)
            elif domu.pid:
                os.kill(domu.pid, signal.SIGKILL)

    def _close_further(self, domu: Domu, now: float) -> None:
        assert domu.closing is not None
        if any(load64(word) == before for word, before in domu.closing) or domu.keeper:
            return
        domu.closing = None
        lost = 0
        for channel in domu.channels:
            count = reset(channel)
            store64(channel + CHANNEL["lost"], load64(channel + CHANNEL["lost"]) + count)
            lost += count
        self._let_go(domu)
        # One that has never run is not tried again: the start, or the change that brought it, is refused.
        state = domu.policy.on(domu.ending if domu.proven else STOP, now)
        if not domu.proven:
            return
        ended = {ENDED: "", STARTING: "; it is started again"}
        follows = ended.get(state, f"; quarantined {self._until(domu, now)}")
        if not domu.quiet:
            self._report(f"router {domu.tenant.name}: its domU {domu.cause}; {lost} packets lost{follows}")
        if state == STARTING:
            self._start(domu)

    @staticmethod
    def _until(domu: Domu, now: float) -> str:
        left = domu.policy.until - now
        return "until it is released" if left == float("inf") else f"for {left:.0f} s"

    def _let_go(self, domu: Domu) -> None:
        if domu.control:
            domu.control.close()
            domu.control = None
        if domu.log >= 0:
            os.close(domu.log)
            domu.log = -1

    def _again(self, domu: Domu, event: str, now: float) -> None:
        domu.policy.on(event, now)
        self._start(domu)

    def release_quarantine(self, name: str) -> None:
        """Start a quarantined domU again. Raises PlatformError where it is not quarantined."""
        domu = self.domus.get(name)
        if domu is None or domu.policy.state != QUARANTINED:
            state = domu.policy.state if domu else "no domU"
            raise PlatformError(f"router '{name}' is not quarantined: {state}")
        self._again(domu, RELEASED, time.monotonic())
        self._report(f"router {name}: its domU is released from quarantine")

    def replace_code(self, name: str, file: str, wait: Callable[[float], None]) -> None:
        """Start a router's domU anew with another file in place of its elements'; return when it runs."""
        domu = self.domus[name]
        for node in domu.tenant.program.graph.nodes:
            for element in node.values["cluster"]["elements"] if node.cls.driver == "domu" else ():
                element["file"] = file
        if domu.policy.state != QUARANTINED:
            self._close(domu, HOSTILE, "gets other code")
            domu.quiet = True
            while domu.closing is not None:
                wait(0.002)
            domu.quiet = False
        self._again(domu, RELEASED, time.monotonic())
        while domu.policy.state == STARTING:
            wait(0.002)

    def dismiss(self, name: str, wait: Callable[[float], None]) -> int:
        """End a router's domU; return how many packets it still had."""
        domu = self.domus.get(name)
        if domu is None:
            return 0
        for channel in domu.channels:
            store64(channel + CHANNEL["open"], 0)
        heartbeats = [(core + CORE["heartbeat"], load64(core + CORE["heartbeat"])) for core in self._cores(domu)]
        domu.ending = STOP
        self.kill(domu)
        while domu.keeper or any(load64(word) == before for word, before in heartbeats):
            wait(0.002)
        lost = sum(reset(channel) for channel in domu.channels)
        self._let_go(domu)
        for channel in domu.channels:
            release(channel)
        del self.domus[name]
        return lost

    # What it says, and what it costs.

    def _read_control(self, domu: Domu) -> None:
        """Take at most a few of its messages; an answer that does not fit is its own loss."""
        for _ in range(4):
            if domu.control is None:
                return
            try:
                data = domu.control.recv(4097)
            except OSError:
                return
            if not data:
                return
            answer: dict[str, Any] = {"error": "not a message that is known"}
            with contextlib.suppress(ValueError, TypeError, RecursionError):
                message = json.loads(data) if len(data) <= 4096 else None
                if isinstance(message, dict):
                    if message.get("ready") is True and domu.policy.state == STARTING:
                        domu.ready = True
                        continue
                    if "failed" in message and domu.policy.state == STARTING and not domu.cause:
                        domu.cause = f"cannot load its elements: {escape(str(message['failed'])[:_LONGEST_LINE])}"
                        self._close(domu, FAILED, domu.cause)
                        continue
                    if self.on_control:
                        answer = self.on_control(domu.tenant.name, message)
            with contextlib.suppress(OSError):
                domu.control.send(json.dumps(answer).encode()[:4096])

    def _drain_log(self, domu: Domu, now: float) -> None:
        """Read what it has written, and pass on a few lines a second."""
        if domu.log < 0:
            return
        data = b""
        with contextlib.suppress(OSError):
            data = os.read(domu.log, _LOG_BYTES)
        *lines, domu._unread = (domu._unread + data).split(b"\n")
        domu._unread = domu._unread[-_LONGEST_LINE:]
        if now - domu._lines_at >= 1:
            if domu._hidden:
                self._report(f"router {domu.tenant.name}: {domu._hidden} more lines of its domU are not shown")
            domu._lines_at, domu._lines, domu._hidden = now, 0, 0
        for line in lines:
            if domu._lines < _LOG_LINES:
                domu._lines += 1
                self._report(f"router {domu.tenant.name}: its domU says: {escape(line.decode(errors='replace'))}")
            else:
                domu._hidden += 1

    def _charge(self, domu: Domu) -> None:
        """Add the CPU time that it has used to its router's account: its worker takes it from there."""
        ran, _ = domu.scheduled()
        used, domu._cpu_seen = max(0, ran - domu._cpu_seen), ran
        domu.cpu_ns += used
        core = domu.tenant.cores.get(self._driver(domu))
        if core is not None:
            debt = domu.tenant.client(core) + CLIENT["debt"]
            store64(debt, load64(debt) + round(used / self._manifest["ns_per_tick"]))

    @staticmethod
    def _driver(domu: Domu) -> int:
        """Return the number of a task that takes packets back from it."""
        return next(n for n, (kind, _) in enumerate(domu.tenant.program.graph.tasks) if kind == "domu")

    def rows(self) -> list[dict[str, Any]]:
        """Return what there is to know of each, as plain data."""
        now = time.monotonic()
        return [
            {
                "router": name,
                "state": domu.policy.state,
                "tier": self.tier,
                "share by": self.shares.means,
                "pid": domu.pid,
                "uid": domu.uid,
                "restarts": domu.policy.restarts,
                "cpu_s": round(domu.cpu_ns / 1e9, 3),
                "until": self._until(domu, now) if domu.policy.state == QUARANTINED else "",
                "last fault": domu.cause,
            }
            for name, domu in self.domus.items()
        ]

    def end(self) -> None:
        """Kill all domUs and their zygote, and let their memory go."""
        for domu in self.domus.values():
            self.kill(domu)
        if self._channel:
            self._channel.close()
        if self._zygote:
            self._zygote.kill()
            self._zygote.wait()
        for domu in self.domus.values():
            _await_end(domu)
            self._let_go(domu)
            for channel in domu.channels:
                release(channel)
        self.domus.clear()


def _await_end(domu: Domu) -> None:
    """Wait until a domU that has been killed is gone."""
    if domu.pidfd >= 0:
        poll = select.poll()
        poll.register(domu.pidfd, select.POLLIN)
        poll.poll(1000)
        os.close(domu.pidfd)
        domu.pidfd = -1


def escape(text: str) -> str:
    """Return a line that does nothing to a terminal."""
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return shown if len(shown) <= _LONGEST_LINE else shown[:_LONGEST_LINE] + "..."
