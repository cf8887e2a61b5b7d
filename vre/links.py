# SPDX-License-Identifier: MIT
"""Laying out the wire: sources, sinks, accounts, captures and cables."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from shm.layout import (
    CABLE,
    CAPTURE,
    CLAIM,
    CORE,
    FRAME,
    LINE,
    SINK,
    SOURCE,
    SOURCE_INTERVAL_BITS,
    TALLY,
    WIRE,
)
from vre.build import Builder, receives, view
from vre.model import IMIX, Cable, Capture, Generator, Nic, Replay
from workers.traffic import Frame, generated, read_capture, sort_frames

#: Bytes of pcapng that may wait to be written to a file.
CAPTURE_BYTES = 1 << 20


@dataclass
class SourcePlan:
    """A source to be: whose ring, which frames, how fast."""

    router: str | None
    nic: str
    frames: list[Frame]
    rate: float | None
    recorded: bool = False
    limit: int = -1
    burst: int = 1
    blob: int = 0
    entries: int = 0


@dataclass
class Links:
    """Plans and fills the wire's segment of a builder."""

    builder: Builder
    sources: list[SourcePlan] = field(default_factory=list)

    def __post_init__(self) -> None:
        model = self.builder.model
        for nic in model.nics.values():
            takers = [r.name for r in model.routers.values() if receives(r, nic.name)]
            for link in nic.links:
                if isinstance(link, Generator) and takers:
                    self._generator(nic, link, takers)
                elif isinstance(link, Replay):
                    self._replay(nic, link, takers)
        arena = self.builder.part("wire", "0")
        self.wire = arena.take(WIRE.size)
        self.core_list = arena.take(8 * model.cores)
        self.source_base = arena.take(max(1, len(self.sources)) * SOURCE.size)
        self.sink_base = arena.take(max(1, len(self.builder.tx)) * SINK.size)
        self.tallies = {nic: arena.take(max(1, len(model.routers)) * TALLY.size) for nic in model.nics}
        self.captures: dict[str, tuple[int, int, str]] = {}
        self.cables: dict[str, tuple[int, int]] = {}
        for nic in model.nics.values():
            for link in nic.links:
                if isinstance(link, Capture):
                    self.captures[nic.name] = (arena.take(CAPTURE.size), arena.take(CAPTURE_BYTES), link.capture)
                elif isinstance(link, Cable):
                    claims = max(1, len(model.routers))
                    self.cables[nic.name] = (arena.take(CABLE.size), arena.take(claims * CLAIM.size))
        for plan in self.sources:
            distinct = {frame.data for frame in plan.frames}
            plan.blob = arena.take(sum(-(-len(d) // LINE) * LINE for d in distinct) + LINE, LINE)
            plan.entries = arena.take(max(1, len(plan.frames)) * FRAME.size)

    def _generator(self, nic: Nic, link: Generator, takers: list[str]) -> None:
        routers = self.builder.model.routers
        macs = [routers[name].ports[nic.name].mac for name in takers]
        sizes = IMIX if link.size == "imix" else ((int(link.size), 1),)
        for i, (name, frames) in enumerate(
            zip(takers, generated(link, [0x0256_FFFF_FFFD if m is None else m for m in macs], sizes), strict=True)
        ):
            rate = link.rate / len(takers) if link.rate else None
            # A count that does not divide evenly: the first routers get one more.
            share = -1 if link.count is None else (link.count + len(takers) - 1 - i) // len(takers)
            self.sources.append(SourcePlan(name, nic.name, frames, rate, limit=share, burst=link.burst))

    def _replay(self, nic: Nic, link: Replay, takers: list[str]) -> None:
        routers = self.builder.model.routers
        frames = read_capture(link.pcap)
        ports = [routers[name].ports[nic.name] for name in takers]
        sorted_frames, rest = sort_frames(frames, [(p.mac, p.vlan) for p in ports])
        total = len(frames)
        for name, mine in [*zip(takers, sorted_frames, strict=True), (None, rest)]:
            if not mine:
                continue
            recorded = link.rate == "recorded"
            rate = None if recorded or link.rate is None else float(link.rate) * len(mine) / total
            limit = -1 if link.loop else len(mine)
            if name is None and rate is None and not recorded and link.loop:
                continue  # as fast as nobody takes them: there is no such rate
            self.sources.append(SourcePlan(name, nic.name, mine, rate, recorded, limit))

    def fill(self) -> None:
        """Write every record of the wire's segment."""
        builder = self.builder
        wire = view(self.wire, WIRE.dtype)[0]
        wire["sources"], wire["source_count"] = self.source_base, len(self.sources)
        wire["sinks"], wire["sink_count"] = self.sink_base, len(builder.tx)
        wire["cores"] = self.core_list
        wire["core_count"] = len(builder.cores) if builder.dilated else 0
        view(self.core_list, "i8", len(builder.cores))[:] = [plan["address"] for plan in builder.cores]
        for i, plan in enumerate(self.sources):
            self._fill_source(view(self.source_base + i * SOURCE.size, SOURCE.dtype)[0], plan)
        for i, ((nic, core), ring) in enumerate(builder.tx.items()):
            sink = view(self.sink_base + i * SINK.size, SINK.dtype)[0]
            sink["ring"], sink["counts"], sink["clock"] = ring.address, self.tallies[nic], self._clock(core)
            sink["capture"] = self.captures[nic][0] if nic in self.captures else 0
            sink["cable"] = self.cables[nic][0] if nic in self.cables else 0
        for address, buffer, _ in self.captures.values():
            capture = view(address, CAPTURE.dtype)[0]
            capture["buffer"], capture["size"] = buffer, CAPTURE_BYTES
        for nic, (address, claims) in self.cables.items():
            self._fill_cable(nic, address, claims)

    def _clock(self, core: int) -> int:
        """Return the address of the clock that paces a core's traffic, 0 for the wall clock."""
        return self.builder.cores[core]["address"] + CORE["clock_ns"] if self.builder.dilated else 0

    def _fill_source(self, source: Any, plan: SourcePlan) -> None:
        places: dict[bytes, int] = {}
        at = plan.blob
        for frame in plan.frames:
            if frame.data not in places:
                places[frame.data] = at
                ctypes.memmove(at, frame.data, len(frame.data))
                at += -(-len(frame.data) // LINE) * LINE
        entries = view(plan.entries, FRAME.dtype, len(plan.frames))
        entries["address"] = [places[frame.data] for frame in plan.frames]
        entries["length"] = [len(frame.data) for frame in plan.frames]
        entries["time_ns"] = np.array([frame.time_ns for frame in plan.frames], dtype=np.int64)
        source["frames"], source["count"], source["limit"] = plan.entries, len(plan.frames), plan.limit
        source["burst"], source["start_ns"] = plan.burst, -1
        source["gate"] = self.wire + WIRE["gate"]
        if plan.recorded:
            source["interval"] = -1
            last = plan.frames[-1].time_ns
            source["period_ns"] = last + last // max(1, len(plan.frames) - 1) + 1
        elif plan.rate:
            source["interval"] = max(1, round(1e9 / plan.rate * (1 << SOURCE_INTERVAL_BITS)))
        if plan.router:
            builder = self.builder
            source["ring"] = builder.rx[plan.nic, plan.router].address
            source["clock"] = self._clock(builder.core_of_port(plan.router, plan.nic))

    def _fill_cable(self, nic: str, address: int, claims: int) -> None:
        far = next(link.to for link in self.builder.model.nics[nic].links if isinstance(link, Cable))
        listed = []
        for router in self.builder.model.routers.values():
            if receives(router, far):
                port = router.ports[far]
                mac = -1 if port.mac is None else port.mac
                listed.append((mac, port.vlan, self.builder.rx[far, router.name].address))
        cable = view(address, CABLE.dtype)[0]
        cable["claims"], cable["claim_count"] = claims, len(listed)
        if listed:
            view(claims, "i8", 3 * len(listed))[:] = [word for claim in listed for word in claim]

    def manifest(self) -> dict[str, Any]:
        """Return what is where in the wire's segment."""
        return {
            "address": self.wire,
            "sources": [
                {
                    "address": self.source_base + i * SOURCE.size,
                    "router": p.router,
                    "nic": p.nic,
                    "finite": p.limit >= 0,
                }
                for i, p in enumerate(self.sources)
            ],
            "tallies": self.tallies,
            "captures": [[nic, address, path] for nic, (address, _, path) in self.captures.items()],
        }
