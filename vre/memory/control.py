# SPDX-License-Identifier: MIT
"""The memory of a router's control plane: rings to and from its TAPs, and the feed of its routes."""

from __future__ import annotations

from shm.manifest import ControlEntry, TapEntry
from shm.route_layout import CHANGE, FEED, PUMP, PUMP_PORT
from shm.wire_layout import CLAIM, CLAIMS
from vre.config.control_ports import SLOTS, ControlPort
from vre.config.model import ControlLink, Model
from vre.memory.address_space import AddressSpace, RingPlan, view
from vre.memory.router import RouterMemory
from workers.datapath.packet import LARGE_ROOM

#: Changes of routes that may wait for the platform.
_CHANGES = 1 << 13


class ControlMemory:
    """The memory of one router's control plane.

    Parameters
    ----------
    space : AddressSpace
    model : Model
    memory : RouterMemory
        The router's memory, which is planned.

    Attributes
    ----------
    claims : dict of str to int
        Control port to address of the CLAIMS that lead to its TAP.
    namespace : int
        The descriptor of its network namespace; to be set before a manifest is made.
    """

    def __init__(self, space: AddressSpace, model: Model, memory: RouterMemory) -> None:
        router = memory.router
        assert router.control
        self.router, self._most = router, router.control.most_routes
        self.namespace = -1
        arena = space.part("control", router.name)
        self.feed, self._changes = arena.take(FEED.size), arena.take(_CHANGES * CHANGE.size)
        self.ports = [name for name in router.ports if isinstance(name, ControlPort)]
        self.pump = arena.take(PUMP.size)
        self._pump_ports = arena.take(len(self.ports) * PUMP_PORT.size)
        self._buffer = arena.take(LARGE_ROOM)
        self._claim_of = {name: arena.take(CLAIM.size) for name in self.ports}
        self.claims: dict[str, int] = {name: arena.take(CLAIMS.size) for name in self.ports}
        self._up: dict[str, RingPlan] = {name: space.ring(arena, SLOTS) for name in self.ports}
        self._down = {name: memory.rx[name] for name in self.ports}
        self._taps = [
            link.port for name in self.ports for link in model.nics[name].links if isinstance(link, ControlLink)
        ]

    @property
    def pump_ports(self) -> list[int]:
        """The addresses of its PUMP_PORTs."""
        return [self._pump_ports + i * PUMP_PORT.size for i in range(len(self.ports))]

    def fill(self) -> None:
        """Write the first values."""
        feed = view(self.feed, FEED.dtype)[0]
        feed["changes"], feed["size"], feed["most"], feed["wanted"] = self._changes, _CHANGES, self._most, 1
        pump = view(self.pump, PUMP.dtype)[0]
        pump["ports"], pump["count"], pump["buffer"] = self._pump_ports, len(self.ports), self._buffer
        ports = view(self._pump_ports, PUMP_PORT.dtype, len(self.ports))
        for i, name in enumerate(self.ports):
            ports[i]["up"], ports[i]["down"], ports[i]["tap"] = self._up[name].address, self._down[name].address, -1
            claim = view(self._claim_of[name], CLAIM.dtype)[0]
            # All frames: what the router sends there is for the TAP, whatever its address.
            claim["mac"], claim["vlan"], claim["ring"] = -1, -1, self._up[name].address
            claims = view(self.claims[name], CLAIMS.dtype)[0]
            claims["first"], claims["count"] = self._claim_of[name], 1

    def entry(self) -> ControlEntry:
        """Return it for a manifest."""
        taps = tuple(
            TapEntry(tap, self._up[name].address, self._down[name].address)
            for tap, name in zip(self._taps, self.ports, strict=True)
        )
        return ControlEntry(self.router.name, self.namespace, self.feed, self.pump, taps)
