# SPDX-License-Identifier: MIT
"""Fault injection: rogues in a router of their own, beside a user's routers and their traffic.

All faults are let loose on one running platform, one after the other: the rogues' router keeps its place, only the
code in its domU is another each time. What is observed is the same for all: what the others lose, whether dom0's
workers live, whether every packet is accounted for, whether descriptors are left open.
"""

from __future__ import annotations

import os
import random
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import vre.chaos.rogues
from shm.intrinsics import load64
from shm.layout import CORE
from shm.wire_layout import WIRE
from vre.chaos import dom0_faults as dom0_faults  # enters its faults in the table, and those of processes
from vre.chaos.fault_table import FAULTS
from vre.chaos.victims import Harm, Victims
from vre.config.model import Domu, Model, Router
from vre.config.reader import from_text
from vre.domu.policy import QUARANTINED, RUNNING, STARTING
from vre.domu.supervisor import DomuSupervisor
from vre.errors import PlatformEnded, PlatformError, VreError, nearest
from vre.platform.platform import Platform
from workers.datapath.turn import DRAIN

#: The rogues' router, and what it does with packets that come back.
ROUTER = "vre-chaos"
_CONFIG = "RatedSource(RATE 20000, LENGTH 60) -> u :: Untrusted({file}:Attack) -> Discard; u[1] -> Discard;"
#: Faults before one may come again, if they are random: some 10 s.
_APART = 8
#: The element that the domU has between two faults: it returns what it gets.
_POLITE = Path(vre.chaos.rogues.__path__[0]) / "polite.py"
#: How long a busy host may take until a rogue has its first packet, in seconds.
_FED_S = 10.0
#: How long the rogues' domU may take to return its first packet, also on a host that is busy compiling.
_WORKS_S = 60.0
#: The status of a rogue that has got what it should not.
SUCCEEDED = 99


@dataclass(frozen=True)
class Fault:
    """One fault: its group, what it does, and the rogue's file; None for those of :mod:`vre.chaos.dom0_faults`."""

    name: str
    group: str
    what: str
    file: Path | None


@dataclass(frozen=True)
class Verdict:
    """What came of a fault.

    `noticed_ms` is how long it took from the last sign of life until the domU was closed, None if nothing had to be
    noticed; `victim_loss` the largest part of its packets that a victim lost in a window, beyond that without a fault;
    `victim_shortfall` the largest part of the share it was due that a victim did not get which is offered too much.
    """

    name: str
    group: str
    contained: bool
    noticed_ms: float | None
    victim_loss: float
    victim_shortfall: float
    outcome: str
    why: str = ""


def faults() -> dict[str, Fault]:
    """Return all faults by name."""
    found = {}
    for file in sorted(Path(vre.chaos.rogues.__path__[0]).glob("*.py")):
        first = file.read_text().split('"""')[1].split("\n")[0]
        group, colon, what = first.partition(": ")
        if colon and file.stem not in ("__init__", "trigger"):
            found[file.stem] = Fault(file.stem, group, what, file)
    return found | {name: Fault(name, fault.group, fault.what, None) for name, fault in FAULTS.items()}


def chosen(names: tuple[str, ...]) -> list[Fault]:
    """Return the faults of these names, all if there are none. Raises PlatformError for a name that is not known."""
    known = faults()
    for name in names:
        if name not in known:
            raise PlatformError(f"there is no fault '{name}'{nearest(name, known)}; 'vre chaos --list' shows all")
    return [known[name] for name in names] if names else list(known.values())


