# SPDX-License-Identifier: MIT
"""Accounts, read from shared memory by any process at any time, without a request to the platform."""

from __future__ import annotations

import inspect
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np

from shm.intrinsics import load64
from shm.layout import CLIENT, CORE, DECISION, DECISIONS, TASK, TIME_UNIT_NS
from shm.link_layout import DEVICE
from shm.manifest import CurrentManifest, Manifest, RouterEntry
from shm.wire_layout import SOURCE, SUB_BITS, TALLY, TALLY_BUCKETS
from vre.config.captures import row
from vre.config.fields import MAX_CORES, integer
from vre.errors import PlatformError
from vre.memory.address_space import view
from vre.platform import interfaces
from vre.platform.arguments import held
from vre.platform.impairments import rows, strays
from vre.platform.packet_account import dropped, in_flight, made, received

#: A share is judged if a router was due at least this many steps: it may be two steps off its due, which is 4 %.
LEAST_STEPS = 50
#: Percentiles that are reported.
PERCENTILES = {"p50": 50.0, "p99": 99.0, "p99_9": 99.9}


@dataclass(frozen=True)
class RouterStats:
    """One router's account.

    `injected` counts frames that came for it at its ports and packets its elements made; always injected = forwarded +
    dropped + in_flight once nothing moves. Latency is in us, from NIC to wire. `domu_cpu_s` is the CPU time of its
    domU; it is part of `used_ticks` if it was on the processor of a core. A directly mapped router has no share of the
    cores, and is entitled to none.

    A share can be held against an entitlement only while it is contested. `backlogged_s` is for how long, in the time
    of its cores, the router had something to do without a pause, `contested_s` the part of that in which another had,
    too. What it used then is `contested_used`, what it was entitled to `contested_due`: ticks, or accesses to memory
    if these are shared; `contested_step` is how far it can be from its due where a contest begins, and
    where it ends, because turns are whole (:mod:`workers.core.contest`).
    """

    name: str
    entitled: float
    share: float
    injected: int
    forwarded: int
    in_flight: int
    dropped: dict[str, int] = field(default_factory=dict)
    used_ticks: int = 0
    used_lines: int = 0
    packets: int = 0
    cycles_per_packet: float = 0.0
    lines_per_packet: float = 0.0
    latency_us: dict[str, float] = field(default_factory=dict)
    domu_cpu_s: float = 0.0
    ports: dict[str, int] = field(default_factory=dict)
    backlogged_s: float = 0.0
    contested_s: float = 0.0
    contested_used: int = 0
    contested_due: int = 0
    contested_step: int = 0

    @property
    def error(self) -> float | None:
        """The excess over its entitlement, as a fraction of it; None if hardly anything was contested.

        None, too, if its due was a few turns of itself or its rivals: turns are whole, which could make more than 4 %.
        """
        if self.contested_due <= LEAST_STEPS * self.contested_step:
            return None
        return self.contested_used / self.contested_due - 1

    @property
    def balance(self) -> int:
        """Packets unaccounted for; not 0 only while some are in hand."""
        return self.injected - self.forwarded - sum(self.dropped.values()) - self.in_flight

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data, without the name."""
        data = asdict(self) | {"error": self.error}
        del data["name"]
        return data


def contested_jain(stats: list[RouterStats]) -> float | None:
    """Return Jain's index of routers' contested use over their entitlement; None if none competed."""
    rivals = [s for s in stats if s.error is not None]
    if len(rivals) < 2:
        return None
    return jain([float(s.contested_used) for s in rivals], [float(s.contested_due) for s in rivals])


def jain(shares: list[float], entitled: list[float]) -> float:
    """Return Jain's fairness index of use over entitlement: 1 if all are equal.

    (Jain, Chiu and Hawe, 1984)
    """
    parts = [share / promised for share, promised in zip(shares, entitled, strict=True) if promised]
    if not parts:
        return 1.0
    squares = sum(part * part for part in parts)
    return sum(parts) ** 2 / (len(parts) * squares) if squares else 1.0


def bucket_top(bucket: int) -> int:
    """Return the largest latency, in time units, that a histogram bucket counts; see workers.wire.accounts.bucket."""
    octave, step = divmod(bucket, 1 << SUB_BITS)
    if octave == 0:
        return step
    return (((1 << SUB_BITS) + step + 1) << (octave - 1)) - 1


def _gone(*arguments: Any) -> Any:
    raise PlatformError("the platform has ended, and its memory with it")


class Reader:
    """Reads the accounts of one platform's memory by its manifest, which may change meanwhile."""

    def __init__(self, manifest: CurrentManifest) -> None:
        self._manifest = manifest

    @property
    def manifest(self) -> Manifest:
        """As it is now."""
        return self._manifest.now

    def freeze(self) -> None:
        """Freeze the figures as they are now: the memory that they are read from is about to be freed.

        Methods with arguments, except `router` and `sent`, raise PlatformError from then on.
        """
        methods = {name: method for name, method in inspect.getmembers(self, inspect.ismethod) if name[0] != "_"}
        del methods["freeze"]
        last: dict[str, Any] = {
            name: partial(deepcopy, method())
            for name, method in methods.items()
            if not inspect.signature(method).parameters
        }
        left = {stats.name: stats.forwarded for stats in last["routers"]()}
        last["sent"] = lambda name: left[name] if name in left else _gone()
        last["router"] = partial(Reader.router, self)
        last["freeze"] = lambda: None
        # An instance's own attributes go before its class's methods.
        self.__dict__.update(dict.fromkeys(methods, _gone) | last)

    def routers(self) -> list[RouterStats]:
        """Return all routers' accounts."""
        used = self.used()
        total = sum(ticks for ticks, _ in used.values()) or 1
        promised = {r.name: 0.0 if r.direct else r.entitlement for r in self.manifest.routers}
        entitled = sum(promised.values()) or 1.0
        return [
            self._router(router, used[router.name], total, promised[router.name] / entitled)
            for router in self.manifest.routers
        ]

    def router(self, name: str) -> RouterStats:
        """Return one router's account. Raises PlatformError if there is none."""
        for stats in self.routers():
            if stats.name == name:
                return stats
        raise PlatformError(f"there is no router '{name}' any more")

    def sent(self, name: str) -> int:
        """Return how many packets of a router have left the wire. Raises PlatformError if it is gone."""
        for router in self.manifest.routers:
            if router.name == name:
                return sum(load64(at) for at in router.tallies.values())
        raise PlatformError(f"there is no router '{name}' any more")

    def used(self) -> dict[str, tuple[int, int]]:
        """Return the ticks and the memory accesses that each router has been charged, over all cores.

        A directly mapped router uses no core.
        """
        found = {}
        for router in self.manifest.routers:
            clients = () if router.direct else router.clients
            ticks, lines = (sum(load64(c + CLIENT[f]) for c in clients) for f in ("used_ticks", "used_lines"))
            found[router.name] = ticks, lines
        return found

    def _router(self, router: RouterEntry, used: tuple[int, int], total: int, entitled: float) -> RouterStats:
        ticks, lines = used
        ports = {nic: load64(at) for nic, at in router.tallies.items()}
        packets = sum(load64(task.address + TASK["packets"]) for task in router.tasks if task.kind in ("rx", "source"))
        packets += router.carried_packets
        return RouterStats(
            name=router.name,
            entitled=entitled,
            share=ticks / total,
            # Once nothing moves, what came and what was made is what left, was dropped, or is still there.
            injected=received(self.manifest, router) + made(router),
            forwarded=sum(ports.values()),
            dropped=dropped(self.manifest, router),
            in_flight=in_flight(self.manifest, router),
            used_ticks=ticks,
            used_lines=lines,
            packets=packets,
            cycles_per_packet=ticks / packets if packets else 0.0,
            lines_per_packet=lines / packets if packets else 0.0,
            latency_us=self._latency(router),
            domu_cpu_s=sum(load64(client + CLIENT["domu_ns"]) for client in router.clients) / 1e9,
            ports=ports,
            **self._contest(router),
        )

    @staticmethod
    def _contest(router: RouterEntry) -> dict[str, Any]:
        """Return how long a router competed, and what it used and was entitled to then."""
        clients = () if router.direct else router.clients
        fields = ("backlogged_ns", "contested_ns", "contested_used", "contested_due")
        backlogged, contested, used, due = (sum(load64(c + CLIENT[f]) for c in clients) for f in fields)
        return {
            "backlogged_s": backlogged / 1e9,
            "contested_s": contested / 1e9,
            "contested_used": used,
            "contested_due": due,
            "contested_step": max((load64(c + CLIENT["contested_step"]) for c in clients), default=0),
        }

    def _latency(self, router: RouterEntry) -> dict[str, float]:
        buckets = np.zeros(TALLY_BUCKETS, dtype=np.int64)
        count = total = top = 0
        for at in router.tallies.values():
            tally = view(at, TALLY.dtype)[0]
            buckets += tally["buckets"]
            count += int(tally["latency_count"])
            total += int(tally["latency_sum"])
            top = max(top, int(tally["latency_max"]))
        if count == 0:
            return {}
        unit = TIME_UNIT_NS / 1000
        sums = np.cumsum(buckets)
        found = {"mean": total / count * unit}
        for name, percent in PERCENTILES.items():
            found[name] = min(bucket_top(int(np.searchsorted(sums, count * percent / 100))), top) * unit
        found["max"] = top * unit
        return {name: round(value, 3) for name, value in found.items()}

    def unclaimed(self) -> int:
        """Return the number of unclaimed frames."""
        streams = [source.address for source in self.manifest.wire.sources if source.router is None]
        total = sum(load64(address + SOURCE["sent"]) for address in streams)
        cables = (at + TALLY["unclaimed"] for router in self.manifest.routers for at in router.tallies.values())
        devices = (device.address + DEVICE["unclaimed"] for device in self.manifest.wire.devices)
        direct = sum(load64(address) for address in (*cables, *devices))
        return total + direct + sum(one["unclaimed"] for one in self.links())

    def strays(self) -> dict[str, list[int]]:
        """Return port to destination MACs of unclaimed frames, a few of them, the most frequent first."""
        found: dict[str, list[int]] = {}
        for source in self.manifest.wire.sources:
            if source.strangers and load64(source.address + SOURCE["sent"]):
                found.setdefault(source.nic, []).extend(mac for mac, _ in source.strangers)
        for router in self.manifest.routers:
            for nic, at in router.tallies.items():
                if load64(at + TALLY["unclaimed"]):
                    found.setdefault(self.manifest.wire.far[nic], []).append(load64(at + TALLY["stray"]))
        for nic, macs in strays(self.manifest).items():
            found.setdefault(nic, []).extend(macs)
        for device in self.manifest.wire.devices:
            if load64(device.address + DEVICE["unclaimed"]):
                found.setdefault(device.nic, []).append(load64(device.address + DEVICE["stray"]))
        return {nic: list(dict.fromkeys(macs)) for nic, macs in found.items()}

    def claims(self) -> dict[str, dict[str, list[Any]]]:
        """Return port to router to its claim: a MAC (None: all unclaimed frames) and a VLAN (-1: untagged)."""
        found: dict[str, dict[str, list[Any]]] = {}
        for router in self.manifest.routers:
            for nic, claim in router.claims.items():
                found.setdefault(nic, {})[router.name] = [claim.mac, claim.vlan]
        return found

    def links(self) -> list[dict[str, Any]]:
        """Return each impaired link's account, see :func:`vre.platform.impairments.rows`."""
        return rows(self.manifest)

    def interfaces(self) -> list[dict[str, Any]]:
        """Return the account of each interface at a port, see :func:`vre.platform.interfaces.rows`."""
        return interfaces.rows(self.manifest)

    def captures(self) -> list[dict[str, Any]]:
        """Return each capture's account, see :func:`vre.config.captures.row`."""
        return [row(one.nic, one.address, one.path) for one in self.manifest.wire.captures]

    def cores(self) -> list[dict[str, int]]:
        """Return per-core counters. The NIC's internal core is not included."""
        fields = (
            "pid",
            "incarnation",
            "restarts",
            "decisions",
            "busy_ticks",
            "idle_ticks",
            "slow_ticks",
            "slices",
            "preemptions",
            "by_memory",
            "clock_ns",
        )
        cores = [core.address for core in self.manifest.cores if not core.nic]
        return [{name: load64(core + CORE[name]) for name in fields} for core in cores]

    @held(number=integer(0, MAX_CORES), count=integer(0, 1 << 62))
    def decisions(self, number: int, count: int) -> list[dict[str, Any]]:
        """Return the last scheduling decisions of a core, the newest last, from its flight recorder.

        Raises PlatformError if there is no such core.
        """
        if number >= len(self.manifest.cores):
            raise PlatformError(f"there is no core {number}: the platform has {len(self.manifest.cores)}, from 0")
        names = {
            task.address: f"{router.name}/{task.name}" for router in self.manifest.routers for task in router.tasks
        }
        names |= {classifier.task: classifier.name for classifier in self.manifest.classifiers}
        core = self.manifest.cores[number].address
        made, recorder = load64(core + CORE["decisions"]), load64(core + CORE["recorder"])
        rows = view(recorder, DECISION.dtype, DECISIONS)
        found = []
        for i in range(max(0, made - min(count, DECISIONS - 1)), made):
            row = rows[i % DECISIONS]
            found.append(
                {
                    "decision": i,
                    "core": number,
                    "path": names.get(int(row["task"]), "(gone)"),
                    "pass": int(row["pass"]),
                    "ticks": int(row["ticks"]),
                    "packets": int(row["packets"]),
                    "at ticks": int(row["now"]),
                }
            )
        return found

    def drained(self) -> bool:
        """Return whether nothing is in flight, nor waits on an impaired link."""
        return all(stats.in_flight == 0 for stats in self.routers()) and not any(one["waiting"] for one in self.links())
