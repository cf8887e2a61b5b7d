# SPDX-License-Identifier: MIT
"""The placement: each group's core, and the weights that follow. The one owner of both."""

from __future__ import annotations

from vre.memory.layout import Builder
from vre.memory.run_queues import place_all, set_weights
from vre.placement.allocate import Placed, allocate, placement, split


class Placement:
    """The placement of one platform's groups of tasks.

    Parameters
    ----------
    builder : Builder
        The platform's memory; it is filled.

    Attributes
    ----------
    groups : list of Placed
    """

    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self.groups: list[Placed] = []

    def apply(self, groups: list[Placed]) -> None:
        """Record a placement, and give every client the stride that follows."""
        self.groups = groups
        if groups:
            set_weights(self._builder, self.weights())

    def settle(self, router: str, groups: list[Placed]) -> None:
        """Replace one router's groups by these, by none if it has left."""
        self.apply([group for group in self.groups if group.router != router] + groups)

    def weights(self) -> dict[tuple[str, int], float]:
        """Return (router, core) to the router's weight there. Raises ConfigError."""
        return split(self._builder.model, self.groups)


def lay_out(builder: Builder) -> Placement:
    """Allocate all tasks of a platform that has just been filled, and link them. Raises ConfigError."""
    placed = Placement(builder)
    groups = allocate(builder.model)
    place_all(builder, placement(groups))
    placed.apply(groups)
    return placed