class Chaos:
    """A user's platform with rogues beside it.

    Parameters
    ----------
    model : Model
        What the user runs; its routers are the victims.
    say : callable
        Told of progress.
    """

    def __init__(self, model: Model, say: Callable[[str], None]) -> None:
        self.victims = list(model.routers)
        graph = from_text(_CONFIG.format(file=_POLITE), "chaos")
        least = min(router.entitlement for router in model.routers.values())
        model.routers[ROUTER] = Router(ROUTER, least, graph, domu=Domu(memory=128 << 20))
        self.platform = Platform(model=model, say=say)
        self._say = say

    def __enter__(self) -> Self:
        self.platform.start()
        try:
            self._await_domus()
            self.platform.tend(0.5)
            self._require_a_working_domu()
        except BaseException:
            self.platform.stop()
            raise
        self._watched = Victims(self.platform, self.victims)
        self._descriptors = self._open_descriptors()
        return self

    def __exit__(self, *exception: object) -> None:
        self.platform.stop()

    @property
    def _domus(self) -> DomuSupervisor:
        assert isinstance(self.platform.parts.domus, DomuSupervisor)
        return self.platform.parts.domus

    def _open_descriptors(self) -> int:
        """Count open descriptors, but for those of domUs: one that happens to be quarantined has none."""
        return len(os.listdir("/proc/self/fd")) - sum(domu.descriptors for domu in self._domus.domus.values())

    # One fault.

    def inject(self, fault: Fault) -> Verdict:
        """Let a fault loose, and watch.

        Where a victim lost too much, it is let loose twice more and the median of the losses counts: a shared host
        stops its guests for tens of ms now and then, and what a fault does it does again.
        """
        self._say(f"{fault.name}: {fault.what}")
        tries = [self._once(fault)]
        if _harm(tries[0]).too_much and not self._costs(fault):
            tries += [self._once(fault) for _ in range(2)]
        verdict = next((v for v in tries if not v.contained), sorted(tries, key=_harm)[len(tries) // 2])
        if verdict.contained and _harm(verdict).too_much and not self._costs(fault):
            return replace(verdict, contained=False, why=_harm(verdict).why)
        return verdict

    @staticmethod
    def _costs(fault: Fault) -> bool:
        """Return whether no ring can hold what victims are sent during a fault."""
        return fault.file is None and FAULTS[fault.name].costs

    def _once(self, fault: Fault) -> Verdict:
        """Let a fault loose once; whether victims lost too much is not judged yet."""
        self.platform.events.clear()
        self._wrong = ""
        workers = self._restarts()
        domu = self._domus.domus[ROUTER]
        before = domu.serial
        given = 0
        if fault.file:
            self._load(fault.file)
            given = self._given()
            harm = self._watched.watch(lambda: None).worst(self._watch_until_fed(domu, given))
        else:
            harm = self._watched.watch(lambda: self._hurt_dom0(fault.name))
            # What it added and removed again, and what it started anew, settles.
            self.platform.tend(0.2)
        closed = domu.serial != before + bool(fault.file)
        outcome = self._outcome(domu, before, fault)
        problems = list(self._problems(fault, domu, workers))
        if fault.file and outcome == "harmless" and self._given() == given:
            problems.append("it did nothing, as its domU got no packet: the host is too busy to judge it")
        said = [event for event in self.platform.events if not any(n in event for n in _NOISE)]
        noticed = round(domu.noticed * 1e3, 1) if closed else None
        if fault.file:
            self._load(_POLITE)
        return Verdict(
            name=fault.name,
            group=fault.group,
            contained=not problems,
            noticed_ms=noticed,
            victim_loss=round(harm.loss, 4),
            victim_shortfall=round(harm.shortfall, 4),
            outcome=outcome,
            why="; ".join(problems) or (said[0] if said else ""),
        )

    def _outcome(self, domu: Any, before: int, fault: Fault) -> str:
        if not fault.file:
            return "replaced" if FAULTS[fault.name].kills else "harmless"
        if domu.policy.state == QUARANTINED:
            return "quarantined"
        return "restarted" if domu.serial > before + 1 else "harmless"

    def _problems(self, fault: Fault, domu: Any, workers: int) -> Iterator[str]:
        if not (fault.file is None and FAULTS[fault.name].kills) and self._restarts() != workers:
            yield "a worker or the wire of dom0 died"
        if self._wrong:
            yield self._wrong
        if f"status {SUCCEEDED}" in domu.cause:
            yield "it got what it should not"
        for router in self.platform.routers:
            if not self._accounted(router.name):
                yield f"router {router.name}: packets are not accounted for"

    def _watch_until_fed(self, domu: Any, given: int) -> Harm:
        """Watch on until a rogue has had a packet, or has ended; return the most that a victim suffered."""
        harm, serial, end = Harm(), domu.serial, time.monotonic() + _FED_S
        while self._given() == given and domu.serial == serial and time.monotonic() < end:
            harm = harm.worst(self._watched.watch(lambda: None))
        return harm

    def _require_a_working_domu(self) -> None:
        """Raise PlatformError if the rogues' domU fails by itself: every fault would seem to be contained."""
        domu, end = self._domus.domus[ROUTER], time.monotonic() + _WORKS_S
        while not self._works(domu):
            if time.monotonic() >= end:
                raise PlatformError(
                    f"no fault can be judged here: the rogues' domU does not work, {domu.cause or 'yet'}"
                )
            self.platform.tend(0.05)

    def _works(self, domu: Any) -> bool:
        returned = self.platform.handle(ROUTER).stats().dropped.get("discard", 0)
        return domu.policy.state == RUNNING and (returned > 0 or self._given() == 0)

    def _await_domus(self) -> None:
        """Wait until the users' domUs are ready, as long as they may take to start."""
        end = time.monotonic() + max(domu.memory.router.domu.start_s for domu in self._domus.domus.values())
        while any(domu.policy.state == STARTING for domu in self._domus.domus.values()) and time.monotonic() < end:
            self.platform.tend(0.05)

    def _given(self) -> int:
        """Return how many packets the rogues' domU has been given."""
        stats = self.platform.handle(ROUTER).stats()
        return stats.injected - stats.dropped.get("domu_down", 0) - stats.dropped.get("channel_full", 0)

    def _accounted(self, name: str) -> bool:
        """Return whether no more packets are missing than workers may have in hand; the end is judged exactly."""
        for _ in range(200):
            if abs(self.platform.handle(name).stats().balance) <= DRAIN * self.platform.model.quantum:
                return True
            self.platform.parts.runtime.wait(0.001)
        return False

    def _load(self, file: Path) -> None:
        """Put other code into the rogues' domU."""
        domu = self._domus.domus[ROUTER]
        while domu.closing is not None:
            self.platform.parts.runtime.wait(0.002)
        self._domus.replace_code(ROUTER, str(file), self.platform.parts.runtime.wait)

    def _hurt_dom0(self, name: str) -> None:
        try:
            self._wrong = FAULTS[name].let_loose(self.platform)
        except PlatformEnded:
            raise
        except VreError as error:
            self._wrong = f"the platform could not do what it should: {error}"

    def _restarts(self) -> int:
        manifest = self.platform.parts.runtime.manifest
        workers = sum(load64(core.address + CORE["restarts"]) for core in manifest.cores)
        return workers + load64(manifest.wire.address + WIRE["restarts"])

    def leftovers(self) -> list[str]:
        """End the traffic; return what dom0 has kept that it should not, and packets that are missing."""
        self.platform.tend(0.3)
        more = self._open_descriptors() - self._descriptors
        found = [f"{more} descriptors more than before"] if more > 2 else []
        self.platform.pause()
        self.platform.halt()
        accounts = self.platform.reader.routers()
        return found + [f"router {s.name}: {s.balance} packets are not accounted for" for s in accounts if s.balance]


def _harm(verdict: Verdict) -> Harm:
    return Harm(verdict.victim_loss, verdict.victim_shortfall)


#: Events that say nothing about a fault.
_NOISE = ("its domU says", "runs again", "not shown")


def run(
    model: Model,
    names: tuple[str, ...],
    say: Callable[[str], None],
    seconds: float | None = None,
    seed: int = 1,
) -> dict[str, Any]:
    """Inject faults: each once, or for some time random ones; return verdicts as plain data."""
    picked = chosen(names)
    if model.clock == "virtual":
        raise PlatformError("in virtual time no untrusted code runs: there is nothing to contain; choose another clock")
    skipped: list[Fault] = []
    if model.sandbox == "unsafe":
        # Without a jail they would do to the host what they try.
        skipped = [fault for fault in picked if fault.file]
        picked = [fault for fault in picked if not fault.file]
    if not picked:
        raise PlatformError("without a jail no rogue is let loose: leave out --unsafe-trust-elements")
    verdicts: list[Verdict] = []
    rng = random.Random(seed)
    # A path in which worker after worker is killed counts as their cause.
    recent: deque[Fault] = deque(maxlen=_APART)
    with Chaos(model, say) as chaos:
        end = time.monotonic() + (seconds or 0)
        todo = list(picked)
        while todo or (seconds and time.monotonic() < end):
            fault = rng.choice([f for f in picked if f not in recent] or picked) if seconds else todo.pop(0)
            recent.append(fault)
            todo = [] if seconds else todo
            verdicts.append(chaos.inject(fault))
        left = chaos.leftovers()
        tier = chaos.platform.parts.domus.tier
    return {
        "faults": [asdict(verdict) for verdict in verdicts],
        "skipped": [{"name": fault.name, "why": "it would run without a jail"} for fault in skipped],
        "left": left,
        "tier": tier,
        "pass": all(verdict.contained for verdict in verdicts) and not left,
    }
