# SPDX-License-Identifier: MIT
"""Laying out impaired links: a record for each direction of each port, a delay line for each that is impaired."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from shm.impairment_layout import (
    CHANCE_BITS,
    DELAY_LINE,
    IMPAIRMENT,
    KEY,
    LINK_SETTINGS,
    LINK_STATE,
    SAMPLE_BITS,
    TABLE_SIZE,
    WAITING,
)
from shm.intrinsics import load64, release64, store64
from shm.manifest import ImpairmentEntry
from shm.segment import Arena
from shm.wire_layout import LINK_BITS, TALLY
from vre.config.distributions import DISTRIBUTIONS, inverse
from vre.config.impairment import Impairment
from vre.memory.address_space import AddressSpace, view
from workers.datapath.packet import LARGE_ROOM

#: Frames that a new delay line has room for at least, so that a later, higher limit needs no new one.
_LEAST = 256
#: A port, and "out" or "in".
Key = tuple[str, str]


@dataclass
class DelayLine:
    """The memory for frames that wait: planned, then filled."""

    label: str
    capacity: int
    address: int
    keys: int
    entries: int
    buffers: int

    def fill(self) -> None:
        """Write the record; the wire makes the heap when it first uses the line."""
        line = view(self.address, DELAY_LINE.dtype)[0]
        line["capacity"], line["keys"] = self.capacity, self.keys
        line["entries"], line["buffers"] = self.entries, self.buffers


class ImpairedLinks:
    """The impairments of all ports of a platform, in both directions.

    Parameters
    ----------
    arena : Arena
        The wire's memory.
    nics : list of str
    devices : iterable of str
        Those of them that lead out of the platform.
    seed : int
        The platform's.
    """

    def __init__(self, arena: Arena, nics: list[str], devices: Iterable[str], seed: int) -> None:
        self._seed = seed
        keys = [(nic, direction) for nic in nics for direction in ("out", "in")]
        self.table = arena.take(8 * len(keys) + 8)
        self.records = {key: arena.take(IMPAIRMENT.size) for key in keys}
        self.tallies = {nic: arena.take(TALLY.size) for nic in devices}
        self._states = {key: arena.take(2 * LINK_STATE.size) for key in keys}
        self._settings = {key: arena.take(2 * LINK_SETTINGS.size) for key in keys}
        self._tables = {name: arena.take(8 * (TABLE_SIZE + 1)) for name in DISTRIBUTIONS}
        #: Of those that have been impaired, in the order of the wire's table.
        self.lines: dict[tuple[str, str], DelayLine] = {}
        self._generation = 0

    def plan(self, space: AddressSpace, nic: str, direction: str, limit: int) -> DelayLine:
        """Plan a delay line in a segment of its own."""
        capacity = max(_LEAST, limit)
        self._generation += 1
        label = f"{nic}-{direction}-{self._generation}"
        arena = space.part("line", label)
        return DelayLine(
            f"line-{label}",
            capacity,
            arena.take(DELAY_LINE.size),
            arena.take(capacity * KEY.size),
            arena.take(capacity * WAITING.size),
            arena.take(capacity * LARGE_ROOM),
        )

    def fill(self, clock: int, claims: dict[Key, int], captures: dict[str, int], devices: dict[str, int]) -> None:
        """Write the first values.

        Parameters
        ----------
        clock : int
            Address of the clock of due times, 0 for the wall clock.
        claims : dict of (str, str) to int
            Port and direction to address of the CLAIMS where frames arrive.
        captures, devices : dict of str to int
            Port to address of its CAPTURE, or DEVICE.
        """
        for (nic, direction), address in self.records.items():
            link = view(address, IMPAIRMENT.dtype)[0]
            digest = hashlib.blake2b(f"{self._seed} {nic} {direction}".encode(), digest_size=8).digest()
            link["seed"] = int.from_bytes(digest[:4], "little") >> 1
            link["salt"] = int.from_bytes(digest[4:], "little") >> 1
            link["clock"] = clock
            link["states"] = link["state"] = self._states[nic, direction]
            link["claims"] = claims.get((nic, direction), 0)
            if direction == "out":
                link["capture"], link["device"] = captures.get(nic, 0), devices.get(nic, 0)
        for name, at in self._tables.items():
            view(at, "i8", TABLE_SIZE + 1)[:] = [round(x * (1 << SAMPLE_BITS)) for x in inverse(name, TABLE_SIZE)]

    def settle(self, nic: str, direction: str, wanted: Impairment) -> None:
        """Put settings in force, with one store; what they have replaced may be read until the wire's round ends."""
        key = (nic, direction)
        address, first = self.records[key], self._settings[key]
        used = load64(address + IMPAIRMENT["settings"])
        target = first + LINK_SETTINGS.size if used == first else first
        settings = view(target, LINK_SETTINGS.dtype)[0]
        values = _words(wanted)
        for name, value in values.items():
            settings[name] = value
        settings["table"], settings["line"] = self._tables[wanted.distribution], self.lines[key].address
        release64(address + IMPAIRMENT["settings"], target)

    def serve(self, wire_count: int) -> None:
        """Let the wire serve all links that have a delay line; `wire_count` is the address of their number."""
        for at, key in enumerate(self.lines):
            store64(self.table + 8 * at, self.records[key])
        release64(wire_count, len(self.lines))

    def uses(self, nic: str, direction: str, line: DelayLine) -> bool:
        """Return whether the wire has begun to use a delay line."""
        return load64(self.records[nic, direction] + IMPAIRMENT["line"]) == line.address

    def entries(self) -> tuple[ImpairmentEntry, ...]:
        """Return the links that have a delay line, for a manifest."""
        return tuple(
            ImpairmentEntry(nic, way, self.records[nic, way], self.tallies.get(nic, 0) if way == "out" else 0)
            for nic, way in self.lines
        )


def _words(wanted: Impairment) -> dict[str, int]:
    """Return settings as LINK_SETTINGS has them."""
    byte_time = round(8e9 / wanted.rate * (1 << LINK_BITS)) if wanted.rate else 0
    states = wanted.loss_r is not None and wanted.loss > 0
    chances = {
        "correlation": wanted.correlation,
        "loss": wanted.loss,
        "loss_correlation": wanted.loss_correlation,
        "recovery": max(wanted.loss_r or 0.0, 2.0**-CHANCE_BITS) if states else 0.0,
        "loss_good": 1 - wanted.loss_k,
        "loss_bad": 1 - wanted.loss_h,
        "duplicate": wanted.duplicate,
        "duplicate_correlation": wanted.duplicate_correlation,
        "reorder": wanted.reorder,
        "reorder_correlation": wanted.reorder_correlation,
        "corrupt": wanted.corrupt,
        "corrupt_correlation": wanted.corrupt_correlation,
    }
    return {name: round(chance * (1 << CHANCE_BITS)) for name, chance in chances.items()} | {
        "limit": wanted.limit,
        "delay": wanted.delay,
        "jitter": wanted.jitter,
        "gap": wanted.gap,
        "byte_time": byte_time,
        "burst_ns": wanted.burst * byte_time >> LINK_BITS,
        "overhead": wanted.overhead,
    }
