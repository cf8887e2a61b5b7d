# SPDX-License-Identifier: MIT
"""What a platform asks of its domUs, whether they are processes or modelled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from vre.language.graph import Graph
from vre.memory.router import RouterMemory

Wait = Callable[[float], None]
#: Answers what a router's domU asks for, by its router's name.
Control = Callable[[str, dict[str, Any]], dict[str, Any]]


class Domus(Protocol):
    """Implemented by :class:`vre.domu.supervisor.DomuSupervisor` and :class:`vre.domu.modelled.ModelledDomus`.

    Attributes
    ----------
    tier : str
        Which jail they are in.
    on_control : callable
        Answers what a router's domU asks for, by its router's name.
    """

    tier: str
    on_control: Control

    def begin(self, routers: list[RouterMemory], wait: Wait) -> None:
        """Start the domUs of a platform that starts; those that fail, fail alone. Raises ConfigError, PlatformError."""

    def launch(self, routers: list[RouterMemory], wait: Wait) -> None:
        """Start the domUs of routers that are added. Raises ConfigError, PlatformError."""

    def resume(self, memory: RouterMemory, wait: Wait) -> None:
        """Start the domU of a router again whose elements have been loaded before."""

    def rehearse(self, memory: RouterMemory, graph: Graph, wait: Wait) -> None:
        """Load the untrusted elements of another configuration of a router. Raises ConfigError, PlatformError."""

    def look(self) -> None:
        """Judge all, and take the steps that are due."""

    def dismiss(self, name: str, wait: Wait) -> None:
        """End a router's domU, if it has one. Raises PlatformError."""

    def quarantined(self, name: str) -> bool:
        """Return whether a router's domU is quarantined."""

    def release_quarantine(self, name: str) -> None:
        """Start a quarantined domU again. Raises PlatformError."""

    def rows(self) -> list[dict[str, Any]]:
        """Return what there is to know of each."""

    def end(self) -> None:
        """End all."""
