# SPDX-License-Identifier: MIT
"""The interface to a platform's domUs, which are processes or modelled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from vre.language.graph import Graph
from vre.memory.router import RouterMemory

Wait = Callable[[float], None]
#: Answers a domU's request, given its router's name.
Control = Callable[[str, dict[str, Any]], dict[str, Any]]


class Domus(Protocol):
    """Implemented by :class:`vre.domu.supervisor.DomuSupervisor` and :class:`vre.domu.modelled.ModelledDomus`.

    Attributes
    ----------
    tier : str
        The tier of their jail.
    on_control : callable
        Answers a domU's request, given its router's name.
    """

    tier: str
    on_control: Control

    def begin(self, routers: list[RouterMemory], wait: Wait) -> None:
        """Start the domUs of a starting platform; failures stay alone. Raises ConfigError, PlatformError."""

    def launch(self, routers: list[RouterMemory], wait: Wait) -> None:
        """Start the domUs of added routers. Raises ConfigError, PlatformError."""

    def resume(self, memory: RouterMemory, wait: Wait) -> None:
        """Start again the domU of a router whose elements have been loaded before."""

    def rehearse(self, memory: RouterMemory, graph: Graph, wait: Wait) -> None:
        """Rehearse the untrusted elements of a router's next configuration. Raises ConfigError, PlatformError."""

    def look(self) -> None:
        """Judge all, and take the steps that are due."""

    def dismiss(self, name: str, wait: Wait) -> None:
        """End a router's domU, if it has one. Raises PlatformError."""

    def quarantined(self, name: str) -> bool:
        """Return whether a router's domU is quarantined."""

    def release_quarantine(self, name: str) -> None:
        """Start a quarantined domU again. Raises PlatformError."""

    def rows(self) -> list[dict[str, Any]]:
        """Return the state of each as plain data."""

    def end(self) -> None:
        """End all."""
