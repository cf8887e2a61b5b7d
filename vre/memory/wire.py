# SPDX-License-Identifier: MIT
"""Laying out the wire: sources, sinks, accounts, captures, cables and devices."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from shm import journal
from shm.intrinsics import load64, release64, store64
from shm.layout import CLIENTS, CONTROLLER, CORE, RING
from shm.link_layout import DEVICE
from shm.manifest import CaptureEntry, HostedEntry, Manifest, RouterEntry, WireEntry
from shm.wire_layout import (
    CABLE,
    CAPTURE,
    LINK,
    LINK_BITS,
    PART_BITS,
    SINK,
    SOURCE,
    SOURCE_INTERVAL_BITS,
    WIRE,
    WIRE_RINGS,
    WIRE_UNDO,
    WIRE_UNDO_ENTRIES,
)
from vre.config.control_ports import ControlPort
from vre.config.impairment import Impairment
from vre.config.model import Cable, Capture, ControlLink, Generator, Replay
from vre.errors import PlatformError
from vre.memory.address_space import view
from vre.memory.devices import plan_device
from vre.memory.impairments import ImpairedLinks
from vre.memory.layout import Builder
from vre.memory.router import RouterMemory, receives
from vre.memory.sources import SourcePlan, generator_sources, replay_sources
from workers.wire.capture_reader import CaptureError
from workers.wire.traffic import Pause, nothing

#: Bytes of pcapng that may wait for a capture's writer, a power of two: 20 ms of frames at 400 MB/s.
CAPTURE_BYTES = 1 << 23
#: Sources that a wire can serve.
SOURCES = 4096


@dataclass
class Links:
    """Plans and fills the wire's memory for a builder."""

    builder: Builder
    dilated: bool = False
    sources: list[SourcePlan] = field(default_factory=list)
    captures: dict[str, tuple[int, int, Capture]] = field(default_factory=dict)
    cables: dict[str, int] = field(default_factory=dict)
    speeds: dict[str, int] = field(default_factory=dict)
    pause: Pause = nothing  #: called again and again while frames are read or made
    sinks: int = 0  #: how many records there are at `sink_base`
    notes: list[str] = field(default_factory=list)  #: remarks about the links for the user

    def __post_init__(self) -> None:
        model, space = self.builder.model, self.builder.space
        arena = space.part("wire", "0")
        self.wire = arena.take(WIRE.size)
        self.core_list = arena.take(8 * model.cores)
        self.controller = arena.take(CONTROLLER.size)
        self.table = arena.take(8 * SOURCES)
        self.journal = arena.take(journal.footprint(journal.WIRE_BYTES))
        self.undo, self.filled = arena.take(WIRE_UNDO_ENTRIES * WIRE_UNDO.size), arena.take(8 * WIRE_RINGS)
        self.sink_base = arena.take(max(1, len(model.nics) * model.places) * SINK.size)
        self.accounts = {nic: arena.take(8 * (CLIENTS + 1)) for nic in model.nics}
        for nic in model.nics.values():
            if nic.speed:
                self.speeds[nic.name] = arena.take(LINK.size)
            for link in nic.links:
                if isinstance(link, Capture):
                    self.captures[nic.name] = (arena.take(CAPTURE.size), arena.take(CAPTURE_BYTES), link)
                elif isinstance(link, Cable | ControlLink):
                    self.cables[nic.name] = arena.take(CABLE.size)
        outside = [name for name, nic in model.nics.items() if nic.world]
        self.impaired = ImpairedLinks(arena, list(model.nics), outside, model.seed)
        self.device_table = arena.take(8 * max(1, len(model.nics)))
        planned = {name: plan_device(space, nic, model.routers.values()) for name, nic in model.nics.items()}
        self.devices = {name: plan for name, plan in planned.items() if plan}
        for nic in model.nics.values():
            for way, wanted in nic.impaired.items():
                self.impaired.lines[nic.name, way] = self.impaired.plan(space, nic.name, way, wanted.limit)
        self.plan_sources(list(model.routers))

    def plan_sources(self, names: list[str]) -> list[SourcePlan]:
        """Plan the sources of some routers; unclaimed frames are planned with the platform."""
        builder, model = self.builder, self.builder.model
        fresh: list[SourcePlan] = []
        for nic in model.nics.values():
            takers = [r.name for r in model.routers.values() if receives(r, nic.name)]
            for link in nic.links:
                if isinstance(link, Generator) and takers:
                    fresh += generator_sources(builder, nic, link, takers, names, self.pause)
                elif isinstance(link, Replay):
                    fresh += replay_sources(builder, nic, link, takers, names, self.notes, self.pause)
        if len(self.sources) + len(fresh) > SOURCES:
            raise PlatformError(f"a wire has room for {SOURCES} streams of packets to routers")
        for name in {plan.router: None for plan in fresh}:
            arena = builder.space.part("traffic", name or "0")
            for plan in fresh:
                if plan.router == name:
                    plan.plan(arena)
        self.sources += fresh
        return fresh

    def fill(self) -> None:
        """Write every record of the wire's segments."""
        builder = self.builder
        wire = view(self.wire, WIRE.dtype)[0]
        wire["sources"], wire["sinks"] = self.table, self.sink_base
        wire["sink_count"] = self.sinks = len(builder.ports) * len(builder.cores)
        wire["cores"] = self.core_list
        wire["devices"], wire["device_count"] = self.device_table, len(self.devices)
        for i, (nic, device) in enumerate(self.devices.items()):
            store64(self.device_table + 8 * i, device.address)
            port = builder.ports[nic]
            claim_of = partial(_claim_of, builder, nic)
            device.fill(port.claims, claim_of, self.accounts[nic], self.wire + WIRE["gate"], self.dilated)
        wire["journal"], wire["undo"], wire["filled"] = self.journal, self.undo, self.filled
        journal.set_up(self.journal, journal.WIRE_BYTES)
        paced = builder.cores[: builder.model.cores]
        wire["core_count"] = len(paced) if self.dilated else 0
        view(self.core_list, "i8", len(paced))[:] = [plan.address for plan in paced]
        for nic, address in self.speeds.items():
            speed = builder.model.nics[nic].speed
            assert speed
            view(address, LINK.dtype)[0]["byte_time"] = round(8e9 / speed * (1 << LINK_BITS))
        wire["links"] = self.impaired.table
        claims = {nic: self._claims_beyond(nic) for nic in self.cables}
        captures = {nic: address for nic, (address, _, _) in self.captures.items()}
        devices = {nic: plan.address for nic, plan in self.devices.items()}
        for nic, account in self.impaired.tallies.items():
            store64(self.accounts[nic] + 8 * CLIENTS, account)
        arrivals = {(nic, "out"): at for nic, at in claims.items()}
        arrivals |= {(nic, "in"): builder.ports[nic].claims for nic in devices}
        self.impaired.fill(self.wire + WIRE["paced_ns"] if self.dilated else 0, arrivals, captures, devices)
        for plan in self.sources:
            self.fill_source(plan)
        for memory in builder.routers.values():
            self.open_accounts(memory)
        rings = [(nic, core, ring) for nic, port in builder.ports.items() for core, ring in port.tx.items()]
        for i, (nic, core, ring) in enumerate(rings):
            sink = view(self.sink_base + i * SINK.size, SINK.dtype)[0]
            sink["ring"], sink["counts"], sink["clock"] = ring.address, self.accounts[nic], self.clock(core)
            sink["capture"] = self.captures[nic][0] if nic in self.captures else 0
            sink["cable"] = self.cables.get(nic, 0)
            sink["line"] = self.speeds.get(nic, 0)
            sink["device"] = self.devices[nic].address if nic in self.devices else 0
        for address, buffer, _ in self.captures.values():
            capture = view(address, CAPTURE.dtype)[0]
            capture["buffer"], capture["size"] = buffer, CAPTURE_BYTES
        for nic, address in self.cables.items():
            view(address, CABLE.dtype)[0]["claims"] = claims[nic]
        for (nic, way), line in self.impaired.lines.items():
            line.fill()
            self.impair(nic, way, builder.model.nics[nic].impaired[way])

    def impair(self, nic: str, direction: str, wanted: Impairment) -> None:
        """Put a link's impairments in force; it has a delay line, which every wire process maps."""
        self.impaired.settle(nic, direction, wanted)
        self.impaired.serve(self.wire + WIRE["link_count"])
        address = self.impaired.records[nic, direction]
        if direction == "in":
            for plan in self.sources:
                if plan.nic == nic and plan.router:
                    store64(plan.address + SOURCE["impairment"], address)
            if nic in self.devices:
                store64(self.devices[nic].address + DEVICE["impairment"], address)
            return
        rings = {ring.address for ring in self.builder.ports[nic].tx.values()}
        for at in range(self.sink_base, self.sink_base + self.sinks * SINK.size, SINK.size):
            if load64(at + SINK["ring"]) in rings:
                store64(at + SINK["impairment"], address)

    def open_accounts(self, memory: RouterMemory) -> None:
        """Add a router's account at every port to the wire's tables."""
        for nic, table in self.accounts.items():
            release64(table + 8 * memory.index, memory.tallies[nic])

    def close_accounts(self, memory: RouterMemory) -> None:
        """Remove a router's accounts from the wire's tables; none of its packets is in a TX ring."""
        for nic, table in self.accounts.items():
            if load64(table + 8 * memory.index) == memory.tallies[nic]:
                release64(table + 8 * memory.index, 0)

    def clock(self, core: int) -> int:
        """Return the address of the clock that paces a core's traffic, 0 for the wall clock."""
        paced = self.dilated and core < self.builder.model.cores
        return self.builder.cores[core].address + CORE["clock_ns"] if paced else 0

    def fill_source(self, plan: SourcePlan) -> None:
        """Write a source's record, and add it to the wire's table."""
        source = view(plan.address, SOURCE.dtype)[0]
        schedule = plan.schedule
        try:
            schedule.write(self.pause)
        except CaptureError as error:
            raise PlatformError(str(error)) from None
        source["frames"], source["count"], source["limit"] = schedule.entries, schedule.count, plan.limit
        source["burst"], source["start_ns"] = plan.burst, -1
        source["gate"] = self.wire + WIRE["gate"]
        if schedule.recorded:
            source["interval"] = -1
            last = schedule.last_ns
            source["period_ns"] = last + last // max(1, schedule.count - 1) + 1
        elif plan.rate:
            source["interval"] = interval(plan.rate, plan.burst)
        self._point(source, plan)
        self.serve(plan)

    def serve(self, plan: SourcePlan) -> None:
        """Add a source whose record is written to the wire's table, if it is not there yet."""
        table = view(self.table, "i8", SOURCES)
        there = (table == plan.address).nonzero()[0]
        at = int(there[0]) if there.size else int((table == 0).argmax())
        release64(self.table + 8 * at, plan.address)
        count = self.wire + WIRE["source_count"]
        release64(count, max(load64(count), at + 1))
        self.share_rings()

    def _point(self, source: Any, plan: SourcePlan) -> None:
        builder = self.builder
        queue = builder.ports[plan.nic].queue
        if plan.router:
            memory = builder.routers[plan.router]
            ring = memory.rx[plan.nic].address
            source["full"], source["tag"] = ring + RING["full"], memory.index
            source["ring"] = queue.address if queue else ring
            source["clock"] = self.clock(builder.core_of_port(plan.router, plan.nic))
            source["claim"] = builder.ports[plan.nic].claim_of(memory)
            if (plan.nic, "in") in self.impaired.lines:
                source["impairment"] = self.impaired.records[plan.nic, "in"]
        elif queue:
            # Unclaimed frames take room, and time, before they are classified.
            source["ring"], source["full"], source["tag"] = queue.address, queue.address + RING["full"], CLIENTS
            source["clock"] = self.clock(builder.ports[plan.nic].core)

    def share_rings(self) -> None:
        """Give each source of a port with a single queue its share of the room, by rate, of what is left."""
        order = {int(address): i for i, address in enumerate(view(self.table, "i8", SOURCES)) if address}
        for nic, port in self.builder.ports.items():
            mine = [plan for plan in self.sources if plan.nic == nic and port.queue]
            mine.sort(key=lambda plan: order.get(plan.address, SOURCES))
            rates = [plan.rate or 1e9 for plan in mine]
            for i, plan in enumerate(mine):
                forth, back = rates[i] / sum(rates[i:]), rates[i] / sum(rates[: i + 1])
                store64(plan.address + SOURCE["part"], round(forth * (1 << PART_BITS)))
                store64(plan.address + SOURCE["part_back"], round(back * (1 << PART_BITS)))

    def remove_sources(self, name: str) -> list[SourcePlan]:
        """Remove a router's sources from the wire's table; the wire may be in one until its round ends."""
        gone = [plan for plan in self.sources if plan.router == name]
        table = view(self.table, "i8", SOURCES)
        for plan in gone:
            for at in (table == plan.address).nonzero()[0]:
                release64(self.table + 8 * int(at), 0)
        self.sources = [plan for plan in self.sources if plan.router != name]
        return gone

    def _claims_beyond(self, nic: str) -> int:
        """Return the CLAIMS at the other end of a port's cable, or in its router's control plane."""
        for link in self.builder.model.nics[nic].links:
            if isinstance(link, ControlLink):
                return self.builder.controls[link.router].claims[nic]
        return self.builder.ports[self.far(nic)].claims

    def far(self, nic: str) -> str:
        """Return the port at the other end of a port's cable."""
        return next(link.to for link in self.builder.model.nics[nic].links if isinstance(link, Cable))

    def entry(self) -> WireEntry:
        """Return the wire for a manifest."""
        return WireEntry(
            self.wire,
            self.controller,
            self.journal,
            sources=tuple(plan.entry() for plan in self.sources),
            devices=tuple(plan.entry() for plan in self.devices.values()),
            far={nic: self.far(nic) for nic in self.cables if not isinstance(nic, ControlPort)},
            captures=tuple(
                CaptureEntry(nic, address, link.capture, link.overwrite)
                for nic, (address, _, link) in self.captures.items()
            ),
            impaired=self.impaired.entries(),
        )

    def manifest(self, upcoming: tuple[RouterEntry, ...] = ()) -> Manifest:
        """Return the platform's manifest as it is now; `upcoming` are configurations to get ready for."""
        routers = self.builder.model.routers.values()
        return Manifest(
            **vars(self.builder.memory_map(self.dilated)),
            wire=self.entry(),
            pid=os.getpid(),
            hosted=tuple(
                HostedEntry(router.name, router.hosted_graph.shape.wiring) for router in routers if router.hosted_graph
            ),
            upcoming=upcoming,
            controls=tuple(control.entry() for control in self.builder.controls.values()),
        )


def _claim_of(builder: Builder, nic: str, router: str) -> int:
    """Return the address of a router's claim at a port."""
    return builder.ports[nic].claim_of(builder.routers[router])


def interval(rate: float, burst: int) -> int:
    """Return the time between two frames in a source's unit; that between two bursts fits a word."""
    return max(1, round(min(1e9 / rate * (1 << SOURCE_INTERVAL_BITS), (1 << 62) // burst)))
