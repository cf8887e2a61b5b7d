# SPDX-License-Identifier: MIT
"""Starting a platform: a row of phases, each of which returns what the next one takes.

What the phases made is undone by `cleanup`, in the opposite order, however far the start has come.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from shm.run_directory import RunDirectory
from shm.segment import SegmentError, claim_window, free_window
from vre.config.captures import Captures, obstacles
from vre.config.machines import MACHINES
from vre.config.model import RING_SLOTS, Model
from vre.control_plane.planes import ControlPlanes
from vre.domu.accounting import CpuShares
from vre.domu.cpu_shares import Shares
from vre.domu.domus import Domus
from vre.domu.modelled import ModelledDomus
from vre.domu.supervisor import DomuSupervisor
from vre.errors import ConfigError, PlatformError, Problem
from vre.links.devices import Devices
from vre.memory.layout import Builder
from vre.memory.placed import lay_out
from vre.memory.wire import Links
from vre.platform import traffic
from vre.platform.changes import Changes
from vre.platform.commands import Commands
from vre.platform.control_socket import ControlServer, verbs_of
from vre.platform.domu_commands import answer
from vre.platform.engine import Engine
from vre.platform.events import Events
from vre.platform.handlers import Handlers
from vre.platform.path_costs import PathCosts
from vre.platform.publication import Publication
from vre.platform.rebalancer import Rebalancer
from vre.platform.router import RouterHandle
from vre.platform.running import Running
from vre.platform.runtime import Runtime, make_room
from vre.platform.simulation import Simulation
from vre.supervision import cpus
from vre.supervision.boundary import Boundary
from vre.supervision.journals import Journals
from vre.supervision.processes import ProcessGroup
from vre.supervision.watchdog import Watchdog
from vre.supervision.wire_watch import WireWatch
from workers.element import BROKEN

Say = Callable[[str], None]


def start(
    model: Model,
    cleanup: contextlib.ExitStack,
    events: Events,
    boundary: Boundary,
    say: Say,
    show: Callable[[str, str], None],
) -> Running:
    """Start a platform; traffic begins to flow.

    Parameters
    ----------
    model : Model
        Checked; ports get their machine's speed and buffer by default.
    cleanup : ExitStack
        Gets the clean-up of everything.
    events : Events
    boundary : Boundary
    say, show : callable
        Given progress, and the lines of elements with their router's name; neither blocks.

    Raises
    ------
    ConfigError, PlatformError, OSError
        The host cannot run it.
    """
    fit_machine(model)
    plan = cpus.fit(model.cores, model.clock, cpus.cpus(), model.has_domus, model.wire)
    if plan.dilated:
        say(f"dilated time: {plan.why}")
    directory = open_directory(model, cleanup)
    planes = ControlPlanes(model, events.report)
    cleanup.callback(planes.end)
    planes.open()
    runtime = lay_out_memory(model, plan, directory, cleanup, boundary, events.report, say, planes)
    events.begin(runtime.engine.now)
    watchdog, wire_watch = watch_processes(runtime)
    domus = prepare_domus(runtime, directory, cleanup, say)
    runtime.engine.launch(runtime.publication.path)
    runtime.publication.write()
    planes.attach(runtime.builder, runtime.engine.nudge)
    running = assemble(runtime, domus, watchdog, wire_watch, directory, cleanup, events, show, planes)
    watch(running)
    planes.begin(runtime.now())
    domus.begin(list(runtime.builder.routers.values()), runtime.wait)
    traffic.let_in(runtime, True)
    for plugin, why in BROKEN.items():
        events.report(f"the elements of plug-in {plugin} are missing: {why}")
    runtime.report_notes()
    return running


def fit_machine(model: Model) -> None:
    """Give ports the machine's speed and buffer by default."""
    machine = MACHINES[model.machine]
    for nic in model.nics.values():
        nic.speed = nic.speed or machine.speed or None
        if machine.nic_bytes and nic.slots == RING_SLOTS:
            nic.slots = machine.slots()


def open_directory(model: Model, cleanup: contextlib.ExitStack) -> RunDirectory:
    """Return the platform's run directory, locked. Raises PlatformError, ConfigError."""
    directory = RunDirectory(model.name)
    try:
        directory.acquire()
    except SegmentError as error:
        raise PlatformError(str(error)) from None
    cleanup.callback(directory.release)
    blocked = [Problem(None, f"nics.{name}.link: {message}") for name, message in obstacles(model)]
    if blocked:
        raise ConfigError(blocked)
    return directory


