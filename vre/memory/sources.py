# SPDX-License-Identifier: MIT
"""From generators and captures to the wire's sources: frames, receivers and rates."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass

from shm.layout import LINE
from shm.manifest import SourceEntry
from shm.segment import Arena
from shm.wire_layout import FRAME, FRAME_EXTRA, SOURCE
from vre.config.model import IMIX, Generator, Nic, Replay
from vre.errors import ConfigError, Problem
from vre.memory.address_space import view
from vre.memory.layout import Builder
from workers.wire.capture_reader import CaptureError
from workers.wire.replay import Part, Replayed
from workers.wire.traffic import Frame, Pause, generated, nothing


class Listed:
    """A schedule of frames in memory, each distinct frame stored once."""

    recorded, last_ns = False, 0

    def __init__(self, frames: list[Frame]) -> None:
        self._frames = frames
        self._distinct = list(dict.fromkeys(frame.data for frame in frames))
        self.count = len(frames)
        self.room = sum(-(-len(d) // LINE) * LINE for d in self._distinct)
        self.blob = self.entries = 0

    def write(self, pause: Pause = nothing) -> None:
        """Write the frames and their schedule to `blob` and `entries`."""
        places: dict[bytes, int] = {}
        at = self.blob
        for data in self._distinct:
            places[data] = at
            ctypes.memmove(at, data, len(data))
            at += -(-len(data) // LINE) * LINE
        entries = view(self.entries, FRAME.dtype, self.count)
        entries["address"] = [places[frame.data] for frame in self._frames]
        entries["length"] = [len(frame.data) for frame in self._frames]


@dataclass
class SourcePlan:
    """A planned source: its ring, frames and rate."""

    router: str | None
    nic: str
    schedule: Listed | Part
    rate: float | None
    limit: int = -1
    burst: int = 1
    address: int = 0

    def plan(self, arena: Arena) -> None:
        """Allocate its memory."""
        self.address = arena.take(SOURCE.size)
        self.schedule.blob = arena.take(self.schedule.room + LINE, LINE)
        self.schedule.entries = arena.take(max(1, self.schedule.count) * FRAME.size)

    def entry(self) -> SourceEntry:
        """Return it for a manifest."""
        strangers: tuple[tuple[int, int], ...] = ()
        if self.router is None and isinstance(self.schedule, Part):
            strangers = tuple(self.schedule.capture.strangers.most_common())
        return SourceEntry(self.address, self.router, self.nic, self.limit >= 0, strangers)


def generator_sources(
    builder: Builder, nic: Nic, link: Generator, takers: list[str], names: list[str], pause: Pause
) -> Iterator[SourcePlan]:
    """Yield the sources of a generator for the routers in `names`, of all the `takers` that share its rate."""
    routers = builder.model.routers
    macs = [routers[name].ports[nic.name].mac for name in takers]
    sizes = IMIX if link.size == "imix" else ((int(link.size), 1),)
    frames = generated(link, [0x0256_FFFF_FFFD if m is None else m for m in macs], sizes, pause)
    size = sum(s * n for s, n in sizes) / sum(n for _, n in sizes)
    top = nic.speed / 8 / (size + FRAME_EXTRA) if nic.speed else None
    rate = min(link.rate, top) if link.rate and top else link.rate or top
    for i, (name, mine) in enumerate(zip(takers, frames, strict=True)):
        if name not in names:
            continue
        # If the count does not divide evenly, the first routers get one more.
        share = -1 if link.count is None else (link.count + len(takers) - 1 - i) // len(takers)
        own = link.rates.get(name) if link.rates else None
        each = own or (rate / len(takers) if rate else None)
        yield SourcePlan(name, nic.name, Listed(mine), each, limit=share, burst=link.burst)


def replay_sources(
    builder: Builder, nic: Nic, link: Replay, takers: list[str], names: list[str], notes: list[str], pause: Pause
) -> Iterator[SourcePlan]:
    """Yield the sources of a replayed capture for the routers in `names`; with all takers also the unclaimed frames.

    Oddities of the capture are added to `notes`. Raises ConfigError if it cannot be replayed.
    """
    ports = [builder.model.routers[name].ports[nic.name] for name in takers]
    capture = Replayed(link.pcap, [(p.mac, p.vlan) for p in ports], nic.queues == "multi")
    try:
        parts = capture.measure(pause)
    except CaptureError as error:
        raise ConfigError([Problem(None, f"port '{nic.name}': {error}")]) from None
    notes += [f"port {nic.name}: {link.pcap}: {note}" for note in capture.notes]
    for name, part in zip([*takers, None], parts, strict=True):
        if not part.count or (name not in names and not (name is None and set(takers) <= set(names))):
            continue
        recorded = part.recorded = link.rate == "recorded"
        rate = None if recorded or link.rate is None else float(link.rate) * part.count / capture.total
        limit = -1 if link.loop else part.count
        if name is None and rate is None and not recorded and link.loop and not builder.ports[nic.name].queue:
            continue  # an unclaimed stream has no consumer to pace it
        yield SourcePlan(name, nic.name, part, rate, limit)
