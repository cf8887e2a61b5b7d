# SPDX-License-Identifier: MIT
"""The platform: starts, supervises and ends everything; also the Python interface."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from shm.layout import CORE, SOURCE, WIRE
from shm.memory import load64, store64
from shm.segment import RunDirectory, SegmentError, claim_window, free_window, sweep
from vre import host
from vre.allocation import Placed, allocate, placement
from vre.config import from_text, validate
from vre.errors import ConfigError, PlatformEnded, PlatformError, Problem
from vre.handle import RouterHandle
from vre.handlers import Handlers
from vre.model import Capture, Link, Model, Nic, Router, RouterPort
from vre.supervisor import GiveUp, Restart, Supervisor, cause
from workers.arguments import ether
from workers.recovery import recover

Say = Callable[[str], None]
#: How long processes are given to end by themselves before they are killed.
_GRACE_S = 1.0


class Platform:
    """A virtual router platform on this host.

    Use it as a context manager: what it started is gone when the block is left, however it is left.

    Parameters
    ----------
    cores : int
        Emulated cores.
    name : str
        Of the run directory; two platforms of one user need different names.
    clock : {"auto", "wall", "cpu"}
        What paces the traffic; "auto" takes "cpu" where there are more cores than processors.
    idle : {"auto", "poll", "sleep"}
        What a core with nothing to do does.
    quantum : int
        Packets that a task may take per turn.

    Raises
    ------
    ConfigError
        From :meth:`router` and :meth:`start`: mistakes in the configuration.
    PlatformError
        From :meth:`start`: the host cannot run it.
    """

    def __init__(
        self,
        cores: int = 1,
        name: str | None = None,
        clock: str = "auto",
        idle: str = "auto",
        quantum: int = 128,
        model: Model | None = None,
        say: Say | None = None,
    ) -> None:
        self.model = model or Model(name or f"p{os.getpid()}", cores, clock, idle, quantum)
        self.say: Say = say or (lambda text: None)
        self.events: list[str] = []
        self.placed: list[Placed] = []
        self.ns_per_tick = 0.0
        self._handlers: Handlers | None = None
        self._zygote: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._unread = b""
        self._supervisor = Supervisor()
        self._cleanup = contextlib.ExitStack()
        self._ready = False
        self._failure = ""

    # Description.

    def nic(self, name: str, link: Link | list[Link] | None = None, slots: int = 512) -> Nic:
        """Add a port with what is at the far end of it."""
        links = link if isinstance(link, list) else [link] if link else []
        self.model.nics[name] = Nic(name, tuple(links), slots)
        return self.model.nics[name]

    def router(
        self,
        name: str,
        config: str,
        entitlement: float = 1.0,
        ports: dict[str, dict[str, Any]] | None = None,
        cores: tuple[int, ...] | None = None,
    ) -> RouterHandle:
        """Add a router.

        Parameters
        ----------
        name : str
        config : str
            Text in the Click language.
        entitlement : float
            Weight against the other routers.
        ports : dict, optional
            Port name to `{"mac": "02:...", "vlan": n}`; ports that the text names are added by themselves.
        cores : tuple of int, optional
            Cores it may run on.
        """
        claims = {}
        for nic, port in (ports or {}).items():
            mac = port.get("mac")
            claims[nic] = RouterPort(
                nic, None if mac == "*" else -1 if mac is None else ether(mac), port.get("vlan", -1)
            )
        self.model.routers[name] = Router(name, entitlement, from_text(config, name), claims, cores)
        return RouterHandle(self, name)

    # Life.

    def __enter__(self) -> Platform:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def start(self) -> None:
        """Lay out the memory, compile, and start all cores and the wire; traffic begins to flow."""
        if self._ready:
            return
        self._check()
        sweep()
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _check(self) -> None:
        problems = validate(self.model, lambda message, *path: Problem(None, f"{'.'.join(path)}: {message}"))
        if problems:
            raise ConfigError(problems)
        if not self.model.routers:
            raise ConfigError([Problem(None, "no routers: add one with router()")])

    def _start(self) -> None:
        from vre.build import Builder
        from vre.links import Links

        plan = host.fit(self.model.cores, self.model.clock, host.cpus())
        self.plan = plan
        if plan.dilated:
            self.say(f"dilated time: {plan.why}")
        directory = RunDirectory(self.model.name)
        try:
            directory.acquire()
        except SegmentError as error:
            raise PlatformError(str(error)) from None
        self._cleanup.callback(directory.release)
        base = claim_window(self.model.name)
        self._cleanup.callback(free_window, base)
        self.placed = allocate(self.model)
        builder = Builder(self.model, placement(self.placed), base, directory.prefix, plan.dilated)
        builder.poll = self.model.idle == "poll"
        links = Links(builder)
        self._reserve(builder.bytes_needed)
        try:
            builder.create()
        except SegmentError as error:
            raise PlatformError(str(error)) from None
        for segment in builder.segments:
            self._cleanup.callback(segment.detach)
        builder.fill()
        links.fill()
        self.manifest = {
            **builder.manifest(),
            "wire": links.manifest(),
            "pid": os.getpid(),
            "bytes": builder.bytes_needed,
        }
        directory.write_manifest(self.manifest)
        self._handlers = Handlers(self.manifest, self.model, builder.fibs)
        self._launch(directory)
        from vre.stats import Reader

        self.reader = Reader(self.manifest)
        store64(self.manifest["wire"]["address"] + WIRE["gate"], 1)
        self._ready = True

    @staticmethod
    def _reserve(needed: int) -> None:
        try:
            free = host.shm_free()
        except OSError as error:
            raise PlatformError(f"this host has no /dev/shm: {error.strerror}") from None
        if needed > free:
            raise PlatformError(f"the platform needs {needed} bytes of shared memory; /dev/shm has {free} free")

    def _launch(self, directory: RunDirectory) -> None:
        ours, theirs = socket.socketpair()
        self._channel = ours
        self._cleanup.callback(ours.close)
        self._cleanup.callback(self._end_processes)
        # -I would hide the packages of a checkout; no site customisation is wanted either way.
        command = [sys.executable, "-m", "workers.zygote", str(theirs.fileno()), str(os.getpid())]
        self._zygote = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        theirs.close()
        self._send(start=str(directory.path / "manifest.json"))
        self._wait(lambda message: "ready" in message)
        self._send(wire=0, cpu=self.plan.wire_cpu)
        for core in range(self.model.cores):
            self._send(core=core, cpu=self.plan.cpus[core])
        beats = [core["address"] + CORE["heartbeat"] for core in self.manifest["cores"]]
        while not (all(load64(beat) for beat in beats) and load64(self.manifest["wire"]["address"] + WIRE["pid"])):
            self.tend(0.002)

    def _send(self, **message: Any) -> None:
        assert self._channel
        try:
            self._channel.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            self._failure = self._failure or "the zygote process has ended"

    def _messages(self, timeout: float) -> Iterator[dict[str, Any]]:
        assert self._channel
        self._channel.settimeout(max(timeout, 0.001))
        try:
            data = self._channel.recv(65536)
        except TimeoutError:
            return
        except OSError:
            data = b""
        if not data:
            status = self._zygote.wait() if self._zygote else 0
            raise PlatformEnded(f"the zygote process {cause(status)}")
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            yield json.loads(line)

    def _wait(self, done: Callable[[dict[str, Any]], bool]) -> None:
        while True:
            for message in self._messages(0.1):
                self._handle(message)
                if done(message):
                    return

    def _handle(self, message: dict[str, Any]) -> None:
        if "progress" in message:
            self.say(message["progress"])
        elif "ns_per_tick" in message:
            self.ns_per_tick = self.manifest["ns_per_tick"] = message["ns_per_tick"]
        elif "failed" in message:
            raise PlatformError(f"cannot start: {message['failed']}")
        elif "forked" in message:
            self._supervisor.forked(message["forked"], message.get("core"))
        elif "exited" in message:
            self._exited(message["exited"], message["status"])

    def _exited(self, pid: int, status: int) -> None:
        decision = self._supervisor.exited(pid, status, time.monotonic())
        if isinstance(decision, GiveUp):
            raise PlatformEnded(decision.reason)
        if isinstance(decision, Restart):
            place = self.manifest["cores"][decision.core]
            lost = recover(place["address"], place["inputs"], place["outputs"])
            count = place["address"] + CORE["incarnation"]
            store64(count, load64(count) + 1)
            self._send(core=decision.core, cpu=self.plan.cpus[decision.core])
            event = f"core {decision.core}: worker {pid} {cause(status)}; {lost} packets lost; replaced"
            self.events.append(event)
            self.say(event)

    def tend(self, seconds: float) -> None:
        """Supervise for some time: the only way that time passes for the platform's own process."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            for message in self._messages(min(left, 0.1)):
                self._handle(message)

    def run(self, seconds: float | None = None, tick: Callable[[float], None] | None = None) -> None:
        """Run for a time, or until every finite link has drained; then let what is in flight leave.

        Parameters
        ----------
        seconds : float, optional
            None: until all finite links are done, or for ever where a link has no end.
        tick : callable, optional
            Called ten times a second with the seconds since the start.
        """
        self.start()
        begun = time.monotonic()
        while seconds is None or time.monotonic() - begun < seconds:
            left = 0.1 if seconds is None else min(0.1, seconds - (time.monotonic() - begun))
            self.tend(max(left, 0.001))
            if tick:
                tick(time.monotonic() - begun)
            if seconds is None and self.finished() and self.reader.drained():
                break
        self.pause()

    def finished(self) -> bool:
        """Return whether every link that has an end has reached it; False while one without end sends."""
        sources = self.manifest["wire"]["sources"]
        endless = [s for s in sources if not s["finite"] and s["router"]]
        made = any(kind == "source" for r in self.model.routers.values() for kind, _ in r.graph.tasks)
        if not sources or endless:
            return not sources and made and self._sources_stopped()
        return bool(load64(self.manifest["wire"]["address"] + WIRE["finished"]))

    def _sources_stopped(self) -> bool:
        """Return whether every source element with STOP has made its LIMIT of packets."""
        assert self._handlers
        return self._handlers.sources_done()

    def pause(self, seconds: float = 0.5) -> None:
        """Stop the traffic and wait, at most `seconds`, until nothing is in flight."""
        store64(self.manifest["wire"]["address"] + WIRE["gate"], 0)
        end = time.monotonic() + seconds
        self.tend(0.01)
        while time.monotonic() < end and not self.reader.drained():
            self.tend(0.01)

    def rest(self, router: str, resting: bool) -> None:
        """Let the links stop sending to one router, or send again."""
        for source in self.manifest["wire"]["sources"]:
            if source["router"] == router:
                store64(source["address"] + SOURCE["paused"], int(resting))

    def halt(self) -> None:
        """Let cores and wire end their work, but keep the memory: accounts can be read exactly."""
        self._supervisor.stopping = True
        for core in self.manifest["cores"]:
            store64(core["address"] + CORE["stop"], 1)
        end = time.monotonic() + _GRACE_S
        with contextlib.suppress(PlatformError):
            while self._supervisor.cores and time.monotonic() < end:
                self.tend(0.005)
            store64(self.manifest["wire"]["address"] + WIRE["stop"], 1)
            while self._supervisor.wires and time.monotonic() < end:
                self.tend(0.005)

    def stop(self) -> None:
        """End everything and remove every trace."""
        if self._ready:
            self.halt()
        self._ready = False
        self._cleanup.close()

    def _end_processes(self) -> None:
        """Kill what is left: workers follow the zygote into its death."""
        if self._zygote:
            self._zygote.kill()
            self._zygote.wait()
        for pid in [*self._supervisor.cores, *self._supervisor.wires]:
            _await_end(pid)

    # Views.

    def handle(self, name: str) -> RouterHandle:
        """Return the handle of a router."""
        return RouterHandle(self, name)

    @property
    def routers(self) -> list[RouterHandle]:
        """Handles of all routers."""
        return [RouterHandle(self, name) for name in self.model.routers]

    def worker_pid(self, core: int) -> int:
        """Return the process of a core."""
        return next((pid for pid, c in self._supervisor.cores.items() if c == core), 0)

    def captures(self) -> list[str]:
        """Return the files that captures go to."""
        return [link.capture for nic in self.model.nics.values() for link in nic.links if isinstance(link, Capture)]


def _await_end(pid: int) -> None:
    """Wait until a process that has been told to die is gone."""
    end = time.monotonic() + _GRACE_S
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < end:
            os.kill(pid, signal.SIGKILL)
            time.sleep(0.002)