def lay_out_memory(
    model: Model,
    plan: cpus.Plan,
    directory: RunDirectory,
    cleanup: contextlib.ExitStack,
    boundary: Boundary,
    report: Say,
    say: Say,
    planes: ControlPlanes,
) -> Runtime:
    """Return a runtime whose memory is filled and published, and whose engine waits to be launched."""
    from vre.memory.address_space import AddressSpace

    base = claim_window(model.name)
    cleanup.callback(free_window, base)
    builder = Builder(model, AddressSpace(base, directory.prefix))
    planes.name_namespaces(builder)
    links = Links(builder, plan.dilated)
    cleanup.callback(_let_go, builder)
    make_room(builder)
    builder.fill()
    placement = lay_out(builder)
    links.fill()
    # From here on interfaces of the system are held: they go after the processes that use them.
    devices = Devices(links.devices, report)
    cleanup.callback(devices.close)
    publication = Publication(directory, links)
    publication.write()
    engine: Engine
    if model.clock == "virtual":
        engine = Simulation(publication.manifest, model, say)
    else:
        engine = ProcessGroup(publication.manifest, plan, say, report, devices.descriptors)
    cleanup.callback(engine.end)
    return Runtime(model, plan, builder, links, devices, placement, publication, engine, boundary, report)


def _let_go(builder: Builder) -> None:
    builder.space.sweep()
    for segment in builder.space.segments.values():
        segment.detach()


def prepare_domus(runtime: Runtime, directory: RunDirectory, cleanup: contextlib.ExitStack, say: Say) -> Domus:
    """Return the supervisor of domUs; none is started yet."""
    model = runtime.model
    if isinstance(runtime.engine, Simulation):
        modelled = ModelledDomus(model, runtime.builder, MACHINES[model.machine], runtime.engine.echo)
        cleanup.callback(modelled.end)
        return modelled
    jails = directory.path / "jail"
    jails.mkdir(exist_ok=True)
    shares = Shares(model.name, directory.path / "groups")
    cleanup.callback(shares.close)
    manifest = runtime.publication.manifest
    cpu_shares = CpuShares(model, manifest, runtime.plan, shares, runtime.report)
    domus = DomuSupervisor(model, manifest, jails, cpu_shares, runtime.boundary, say, runtime.report)
    if model.has_domus:
        domus.prepare()
    cleanup.callback(domus.end)
    return domus


def watch_processes(runtime: Runtime) -> tuple[Watchdog, WireWatch | None]:
    """Return what ends workers that take too long, and a wire that does."""
    engine, routers = runtime.engine, runtime.model.routers
    manifest = runtime.publication.manifest
    watchdog = Watchdog(
        manifest, lambda name: routers[name].deadline_ns / 1e9, engine.holder, engine.expel, runtime.report
    )
    if not isinstance(engine, ProcessGroup):
        return watchdog, None
    engine.exits.quarantine = lambda what: watchdog.quarantine(what, engine.now())
    return watchdog, WireWatch(manifest, engine.wire_holder, engine.expel_wire, runtime.report)


def assemble(
    runtime: Runtime,
    domus: Domus,
    watchdog: Watchdog,
    wire_watch: WireWatch | None,
    directory: RunDirectory,
    cleanup: contextlib.ExitStack,
    events: Events,
    show: Callable[[str, str], None],
    planes: ControlPlanes,
) -> Running:
    """Return the parts of a platform whose engine runs; its control socket is open."""
    from vre.platform.accounts import Reader

    manifest = runtime.publication.manifest
    handlers, reader, costs = Handlers(runtime.model, runtime.builder), Reader(manifest), PathCosts(runtime)
    changes = Changes(runtime, domus, lambda: costs.demands)
    commands = Commands(runtime, changes, handlers, domus, watchdog, reader)
    verbs = verbs_of(commands, {"events": events.rows, "domus": domus.rows, "control": planes.rows})
    control = ControlServer(directory.path / "control", runtime.boundary, verbs)
    cleanup.callback(control.close)
    return Running(
        runtime,
        handlers,
        domus,
        watchdog,
        wire_watch,
        Journals(manifest, runtime.report, show),
        Captures(manifest, runtime.report),
        Rebalancer(runtime, costs, changes),
        changes,
        commands,
        reader,
        control,
        planes,
    )


def watch(running: Running) -> None:
    """Connect supervision to the passing of time, and domUs' requests to their answers."""
    runtime = running.runtime

    def asked(name: str, message: dict[str, object]) -> dict[str, object]:
        handle = RouterHandle(name, lambda: running.reader, lambda: running.commands)
        return answer(runtime.boundary, handle, message)

    running.domus.on_control = asked
    if isinstance(runtime.engine, Simulation):
        runtime.engine.each_step = running.read_words
    else:
        runtime.engine.watch = running.look
