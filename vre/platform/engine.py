# SPDX-License-Identifier: MIT
"""What drives a platform's cores and wire: processes in real time, or one process in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol


class Engine(Protocol):
    """Implemented by :class:`vre.supervision.processes.ProcessGroup` and :class:`vre.platform.simulation.Simulation`.

    Attributes
    ----------
    watch : callable
        Called every few milliseconds while time passes.
    """

    watch: Callable[[], None]

    def launch(self, path: Path) -> None:
        """Compile, and start all cores and the wire. Raises PlatformError."""

    def change(self, path: Path) -> None:
        """Switch cores and wire to another manifest, with compiled code for what is new in it."""

    def nudge(self) -> None:
        """Make cores notice changes soon."""

    def now(self) -> float:
        """Return the platform's time in seconds."""

    def tend(self, seconds: float) -> None:
        """Let time pass, and supervise."""

    def quiesce(self, counters: list[int], steps: int) -> None:
        """Wait until each counter, an address, has grown by `steps`."""

    def pid(self, core: int) -> int:
        """Return the process of a core, 0 if it has none."""

    def holder(self, core: int) -> int:
        """Return the process that has a core now, 0 while none has."""

    def expel(self, core: int) -> None:
        """Kill a core's worker; its standby takes over."""

    def halt(self) -> None:
        """Stop cores and wire, but keep the memory."""

    def end(self) -> None:
        """End everything that was started."""
