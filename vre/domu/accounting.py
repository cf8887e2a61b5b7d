# SPDX-License-Identifier: MIT
"""The processor time of domUs: each gets its router's share of the processors, is watched, and is charged."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from shm.intrinsics import add64, load64, store64
from shm.layout import CLIENT
from shm.manifest import CurrentManifest
from vre.config.model import Model
from vre.domu.cpu_shares import Part, Shares, exceeds, part_beside_one, throttle_for, weight_of
from vre.domu.process import DomuProcess
from vre.supervision.cpus import Plan
from vre.supervision.processor_waits import ProcessorWaits

#: Seconds in a row that a domU may exceed its share of a processor that others wait for.
EXCESS = 3


class CpuShares:
    """The shares of all domUs of one platform.

    Parameters
    ----------
    model : Model
    manifest : dict
        Says how long a tick is.
    plan : Plan
        Which processors they run on.
    shares : Shares
        How each is kept to its share of them.
    report : callable
        Told of events.
    """

    def __init__(
        self,
        model: Model,
        manifest: CurrentManifest,
        plan: Plan,
        shares: Shares,
        report: Callable[[str], None],
    ) -> None:
        self._model, self._manifest, self._plan, self._report = model, manifest, plan, report
        self.shares = shares
        self._waits, self._kept = ProcessorWaits(manifest, plan), 0.0

    def cpus(self, domu: DomuProcess) -> list[int]:
        """Return the processors that a domU may run on."""
        core = domu.memory.router.domu.core
        cpu = None if core is None else self._plan.cpus[core]
        return list(self._plan.domu_cpus) if cpu is None else [cpu]

    def give(self, domu: DomuProcess) -> None:
        """Set a domU's share, if it has changed or has not been confirmed yet."""
        routers = self._model.routers
        part = routers[domu.name].entitlement / sum(r.entitlement for r in routers.values())
        if part == domu.part and domu.share.means:
            return
        domu.part = part
        if domu.share.throttle:
            # The same throttle continues: it knows whether it has stopped the domU.
            domu.share.throttle.part = part_beside_one(weight_of(part))
            return
        domu.share = self.shares.give(
            domu.name, domu.pid, domu.monitor, weight_of(part), domu.memory.router.domu.memory
        )

    def keep(self, domus: Iterable[DomuProcess], now: float) -> None:
        """Once a second: throttle a domU that gets more than its share while others wait, whatever its weight is."""
        if now - self._kept < 1:
            return
        self._kept, waited = now, self._waits.look(now)
        for domu in domus:
            contested = min((waited.get(cpu, 0.0) for cpu in self.cpus(domu)), default=0.0)
            weight = weight_of(domu.part)
            domu.excess = domu.excess + 1 if exceeds(weight, domu.got, contested) else 0
            if domu.excess >= EXCESS and not domu.share.throttle:
                self._report(
                    f"router {domu.name}: its domU has had {domu.got:.0%} of a processor that others waited for; "
                    f"'{domu.share.means}' does not limit it here: it is stopped and continued in turns"
                )
                domu.share = Part("stops", throttle_for(weight))

    def charge(self, domu: DomuProcess, now: float) -> None:
        """Add the processor time that a domU has used to its router's account.

        A core's worker charges what it used of the core's processor, so the router's share in dom0 is less by as much.
        """
        used = domu.account(now)
        core = domu.memory.cores.get(domu.driver)
        if core is not None:
            client = domu.memory.client(core)
            add64(client + CLIENT["domu_ns"], used)
            if set(self.cpus(domu)) & set(self._plan.cpus) and not domu.memory.router.direct:
                debt = load64(client + CLIENT["debt"]) + round(used / self._manifest.now.ns_per_tick)
                store64(client + CLIENT["debt"], debt)
