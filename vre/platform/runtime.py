# SPDX-License-Identifier: MIT
"""The state of one running platform: its memory, its engine, and what all changes use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shm.layout import CORE
from shm.manifest import Manifest, RouterEntry
from shm.segment import SegmentError
from shm.wire_layout import WIRE
from vre.config.model import Model
from vre.errors import PlatformError
from vre.links.devices import Devices
from vre.memory.layout import Builder
from vre.memory.placed import Placement
from vre.memory.wire import Links
from vre.platform.engine import Engine
from vre.platform.publication import Publication
from vre.supervision import cpus
from vre.supervision.boundary import Boundary


def make_room(builder: Builder) -> None:
    """Make the planned segments, all or none. Raises PlatformError."""
    try:
        free = cpus.shm_free()
    except OSError as error:
        raise PlatformError(f"this host has no /dev/shm: {error.strerror}") from None
    needed = builder.space.bytes_needed
    if needed > free:
        raise PlatformError(f"the platform needs {needed} bytes of shared memory; /dev/shm has {free} free")
    try:
        builder.space.create()
    except SegmentError as error:
        raise PlatformError(str(error)) from None


@dataclass(frozen=True)
class Runtime:
    """The state of one running platform.

    Attributes
    ----------
    devices : Devices
        The open links out of the platform.
    placement : Placement
        Which group of tasks is on which core.
    report : callable
        Told of events.
    """

    model: Model
    plan: cpus.Plan
    builder: Builder
    links: Links
    devices: Devices
    placement: Placement
    publication: Publication
    engine: Engine
    boundary: Boundary
    report: Callable[[str], None]

    @property
    def manifest(self) -> Manifest:
        """As it is now."""
        return self.publication.manifest.now

    @property
    def ns_per_tick(self) -> float:
        """Length of a tick of the cores' clocks, in ns."""
        return self.manifest.ns_per_tick

    def require_cores(self, *cores: int) -> None:
        """Raise PlatformError if there is no such core; the NIC's own is the one behind the last."""
        for core in cores:
            if not 0 <= core < self.model.places:
                raise PlatformError(f"there is no core {core}: the platform has {self.model.cores}, from 0")

    def now(self) -> float:
        """Return the platform's time in seconds, logical if it is virtual."""
        return self.engine.now()

    def wait(self, seconds: float) -> None:
        """Wait and supervise only."""
        self.engine.tend(seconds)

    def quiesce(self, *cores: int) -> None:
        """Wait until cores have finished their present slices."""
        self.engine.quiesce([self.manifest.cores[core].address + CORE["heartbeat"] for core in cores], 1)

    def quiesce_wire(self) -> None:
        """Wait until the wire has finished its present round."""
        self.engine.quiesce([self.manifest.wire.address + WIRE["loops"]], 2)

    def make_room(self) -> None:
        """Make the segments that have been planned, all or none. Raises PlatformError."""
        make_room(self.builder)

    def publish(self, upcoming: tuple[RouterEntry, ...] = ()) -> None:
        """Write the manifest again, and make cores notice the changes. Raises PlatformError."""
        self.publication.write(upcoming)
        self.engine.nudge()

    def renew(self) -> None:
        """Replace the processes by new ones, which have the present manifest."""
        self.engine.change(self.publication.path)

    def report_notes(self) -> None:
        """Report remarks about the planned links, once."""
        while self.links.notes:
            self.report(self.links.notes.pop(0))
