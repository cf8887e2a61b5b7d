# SPDX-License-Identifier: MIT
"""The platform: starts, supervises and ends everything; also the Python interface."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from shm.escape import escape
from shm.intrinsics import load64, store64
from shm.layout import CORE
from shm.run_directory import RunDirectory, sweep
from shm.segment import SegmentError, claim_window, free_window
from shm.wire_layout import SOURCE, WIRE
from vre.config import fields
from vre.config.captures import Captures, obstacles
from vre.config.machines import MACHINES
from vre.config.model import RING_SLOTS, Capture, Model
from vre.config.validate import validate
from vre.domu.cpu_shares import Shares
from vre.domu.modelled import VirtualDomus
from vre.domu.supervisor import Domus
from vre.errors import ConfigError, HandlerError, PlatformError, Problem, nearest, why_not
from vre.memory.run_queues import place_all, set_weights
from vre.placement.allocate import Placed, allocate, placement, split
from vre.platform.absent import ended, not_started
from vre.platform.arguments import described, duration, each, function, held, is_a, optional
from vre.platform.changes import Changes
from vre.platform.commands import Requests
from vre.platform.control_socket import ControlServer
from vre.platform.description import Description
from vre.platform.domu_commands import answer
from vre.platform.handlers import Handlers
from vre.platform.rebalancer import Rebalancer
from vre.platform.router import RouterHandle
from vre.platform.verbs import NAME, text
from vre.supervision import cpus
from vre.supervision.boundary import Boundary
from vre.supervision.journals import Journals
from vre.supervision.outlet import Outlet, to_stream
from vre.supervision.processes import Crew
from vre.supervision.watchdog import Watchdog
from vre.supervision.wire_watch import WireWatch
from workers.arguments import RATES
from workers.element import BROKEN

if TYPE_CHECKING:
    from vre.memory.layout import Builder
    from vre.memory.wire import Links
    from vre.platform.accounts import Reader
    from vre.platform.simulation import Simulation

Say = Callable[[str], None]
#: How long a request may wait.
_TEND_S = 0.02
#: How long what was said is given to be read at the end, in seconds.
_FLUSH_S = 0.5
#: Looks at the journals at the end: more than there is in them.
_LAST_LOOKS = 100
#: Longest event, in characters.
_LONGEST_EVENT = 1000
#: Events that are remembered.
_EVENTS = 1000


def empty_model(name: str, cores: int, clock: str, idle: str, quantum: int | None, settings: dict[str, Any]) -> Model:
    """Return a model without ports and routers. Raises ConfigError if there is no such setting."""
    known = {field.name for field in dataclasses.fields(Model)} - {"nics", "routers"}
    strange = [key for key in settings if key not in known]
    if strange:
        raise ConfigError([Problem(None, f"there is no setting '{key}'{nearest(key, known)}") for key in strange])
    machine = MACHINES.get(str(settings.get("machine", "host")), MACHINES["host"])
    return Model(name, cores, clock, idle, machine.quantum if quantum is None else quantum, **settings)


class Platform(Description, Requests):
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
        Packets that a task may take per turn; a port takes twice as many from its queue.
    settings
        Any other of :class:`vre.config.model.Model`'s: `discipline`, `sample`, `turn_ns`, `machine`, `memory`,
        `memory_shares`, `rebalance`.

    Raises
    ------
    ConfigError
        From :meth:`router` and :meth:`start`: mistakes in the configuration.
    PlatformError
        From :meth:`start`: the host cannot run it.
    """

    @held(described, name=optional(text(NAME)), model=optional(is_a(Model, "a model")), say=optional(function))
    def __init__(
        self,
        cores: int = 1,
        name: str | None = None,
        clock: str = "auto",
        idle: str = "auto",
        quantum: int | None = None,
        model: Model | None = None,
        say: Say | None = None,
        **settings: Any,
    ) -> None:
        self.model = model or empty_model(
            f"p{os.getpid()}" if name is None else name, cores, clock, idle, quantum, settings
        )
        # In virtual time nobody is held up by who reads.
        threaded = self.model.clock != "virtual"
        self._voice = Outlet(say or (lambda text: None), threaded)
        self._lines = Outlet(to_stream(), threaded)
        self.events: deque[str] = deque(maxlen=_EVENTS)
        self._events: deque[dict[str, Any]] = deque(maxlen=_EVENTS)
        self.boundary = Boundary(self.report)
        self._began = 0.0
        self.placed: list[Placed] = []
        self.ns_per_tick = 0.0
        self._put_away(not_started())
        self.reader: Reader = not_started()
        self._cleanup = contextlib.ExitStack()
        self._watching = False
        self._ready = self._engine_runs = False
        self._ended = 0.0
        self._unread: Counter[str] = Counter()

    def _put_away(self, absent: Any) -> None:
        """Put what says why there is nothing in place of all that reads and writes shared memory."""
        self.manifest: dict[str, Any] = absent
        self.builder: Builder = absent
        self.links: Links = absent
        self.domus: Domus | VirtualDomus = absent
        self.changes: Changes = absent
        self.watchdog: Watchdog = absent
        self._wire_watch: WireWatch = absent
        self.journals: Journals = absent
        self._captures: Captures = absent
        self._handlers: Handlers = absent
        self._rebalancer: Rebalancer = absent
        self._control: ControlServer = absent
        self._engine: Crew | Simulation = absent

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
        except BaseException as error:
            self.stop()
            # The run directory's file system is full, there are no descriptors or no processes left, and the like.
            if isinstance(error, OSError):
                raise PlatformError(f"the platform cannot be started: {why_not(error)}") from error
            raise

    def _check(self) -> None:
        problems = validate(self.model, lambda message, *path: Problem(None, f"{'.'.join(path)}: {message}"))
        if problems:
            raise ConfigError(problems)
        if not self.model.routers:
            raise ConfigError([Problem(None, "no routers: add one with router()")])

    def _start(self) -> None:
        from vre.memory.address_space import Space
        from vre.memory.layout import Builder
        from vre.memory.wire import Links

        self.manifest = {}
        self._fit_machine()
        crossing = self.model.crossing
        self.plan = cpus.fit(self.model.cores, self.model.clock, cpus.cpus(), crossing, self.model.wire)
        if self.plan.dilated:
            self.say(f"dilated time: {self.plan.why}")
        self._directory = RunDirectory(self.model.name)
        try:
            self._directory.acquire()
        except SegmentError as error:
            raise PlatformError(str(error)) from None
        self._cleanup.callback(self._directory.release)
        blocked = [Problem(None, f"nics.{name}.link: {message}") for name, message in obstacles(self.model)]
        if blocked:
            raise ConfigError(blocked)
        base = claim_window(self.model.name)
        self._cleanup.callback(free_window, base)
        self.builder = Builder(self.model, Space(base, self._directory.prefix))
        self.links = Links(self.builder, self.plan.dilated)
        self._cleanup.callback(self._detach)
        self.make_room()
        self.builder.fill()
        self.placed = allocate(self.model)
        place_all(self.builder, placement(self.placed))
        set_weights(self.builder, split(self.model, self.placed))
        self.links.fill()
        self.publish()
        self._handlers = Handlers(self.model, self.builder)
        self._handlers.await_readers = self._await_readers
        self._engine = self._make_engine()
        self._cleanup.callback(self._engine.end)
        engine = self._engine
        self._engine_runs = True
        self._began = engine.now()
        self.watchdog = Watchdog(self.manifest, self._deadline, engine.holder, engine.expel, self.report)
        if isinstance(engine, Crew):
            self._wire_watch = WireWatch(self.manifest, engine.wire_holder, engine.expel_wire, self.report)
            engine.quarantine = lambda what: self.watchdog.quarantine(what, engine.now())
        self._prepare_domus(crossing)
        self._engine.launch(self._directory.path / "manifest.json")
        self.ns_per_tick = self.manifest["ns_per_tick"]
        self.publish()
        from vre.platform.accounts import Reader

        self.reader = Reader(self.manifest)
        self.changes = Changes(self)
        self._rebalancer = Rebalancer(self)
        self._captures = Captures(self.manifest, self.report)
        self.journals = Journals(self.manifest, self.report, self._lines.say)
        if isinstance(self._engine, Crew):
            self._engine.watch = self._watch
        else:
            self._engine.each_step = self._read_words
        self.domus.begin(list(self.builder.tenants.values()), self.wait)
        self._control = ControlServer(self._directory.path / "control", self)
        self._cleanup.callback(self._control.close)
        store64(self.manifest["wire"]["address"] + WIRE["gate"], 1)
        self._ready = True
        for plugin, why in BROKEN.items():
            self.report(f"the elements of plug-in {plugin} are missing: {why}")
        self.report_notes()

    def _fit_machine(self) -> None:
        """Give ports that say nothing the speed and the buffer of the machine's."""
        machine = MACHINES[self.model.machine]
        for nic in self.model.nics.values():
            nic.speed = nic.speed or machine.speed or None
            if machine.nic_bytes and nic.slots == RING_SLOTS:
                nic.slots = machine.slots()

    def _prepare_domus(self, crossing: bool) -> None:
        domus: Domus | VirtualDomus
        if isinstance(self._engine, Crew):
            jails = self._directory.path / "jail"
            jails.mkdir(exist_ok=True)
            shares = Shares(self.model.name, self._directory.path / "groups")
            self._cleanup.callback(shares.close)
            domus = Domus(self.model, self.manifest, jails, self.plan, shares, self.say, self.report)
            domus.boundary = self.boundary
            if crossing:
                domus.prepare()
        else:
            domus = VirtualDomus(self.model, self.builder, MACHINES[self.model.machine], self._engine.echo)
        self._cleanup.callback(domus.end)
        domus.on_control = lambda name, message: answer(self.boundary, self.handle(name), message)
        self.domus = domus

    def _deadline(self, router: str) -> float:
        return self.model.routers[router].deadline_ns / 1e9

    def _read_words(self) -> None:
        """Read what workers, wire and writers have to tell."""
        self._captures.look()
        self.journals.look()

    def _watch(self) -> None:
        watching, self._watching = self._watching, True
        try:
            self._read_words()
            self.domus.look()
            self.watchdog.look(self.now())
            self._wire_watch.look(self.now())
            if self.changing:
                # Others are answered while it waits, for a compiler or for a domU; other changes are refused.
                self._control.serve()
        finally:
            self._watching = watching

    def _await_readers(self, router: str) -> None:
        """Wait until the cores of a router have finished the slices that they were in. Raises HandlerError."""
        if self._watching:
            # It is a domU that asks, or something else is being done: nobody waits for its sake.
            raise HandlerError("its room is given back in a moment: try again")
        self.quiesce(*sorted(set(self.builder.tenants[router].cores.values())))

    def _make_engine(self) -> Crew | Simulation:
        if self.model.clock == "virtual":
            from vre.platform.simulation import Simulation

            return Simulation(self.manifest, self.model, self.say)
        return Crew(self.manifest, self.plan, self.say, self.report)

    @held(text=is_a(str, "text"))
    def say(self, text: str) -> None:
        """Tell whoever started the platform something; nobody waits until it is read."""
        self._voice.say(text)

    @held(event=is_a(str, "text"))
    def report(self, event: str) -> None:
        """Take note of an event."""
        event = escape(event, _LONGEST_EVENT)
        self.events.append(event)
        self._events.append({"s": round(self.elapsed(), 3), "event": event})
        self.say(event)

    def report_notes(self) -> None:
        """Report what is odd about the links that have been planned, once."""
        while self.links.notes:
            self.report(self.links.notes.pop(0))

    def recent_events(self) -> list[dict[str, Any]]:
        """Return the last events, each with its time in seconds since the start."""
        return list(self._events)

    def make_room(self) -> None:
        """Make the segments that have been planned, all or none. Raises PlatformError."""
        try:
            self._reserve(self.builder.space.bytes_needed)
            self.builder.space.create()
        except SegmentError as error:
            raise PlatformError(str(error)) from None

    def renew(self) -> None:
        """Put processes that know the manifest as it is now in place of those that run."""
        self._engine.change(self._directory.path / "manifest.json")

    def publish(self, upcoming: list[dict[str, Any]] | None = None) -> None:
        """Write the manifest anew: what is where has changed. `upcoming` are configurations to get ready for."""
        fresh = {
            "upcoming": upcoming or [],
            "inside": [r.inner.shape.as_dict() | {"name": r.name} for r in self.model.routers.values() if r.inner],
            **self.builder.manifest(),
            "wire": self.links.manifest(),
            "pid": os.getpid(),
            "dilated": self.plan.dilated,
            "poll": self.model.idle == "poll",
            "turn_ns": self.model.turn_ns,
            "sample": self.model.sample,
            "memory": self.model.memory,
        }
        # The same object: readers and processes' keeper hold on to it. Its keys are always the same.
        self.manifest.update(fresh)
        try:
            self._directory.write_manifest(self.manifest)
        except OSError as error:
            raise PlatformError(f"the manifest cannot be written: {error.strerror}") from None
        if self._ready:
            self._engine.nudge()

    def _detach(self) -> None:
        self.builder.space.sweep()
        for segment in self.builder.space.segments.values():
            segment.detach()

    @staticmethod
    def _reserve(needed: int) -> None:
        try:
            free = cpus.shm_free()
        except OSError as error:
            raise PlatformError(f"this host has no /dev/shm: {error.strerror}") from None
        if needed > free:
            raise PlatformError(f"the platform needs {needed} bytes of shared memory; /dev/shm has {free} free")

    @held(seconds=duration)
    def tend(self, seconds: float) -> None:
        """Let time pass, supervise, and serve requests: the only way that it passes for the platform's own process."""
        end = self.now() + seconds
        while (left := end - self.now()) > 1e-9:
            self.wait(min(left, _TEND_S))
            self._control.serve()
            self._rebalancer.look()
            self.changes.look()

    @held(seconds=duration)
    def wait(self, seconds: float) -> None:
        """Let time pass, and supervise; nothing else happens."""
        self._engine.tend(seconds)

    def demands(self) -> dict[tuple[str, int], float]:
        """Return what part of a core each task can use, as far as that is known."""
        return self._rebalancer.demands if self._ready else {}

    @held(seconds=optional(duration), tick=optional(function))
    def run(self, seconds: float | None = None, tick: Callable[[float], None] | None = None) -> None:
        """Run for a time, or until every finite link has drained; then let what is in flight leave.

        Parameters
        ----------
        seconds : float, optional
            None: until all finite links are done, or for ever where a link has no end.
        tick : callable, optional
            Called ten times a second, or more often, with the seconds since the start.
        """
        self.start()
        begun = self.now()
        while seconds is None or self.now() - begun < seconds:
            # Without an end, looks are close at first: what a short run has taken is known within some percent.
            passed = self.now() - begun
            left = min(0.1, passed / 50) if seconds is None else min(0.1, seconds - passed)
            self.tend(max(left, 0.0002))
            if tick:
                tick(self.now() - begun)
            if seconds is None and self.finished() and self.reader.drained():
                break
        self.pause()

    def now(self) -> float:
        """Return the platform's time in seconds, logical where it is virtual; after the end, when that was."""
        return self._engine.now() if self._engine_runs else self._ended

    def elapsed(self) -> float:
        """Return for how long the platform has run, in seconds of its time."""
        return self.now() - self._began

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

    @held(seconds=duration)
    def pause(self, seconds: float = 0.5) -> None:
        """Stop the traffic and wait, at most `seconds`, until nothing is in flight."""
        store64(self.manifest["wire"]["address"] + WIRE["gate"], 0)
        end = self.now() + seconds
        self.tend(0.01)
        while self.now() < end and not self.reader.drained():
            self.tend(0.01)

    @held(router=text(NAME), resting=fields.boolean)
    def rest(self, router: str, resting: bool) -> None:
        """Let the links stop sending to one router, or send again. Raises PlatformError."""
        self._known(router)
        for source in self.manifest["wire"]["sources"]:
            if source["router"] == router:
                store64(source["address"] + SOURCE["paused"], int(resting))

    @held(router=text(NAME), rate=fields.number(*RATES, "a rate"))
    def set_rate(self, router: str, rate: float) -> None:
        """Let the links send to one router at another rate, in packets a second. Raises PlatformError."""
        from vre.memory.wire import interval

        self._known(router)
        plans = [plan for plan in self.links.sources if plan.router == router]
        for plan in plans:
            store64(plan.address + SOURCE["paused"], 1)
        self.quiesce_wire()
        for plan in plans:
            plan.rate = rate
            store64(plan.address + SOURCE["interval"], interval(rate, plan.burst))
            store64(plan.address + SOURCE["start_ns"], -1)
        self.links.share_rings()
        for plan in plans:
            store64(plan.address + SOURCE["paused"], 0)

    def quiesce_wire(self) -> None:
        """Wait until the wire has finished what it was in."""
        self._engine.quiesce([self.manifest["wire"]["address"] + WIRE["loops"]], 2)

    @held(cores=each(fields.integer(0, fields.MAX_CORES)))
    def quiesce(self, *cores: int) -> None:
        """Wait until cores have finished the slices that they were in. Raises PlatformError."""
        self._known_cores(*cores)
        self._engine.quiesce([self.manifest["cores"][core]["address"] + CORE["heartbeat"] for core in cores], 1)

    def halt(self) -> None:
        """Let cores and wire end their work, but keep the memory: accounts can be read exactly."""
        self._engine.halt()
        self._captures.look()
        for _ in range(_LAST_LOOKS):
            if not self.journals.look():
                break

    def lost_lines(self) -> dict[str, int]:
        """Return how many lines nobody took: of each router's elements, and under "" those of the platform itself."""
        if self._ready:
            self._unread = Counter(self.journals.dropped())
        return dict(self._unread + self._lines.dropped + self._voice.dropped)

    def stop(self) -> None:
        """End everything and remove every trace; the figures of the reader and of routers stay readable."""
        if self._ready:
            self.halt()
            self.reader.freeze()
            self.lost_lines()
        self._cleanup.close()
        self._ended = self.now()
        self._ready = self._engine_runs = False
        self._put_away(ended())
        for outlet in (self._voice, self._lines):
            outlet.finish(_FLUSH_S)

    # Views.

    @property
    def running(self) -> bool:
        """Whether it has been started, and has not ended."""
        return self._ready

    @held(name=text(NAME))
    def handle(self, name: str) -> RouterHandle:
        """Return the handle of a router."""
        return RouterHandle(self, name)

    @property
    def routers(self) -> list[RouterHandle]:
        """Handles of all routers."""
        return [RouterHandle(self, name) for name in self.model.routers]

    @held(core=fields.integer(0, fields.MAX_CORES))
    def worker_pid(self, core: int) -> int:
        """Return the process of a core. Raises PlatformError."""
        self._known_cores(core)
        return self._engine.pid(core)

    def captures(self) -> list[str]:
        """Return the files that captures go to."""
        return [link.capture for nic in self.model.nics.values() for link in nic.links if isinstance(link, Capture)]
