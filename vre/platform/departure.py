# SPDX-License-Identifier: MIT
"""How a router leaves, and how one is taken back whose addition has failed: in steps, each of which may be repeated.

What it uses is let go only after whoever uses it has been stopped: its domU, the wire's sources, its tasks. Its tasks
have rested, and its last packets are sent, before its index and its memory can be another's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vre.memory.router import Tenant
from vre.memory.run_queues import discharge, set_weights
from vre.placement.allocate import split
from vre.platform.pause import Rest
from vre.platform.transaction import Later, Step

if TYPE_CHECKING:
    from vre.platform.platform import Platform

#: How long the first look at what is still to be sent may take, in seconds.
_PATIENCE_S = 2.0


class Departure:
    """One router's departure.

    Attributes
    ----------
    tenant : Tenant, optional
        None where nothing has been planned yet.
    published, told : bool
        The manifest shows it; other processes have been told of it.
    """

    def __init__(self, platform: Platform, name: str) -> None:
        self._platform, self._name = platform, name
        self.tenant: Tenant | None = None
        self.published = self.told = False
        self._rest: Rest | None = None
        self._patience = _PATIENCE_S

    def steps(self) -> list[Step]:
        """Return what is to be done, in order."""
        return [
            self._silence,
            self._stop,
            self._await_sent,
            self._strike,
            self._forget,
            self._let_others_know,
            self._platform.builder.space.sweep,
        ]

    @property
    def _there(self) -> Tenant | None:
        """The router, if it has memory."""
        held = self.tenant is not None and self._platform.builder.space.holds(self.tenant.label)
        return self.tenant if held else None

    def _silence(self) -> None:
        """Let nobody give it packets any more."""
        platform = self._platform
        if tenant := self._there:
            platform.domus.dismiss(self._name, platform.wait)
            platform.links.remove_sources(self._name)
            for port in platform.builder.ports.values():
                port.disclaim(tenant)
            platform.quiesce_wire()
            platform.quiesce(*[port.core for port in platform.builder.ports.values() if port.queue])
        else:
            platform.links.remove_sources(self._name)

    def _stop(self) -> None:
        if tenant := self._there:
            self._rest = Rest(self._platform, tenant, tenant.program, list(tenant.cores))
            self._rest.begin()

    def _await_sent(self) -> None:
        """Wait a moment for the wire; where that is not enough, the rest is for later."""
        platform, rest = self._platform, self._rest
        end, self._patience = platform.now() + self._patience, 0.0
        while rest and (nic := rest.waiting()):
            if platform.now() >= end:
                raise Later(f"packets of router '{self._name}' wait at port {nic}")
            platform.wait(0.0001)

    def _strike(self) -> None:
        """Take it out of all tables that others look into."""
        platform = self._platform
        if tenant := self._there:
            platform.quiesce(*tenant.slots)
            discharge(platform.builder, tenant)
            platform.quiesce(*range(len(platform.builder.cores)))
            platform.links.close_accounts(tenant)
        platform.model.routers.pop(self._name, None)
        platform.builder.tenants.pop(self._name, None)
        platform.placed = [p for p in platform.placed if p.router != self._name]
        if platform.placed:
            set_weights(platform.builder, split(platform.model, platform.placed))

    def _forget(self) -> None:
        space = self._platform.builder.space
        if tenant := self.tenant:
            space.forget(f"traffic-{self._name}", [])
            space.forget(tenant.program.label, tenant.program.rings)
            space.forget(tenant.label, list(tenant.rx.values()))

    def _let_others_know(self) -> None:
        if self.published:
            self._platform.publish()
        if self.told:
            self._platform.renew()
