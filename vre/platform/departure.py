# SPDX-License-Identifier: MIT
"""The removal of a router, or of one whose addition has failed, in steps that may be repeated.

Its memory is freed only after its users have stopped: its domU, the wire's sources, its tasks. Its tasks are off their
cores, and its last packets sent, before another router can get its index and its memory.
"""

from __future__ import annotations

from vre.domu.domus import Domus
from vre.memory.router import RouterMemory
from vre.memory.run_queues import discharge
from vre.platform.pause import Rest
from vre.platform.runtime import Runtime
from vre.platform.transaction import Later, Step

#: How long the first wait for packets still to be sent may take, in seconds.
_PATIENCE_S = 2.0


class Departure:
    """One router's departure.

    Attributes
    ----------
    memory : RouterMemory, optional
        None if nothing has been planned yet.
    published, told : bool
        It is in the manifest; other processes have been notified.
    """

    def __init__(self, runtime: Runtime, domus: Domus, name: str) -> None:
        self._runtime, self._domus, self._name = runtime, domus, name
        self.memory: RouterMemory | None = None
        self.published = self.told = False
        self._rest: Rest | None = None
        self._patience = _PATIENCE_S

    def steps(self) -> list[Step]:
        """Return the steps, in order."""
        return [
            self._silence,
            self._stop,
            self._await_sent,
            self._strike,
            self._forget,
            self._let_others_know,
            self._runtime.builder.space.sweep,
        ]

    @property
    def _there(self) -> RouterMemory | None:
        """The router, if it has memory."""
        held = self.memory is not None and self._runtime.builder.space.holds(self.memory.label)
        return self.memory if held else None

    def _silence(self) -> None:
        """Stop all sources of its packets."""
        runtime = self._runtime
        if memory := self._there:
            self._domus.dismiss(self._name, runtime.wait)
            runtime.links.remove_sources(self._name)
            for port in runtime.builder.ports.values():
                port.disclaim(memory)
            runtime.quiesce_wire()
            runtime.quiesce(*[port.core for port in runtime.builder.ports.values() if port.queue])
        else:
            runtime.links.remove_sources(self._name)

    def _stop(self) -> None:
        if memory := self._there:
            self._rest = Rest(self._runtime, memory, memory.program, list(memory.cores))
            self._rest.begin()

    def _await_sent(self) -> None:
        """Wait a moment for the wire; if that is not enough, defer the rest."""
        runtime, rest = self._runtime, self._rest
        end, self._patience = runtime.now() + self._patience, 0.0
        while rest and (nic := rest.waiting()):
            if runtime.now() >= end:
                raise Later(f"packets of router '{self._name}' wait at port {nic}")
            runtime.wait(0.0001)

    def _strike(self) -> None:
        """Remove it from all tables that other processes read."""
        runtime = self._runtime
        if memory := self._there:
            runtime.quiesce(*memory.slots)
            discharge(runtime.builder, memory)
            runtime.quiesce(*range(len(runtime.builder.cores)))
            runtime.links.close_accounts(memory)
        runtime.model.routers.pop(self._name, None)
        runtime.builder.routers.pop(self._name, None)
        runtime.placement.settle(self._name, [])

    def _forget(self) -> None:
        space = self._runtime.builder.space
        if memory := self.memory:
            space.forget(f"traffic-{self._name}", [])
            space.forget(memory.program.label, memory.program.rings)
            space.forget(memory.label, list(memory.rx.values()))

    def _let_others_know(self) -> None:
        if self.published:
            self._runtime.publish()
        if self.told:
            self._runtime.renew()
