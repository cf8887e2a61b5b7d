# SPDX-License-Identifier: MIT
"""The processes of a platform: a zygote, a worker per core, a wire. Starts, replaces and ends them."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from shm.intrinsics import add64, load64, release64, store64
from shm.layout import CORE
from shm.manifest import CurrentManifest, Manifest
from shm.wire_layout import CAPTURE, WIRE
from vre.config.captures import KILLED, finish
from vre.errors import PlatformEnded, PlatformError
from vre.supervision.cpus import Plan
from vre.supervision.restart_policy import GiveUp, Quarantine, Recover, Restart, Stamped, Supervisor, cause
from vre.supervision.watchdog import path_of
from vre.supervision.zygote_process import ZygoteProcess, start_zygote
from workers.core.recovery import channels_on, recover, ring_ends
from workers.process import take_processor
from workers.zygote import messages

Say = Callable[[str], None]
#: How long processes may take to end by themselves before they are killed.
GRACE_S = 1.0
#: How long capture writers may take to write what waits.
_FLUSH_S = 2.0
_PF_EXITING = 4
_EXPEL_S = 0.02
#: How long standbys may take to be ready, and how many of them may end meanwhile.
_STANDBYS_S, _STANDBY_DEATHS = 60.0, 3
#: How long a core, or the wire, may take to come to the end of a slice: the watchdog is much faster.
_QUIESCE_S = 10.0
#: Pause before a failed fork is tried again.
_AGAIN_S = 0.1
#: How long the zygote may be silent while it compiles, or take to read a message.
_SILENT_S, _SEND_S = 300.0, 1.0
#: How long it may be silent when it has been asked for a process: a fork takes ms, a restart 20 s.
_DEAF_S = 60.0
#: How long processes may take to hand over: the watch over each of them is much faster.
_HAND_OVER_S = 60.0
_ZYGOTE = "workers.zygote.workers"
#: Period at which workers and domUs are checked.
LOOK_S = 0.005


class ProcessGroup:
    """The processes of one platform.

    Parameters
    ----------
    manifest : CurrentManifest
    plan : Plan
        Which processor runs what.
    say, report : callable
        Told of progress, and of events.
    """

    def __init__(self, manifest: CurrentManifest, plan: Plan, say: Say, report: Say) -> None:
        self.manifest, self.plan, self._say, self._report = manifest, plan, say, report
        self._zygote: ZygoteProcess | None = None
        self._unread = b""
        #: The manifest that the processes have, as text: a zygote that is started again gets the same.
        self._served = ""
        self._launched = self._changing = False
        #: Wakes when a message has come or a process has ended; the processes' pidfds, by pid.
        self._poll, self._ends = select.poll(), dict[int, int]()
        #: How many requests for a process the zygote has not answered; when its last message came.
        self._owed, self._heard = 0, 0.0
        #: Killed, and not yet reaped.
        self._expelled: set[int] = set()
        #: Workers that end because their zygote has: no path is to blame.
        self._blameless: set[int] = set()
        #: The process groups of all zygotes that have been started.
        self._groups: list[int] = []
        self._numbers: dict[int, int] = {}
        self._asked: dict[int, set[int]] = {}
        self._standby_deaths = 0
        self._writers: dict[int, int] = {}  # pid to number of the capture
        #: What the zygote could not fork, and when it is asked again.
        self._unforked: list[tuple[float, messages.Fork]] = []
        self._short = False
        #: Called every LOOK_S.
        self.watch: Callable[[], None] = lambda: None
        #: Called with what is quarantined, while no worker runs on its core.
        self.quarantine: Callable[[Quarantine], None] = lambda what: None
        self.supervisor = Supervisor()

    @property
    def _wire(self) -> int:
        return self.manifest.now.wire.address

    @property
    def _cores(self) -> list[int]:
        """Addresses of the cores that have a worker; the NIC's internal core is run by the wire."""
        return [core.address for core in self.manifest.now.cores if not core.nic]

    def launch(self, path: Path) -> None:
        """Start the zygote, and from it all workers and the wire."""
        self._served = path.read_text()
        zygote = start_zygote(_ZYGOTE, socket.SOCK_STREAM, self._say)
        self._listen_to(zygote)
        self._groups.append(zygote.process.pid)
        self._send(messages.Start(str(path), self.plan.wire_cpu))
        self._await_ready()
        for number in range(len(self.manifest.now.wire.captures)):
            self._send(messages.Fork("capture", number, self.plan.wire_cpu))
        self._start_standbys()
        self._hand_over([])
        beats = [core + CORE["heartbeat"] for core in self._cores]
        while not (all(load64(beat) for beat in beats) and load64(self._wire + WIRE["pid"])):
            self.tend(0.002)
        self._keep_standbys()
        self._launched = True

    def _keep_standbys(self) -> None:
        """Fork the next worker of each core, as its standby."""
        for core in range(len(self._cores)):
            self._fork_standby(core)

    def _fork_standby(self, core: int) -> None:
        self._fork(core, load64(self._cores[core] + CORE["incarnation"]) + 1)

    def _fork(self, core: int, number: int) -> None:
        if number not in self._asked.setdefault(core, set()):
            self._asked[core].add(number)
            self._send(messages.Fork("core", core, self.plan.cpus[core], number, gently=True))

    def _wake(self, core: int) -> None:
        """Wake the worker that is to take the core over, if it has been forked."""
        pid = self.pid(core)
        # Before it blocks SIGUSR1 the signal would kill it; a standby polls anyway.
        if pid and load64(self._cores[core] + CORE["standby"]) == self._numbers[pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGUSR1)

    def nudge(self) -> None:
        """Wake idle workers, which may have a task now."""
        for core, place in enumerate(self._cores):
            pid = self.pid(core)
            # Only a process that has taken over the core has surely blocked the signal.
            if pid and load64(place + CORE["pid"]) == pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGUSR1)

    def _dismiss_standbys(self) -> None:
        """End the standbys: they know of another manifest than the one that comes, or they are not needed any more."""
        for pid, core in list(self.supervisor.cores.items()):
            if self._numbers[pid] > load64(self._cores[core] + CORE["incarnation"]):
                self.supervisor.cores.pop(pid)
                # It may have died already, which has not been noticed yet.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                while pid in self._numbers:
                    self.tend(0.001)
                store64(self._cores[core] + CORE["standby"], 0)
        for pid in list(self.supervisor.wires):
            if self._numbers[pid] > load64(self._wire + WIRE["incarnation"]):
                self.supervisor.wires.discard(pid)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                while pid in self._numbers:
                    self.tend(0.001)
                store64(self._wire + WIRE["standby"], 0)
        self._asked.clear()
        self._unforked.clear()

    def change(self, path: Path) -> None:
        """Replace the workers and the wire by new ones, which have another manifest."""
        text = path.read_text()
        self._changing = True
        try:
            self._send(messages.Change(str(path)))
            self._await_ready()
            self._dismiss_standbys()
            old = [*self.supervisor.cores, *self.supervisor.wires]
            self._start_standbys()
        finally:
            self._changing = False
        self._served = text
        self._hand_over(old)
        self._keep_standbys()

    def _start_standbys(self) -> None:
        """Fork the next worker of each core and the next wire; return when all are ready."""
        places = self._cores
        wire = load64(self._wire + WIRE["incarnation"]) + 1
        numbers = [load64(place + CORE["incarnation"]) + 1 for place in places]
        gently = wire > 1
        self._send(messages.Fork("wire", 0, self.plan.wire_cpu, wire, gently))
        for core, number in enumerate(numbers):
            self._send(messages.Fork("core", core, self.plan.cpus[core], number, gently))
        self._standby_deaths = 0
        end = time.monotonic() + _STANDBYS_S
        while not (
            load64(self._wire + WIRE["standby"]) == wire
            and all(load64(p + CORE["standby"]) == n for p, n in zip(places, numbers, strict=True))
        ):
            if self._standby_deaths > _STANDBY_DEATHS:
                raise PlatformError("the new processes ended while they started")
            if time.monotonic() >= end:
                raise PlatformError(f"the new processes were not ready after {_STANDBYS_S:g} s")
            self.tend(0.002)

    def _hand_over(self, old: list[int]) -> None:
        """Let the standbys take over from the `old` processes, and wait until they have."""
        for pid in old:
            self.supervisor.retire(pid)
        for core in self._cores:
            release64(core + CORE["incarnation"], load64(core + CORE["standby"]))
        for core in range(len(self._cores)):
            self._wake(core)
        release64(self._wire + WIRE["incarnation"], load64(self._wire + WIRE["standby"]))
        words = [(place + CORE["left"], place + CORE["incarnation"]) for place in self._cores]
        words.append((self._wire + WIRE["left"], self._wire + WIRE["incarnation"]))
        end = time.monotonic() + _HAND_OVER_S
        for left, incarnation in words:
            while load64(left) != load64(incarnation) - 1:
                if time.monotonic() >= end:
                    raise PlatformEnded(f"processes did not hand over to the next ones within {_HAND_OVER_S:g} s")
                self.tend(0.0005)

    def _listen_to(self, zygote: ZygoteProcess) -> None:
        self._zygote, self._unread, self._owed = zygote, b"", 0
        zygote.channel.settimeout(_SEND_S)
        self._poll.register(zygote.channel, select.POLLIN)

    def _send(self, message: messages.ToZygote) -> None:
        assert self._zygote
        if isinstance(message, messages.Fork):
            self._heard = self._heard if self._owed else time.monotonic()
            self._owed += 1
        # A zygote that has ended shows when its channel is next read, one that does not read by its silence.
        with contextlib.suppress(OSError):
            self._zygote.channel.sendall(messages.TO_ZYGOTE.write(message) + b"\n")

    def _messages(self, timeout: float) -> Iterator[messages.FromZygote]:
        """Wait for messages or a process's end, for at most `timeout` seconds; yield the messages."""
        assert self._zygote
        self._zygote.overheard.look()
        found = {fd for fd, _ in self._poll.poll(max(timeout * 1e3, 0.1))}
        if self._zygote.channel.fileno() in found:
            try:
                data = self._zygote.channel.recv(65536)
            except OSError:
                data = b""
            if not data:
                self._lose_zygote()
                return
            self._heard = time.monotonic()
            *lines, self._unread = (self._unread + data).split(b"\n")
            for line in lines:
                yield messages.FROM_ZYGOTE.read(line)
        elif self._owed and time.monotonic() - self._heard > _DEAF_S:
            self._zygote.process.kill()
        self._look_for_ends()

    def _look_for_ends(self) -> None:
        for pid in [*self._numbers, *self._writers, *self._expelled]:
            status = ended(pid)
            if status is None:
                continue
            self._expelled.discard(pid)
            if pid in self._ends:
                self._poll.unregister(self._ends[pid])
                os.close(self._ends.pop(pid))
            if pid in self._writers:
                self._writer_ended(self._writers.pop(pid), status)
            elif pid in self._numbers:
                self._exited(pid, status)

    def _lose_zygote(self) -> None:
        """Restart the zygote, which has ended: the wire goes on meanwhile, and the next workers come later.

        Raises PlatformError if a change needs the zygote, PlatformEnded if the platform cannot go on.
        """
        assert self._zygote
        self._poll.unregister(self._zygote.channel)
        status = self._zygote.process.wait()
        if self.supervisor.stopping:
            return  # it is not needed any more
        why = f"the zygote process {cause(status)}"
        decision = self.supervisor.zygote_ended(status, time.monotonic())
        if decision or not self._launched:
            raise PlatformEnded(decision.reason if decision else why)
        self._report(f"{why}; it is started again")
        self._zygote.end()
        # The next zygote has the code at other addresses and writes these into tasks: no old worker may run then.
        for pid in self.supervisor.cores:
            self._blameless.add(pid)
            os.kill(pid, signal.SIGKILL)
        with open(os.memfd_create("manifest"), "w+") as manifest:
            known = replace(Manifest.from_json(self._served), ns_per_tick=self.manifest.now.ns_per_tick)
            manifest.write(known.to_json())
            manifest.flush()
            try:
                zygote = start_zygote(_ZYGOTE, socket.SOCK_STREAM, self._say, descriptors=[manifest.fileno()])
            except OSError as error:
                raise PlatformEnded(f"{why}, and cannot be started again: {error.strerror}") from None
            self._listen_to(zygote)
            self._groups.append(zygote.process.pid)
            self._send(messages.Start(f"/proc/self/fd/{manifest.fileno()}", self.plan.wire_cpu, again=True))
        self._ask_for_missing()
        if self._changing:
            raise PlatformError(f"{why}: try again")

    def _ask_for_missing(self) -> None:
        """Ask a new zygote for the workers that the old one did not fork."""
        self._unforked.clear()
        for core, place in enumerate(self._cores):
            now = load64(place + CORE["incarnation"])
            there = {self._numbers[pid] for pid, c in self.supervisor.cores.items() if c == core}
            self._asked[core] = {now, now + 1} & there
            for number in {now, now + 1} - there:
                self._fork(core, number)

    def _await_ready(self) -> None:
        """Wait until the zygote is ready. A zygote that is silent for too long is killed, which ends the wait."""
        ready, heard = False, time.monotonic()
        while not ready:
            for message in self._messages(LOOK_S):
                self._handle(message)
                ready |= message == messages.Ready()
                heard = time.monotonic()
            if self._zygote and time.monotonic() - heard > _SILENT_S:
                self._zygote.process.kill()
            self.watch()

    def _handle(self, message: messages.FromZygote) -> None:
        self._owed -= isinstance(message, messages.Forked | messages.Unforked)
        match message:
            case messages.Progress(text):
                self._say(text)
            case messages.Calibrated(ns_per_tick):
                self.manifest.now = replace(self.manifest.now, ns_per_tick=ns_per_tick)
            case messages.Failed(why):
                # Without a change in progress, it is a zygote that cannot be started again.
                kind = PlatformEnded if self._launched and not self._changing else PlatformError
                raise kind(f"cannot start: {why}")
            case messages.Forked(pid, messages.Fork("capture", number)):
                self._writers[pid] = number
            case messages.Forked(pid, asked):
                self._forked(pid, asked)
            case messages.Unforked(why, asked):
                if not self._short:
                    self._report(f"cannot start a process: {why}; retrying")
                self._short = True
                self._unforked.append((time.monotonic() + _AGAIN_S, asked))

    def _forked(self, pid: int, asked: messages.Fork) -> None:
        self._short = False
        self._numbers[pid] = asked.number
        # Without pidfds (old kernels) an exit is noticed at the next look.
        with contextlib.suppress(OSError):
            self._ends[pid] = os.pidfd_open(pid)
            self._poll.register(self._ends[pid], select.POLLIN)
        self.supervisor.forked(pid, asked.place if asked.kind == "core" else None)

    def _ask_again(self) -> None:
        """Repeat the requests for processes that could not be forked."""
        now = time.monotonic()
        due = [fork for at, fork in self._unforked if at <= now]
        self._unforked = [(at, fork) for at, fork in self._unforked if at > now]
        for fork in due:
            # A worker whose successor has taken over is not needed.
            if fork.kind != "core" or fork.number >= load64(self._cores[fork.place] + CORE["incarnation"]):
                self._send(fork)

    def _exited(self, pid: int, status: int) -> None:
        if pid in self.supervisor.wires and self._numbers[pid] > load64(self._wire + WIRE["incarnation"]):
            # A standby of the wire; the next change, or the next try, forks another.
            self.supervisor.wires.discard(pid)
            self._numbers.pop(pid)
            self._standby_deaths = _STANDBY_DEATHS + 1
            return
        path = self._stamped(pid)
        decision = self.supervisor.exited(pid, status, time.monotonic(), path)
        mine = self._numbers.pop(pid)
        if isinstance(decision, GiveUp):
            raise PlatformEnded(decision.reason)
        if decision is None:
            return
        place = self._cores[decision.core]
        number = load64(place + CORE["incarnation"])
        if isinstance(decision, Restart) and mine > number:
            # A standby: it has never had the core.
            self._standby_deaths += 1
            self._asked.get(decision.core, set()).discard(mine)
            self._fork_standby(decision.core)
            return
        if isinstance(decision, Recover) and load64(place + CORE["left"]) >= mine:
            return  # it had handed over: the core is the next one's
        manifest = self.manifest.now
        lost = recover(place, *ring_ends(manifest, decision.core), channels_on(manifest, decision.core))
        add64(place + CORE["restarts"], 1)
        if decision.quarantine:
            self.quarantine(decision.quarantine)
        # A dead worker does not hand over: do it in its place.
        if isinstance(decision, Recover):
            release64(place + CORE["left"], number - 1)
        else:
            store64(place + CORE["left"], number)
            self._fork_standby(decision.core)
            release64(place + CORE["incarnation"], number + 1)
            self._wake(decision.core)
            self._fork_standby(decision.core)
        within = f" in router {path.router}, path {path.name}" if path else ""
        self._report(f"core {decision.core}: worker {pid} {cause(status)}{within}; {lost} packets lost; replaced")

    def _writer_ended(self, number: int, status: int) -> None:
        """Record the end of a capture's writer: if it was not asked to end, only its capture ends."""
        address = self.manifest.now.wire.captures[number].address
        if status and not load64(address + CAPTURE["error"]) and not load64(address + CAPTURE["stop"]):
            store64(address + CAPTURE["error"], KILLED)

    def _finish_captures(self) -> None:
        """Let the capture writers flush for a bounded time; count the rest as lost."""
        captures = [capture.address for capture in self.manifest.now.wire.captures]
        for address in captures:
            store64(address + CAPTURE["stop"], 1)
        end = time.monotonic() + _FLUSH_S
        with contextlib.suppress(PlatformError):
            while self._writers and time.monotonic() < end:
                self.tend(0.005)
        for pid in self._writers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        # One that hangs in the kernel ends later, and does not change the account before it ends.
        for address in captures:
            finish(address)

    def _stamped(self, pid: int) -> Stamped | None:
        """Return the path that a worker, which has ended, was in, if that path can be to blame for it."""
        if pid in self._blameless:
            self._blameless.discard(pid)
            return None
        core = self.supervisor.cores.get(pid, self.supervisor.retired.get(pid))
        # A standby's core is another's, and so is that of one that had handed over.
        if core is None or load64(self._cores[core] + CORE["pid"]) != pid:
            return None
        return path_of(self.manifest.now, load64(self._cores[core] + CORE["task"]))

    def expel(self, core: int) -> None:
        """Kill a core's worker, and let the standby take over once the worker cannot run again."""
        pid = self.holder(core)
        if pid == 0:
            return
        # Its exit takes milliseconds: move it off the standby's processor.
        take_processor(self.plan.wire_cpu, pid)
        with contextlib.suppress(ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, pid, 19)
            os.kill(pid, signal.SIGKILL)
        # If that takes long, the exit is handled when it is reaped, as any other.
        if pid in self._numbers and will_not_run(pid):
            self._expelled.add(pid)
            self._exited(pid, -signal.SIGKILL)

    def tend(self, seconds: float) -> None:
        """Supervise for some time: the only way that time passes for the platform's own process."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            for message in self._messages(min(left, LOOK_S)):
                self._handle(message)
            self._ask_again()
            self.watch()

    @staticmethod
    def now() -> float:
        """Return the time in seconds."""
        return time.monotonic()

    def quiesce(self, counters: list[int], steps: int) -> None:
        """Wait until each of some counters in shared memory has advanced by `steps`."""
        before = [load64(counter) for counter in counters]
        self.nudge()
        end = time.monotonic() + _QUIESCE_S
        while any(load64(c) < b + steps for c, b in zip(counters, before, strict=True)):
            if time.monotonic() >= end:
                raise PlatformError(f"cores or wire did not finish a slice within {_QUIESCE_S:g} s")
            self.tend(0.0002)

    def pid(self, core: int) -> int:
        """Return the worker of a core, 0 while it has none; the NIC's internal core never has one."""
        if core == len(self._cores):
            return 0
        number = load64(self._cores[core] + CORE["incarnation"])
        return next((p for p, c in self.supervisor.cores.items() if c == core and self._numbers[p] == number), 0)

    def holder(self, core: int) -> int:
        """Return the worker that holds a core; one that was asked to hand over holds it until it does. 0 for none."""
        if core == len(self._cores):
            return 0
        pid = load64(self._cores[core] + CORE["pid"])
        return pid if pid in self._numbers else self.pid(core)

    def wire_holder(self) -> int:
        """Return the wire process, the next one while it is to take over, 0 for none."""
        pid = load64(self._wire + WIRE["pid"])
        if pid in self._numbers:
            return pid
        number = load64(self._wire + WIRE["incarnation"])
        return next((p for p in self.supervisor.wires if number and self._numbers[p] == number), 0)

    def expel_wire(self) -> None:
        """Kill the wire; the restart policy decides when it has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.wire_holder(), signal.SIGKILL)

    def halt(self) -> None:
        """Stop cores and wire: from then on no packet moves."""
        self.supervisor.stopping = True
        with contextlib.suppress(PlatformError):
            self._dismiss_standbys()
        for core in self._cores:
            store64(core + CORE["stop"], 1)
        end = time.monotonic() + GRACE_S
        with contextlib.suppress(PlatformError):
            while self.supervisor.cores and time.monotonic() < end:
                self.tend(0.005)
            store64(self._wire + WIRE["stop"], 1)
            while self.supervisor.wires and time.monotonic() < end:
                self.tend(0.005)
        self._finish_captures()

    def end(self) -> None:
        """Kill what is left."""
        if self._zygote:
            if self._zygote.process.poll() is None:
                # This includes processes that it has forked and not reported.
                os.killpg(self._zygote.process.pid, signal.SIGKILL)
            self._zygote.end()
            self._zygote = None
        end = time.monotonic() + GRACE_S
        left = [*self._numbers, *self._writers, *self._expelled]
        for pid in left:
            if ended(pid) is None:
                os.kill(pid, signal.SIGKILL)
        for pid in left:
            while ended(pid) is None and time.monotonic() < end:
                time.sleep(0.002)
        # An old zygote may have forked a process without reporting it; such a process ends at once.
        for group in self._groups:
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-group, os.WNOHANG) != (0, 0):
                    pass
        for descriptor in self._ends.values():
            os.close(descriptor)
        self._ends.clear()


def ended(pid: int) -> int | None:
    """Reap a child; return its status as `Popen.returncode`, None while it has not ended."""
    try:
        found, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return -signal.SIGKILL  # reaped elsewhere in this process: its status is lost
    return os.waitstatus_to_exitcode(status) if found else None


def will_not_run(pid: int) -> bool:
    """Return whether a killed process will run none of its own code any more; wait a moment for that."""
    end = time.monotonic() + _EXPEL_S
    try:
        while time.monotonic() < end:
            # Field 9 of /proc/PID/stat is the kernel's flags: PF_EXITING is set before anything is torn down.
            flags = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[6])
            if flags & _PF_EXITING:
                return True
            time.sleep(0.0001)
    except (FileNotFoundError, ProcessLookupError):
        return True
    return False
