# SPDX-License-Identifier: MIT
"""Accounts: read from shared memory by anyone, at any time, without asking the platform."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from shm.layout import CLIENT, CORE, RING, SOURCE, SUB_BITS, TALLY, TALLY_BUCKETS, TASK, TIME_UNIT_NS
from shm.memory import load16, load64
from vre.build import view
from workers.element import load
from workers.shape import reasons
from workers.turn import DROPS, MADE

#: Percentiles that are reported.
PERCENTILES = {"p50": 50.0, "p99": 99.0, "p99_9": 99.9}


@dataclass(frozen=True)
class RouterStats:
    """One router's account.

    `injected` counts frames that came for it at its ports and packets its elements made; always
    injected = forwarded + dropped + in_flight once nothing moves. Latency is in us, from NIC to wire.
    """

    name: str
    entitled: float
    share: float
    injected: int
    forwarded: int
    in_flight: int
    dropped: dict[str, int] = field(default_factory=dict)
    used_ticks: int = 0
    packets: int = 0
    cycles_per_packet: float = 0.0
    latency_us: dict[str, float] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)

    @property
    def balance(self) -> int:
        """Packets unaccounted for; not 0 only while some are in hand."""
        return self.injected - self.forwarded - sum(self.dropped.values()) - self.in_flight

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data, without the name."""
        data = asdict(self)
        del data["name"]
        return data


def bucket_top(bucket: int) -> int:
    """Return the largest latency, in time units, that a histogram bucket counts; see workers.wire.bucket."""
    octave, step = divmod(bucket, 1 << SUB_BITS)
    if octave == 0:
        return step
    return (((1 << SUB_BITS) + step + 1) << (octave - 1)) - 1


class Reader:
    """Reads the accounts of one platform's memory by its manifest."""

    def __init__(self, manifest: dict[str, Any]) -> None:
        self.manifest = manifest
        registry = load()
        self._drops = {
            router["name"]: [
                (element["state"] + DROPS + 8 * i, reason)
                for element in router["elements"]
                for i, reason in enumerate(reasons(registry[element["class"]]))
            ]
            for router in manifest["routers"]
        }

    def routers(self) -> list[RouterStats]:
        """Return all routers' accounts."""
        used = self.used_ticks()
        total = sum(used.values()) or 1
        entitled = sum(r["entitlement"] for r in self.manifest["routers"])
        return [
            self._router(
                i, router, used[router["name"]], used[router["name"]] / total, router["entitlement"] / entitled
            )
            for i, router in enumerate(self.manifest["routers"])
        ]

    def sent(self, name: str) -> int:
        """Return how many packets of a router have left the wire."""
        index = next(i for i, router in enumerate(self.manifest["routers"]) if router["name"] == name)
        return sum(load64(at + index * TALLY.size) for at in self.manifest["wire"]["tallies"].values())

    def used_ticks(self) -> dict[str, int]:
        """Return what each router has been charged, over all cores."""
        used = {router["name"]: 0 for router in self.manifest["routers"]}
        for core in self.manifest["cores"]:
            for client in core["clients"]:
                used[client["router"]] += load64(client["address"] + CLIENT["used_ticks"])
        return used

    def _tasks(self, name: str) -> list[dict[str, Any]]:
        return [task for core in self.manifest["cores"] for task in core["tasks"] if task["router"] == name]

    def _router(self, index: int, router: dict[str, Any], used: int, share: float, entitled: float) -> RouterStats:
        name = router["name"]
        dropped: Counter[str] = Counter()
        for address, reason in self._drops[name]:
            dropped[reason] += load64(address)
        for task in self._tasks(name):
            dropped["killed"] += load64(task["address"] + TASK["killed"])
        received = in_flight = 0
        for ring in router["rx"].values():
            head = load64(ring + RING["head"])
            missed = load64(ring + RING["full"])
            received += head + missed
            dropped["rx_ring_full"] += missed
            in_flight += head - load64(ring + RING["tail"])
        received += sum(load64(source["address"] + SOURCE["giants"]) for source in self._sources(name))
        dropped["too_long_for_port"] += sum(load64(s["address"] + SOURCE["giants"]) for s in self._sources(name))
        made = sum(load64(element["state"] + MADE) for element in router["elements"])
        for ring in router["rings"]:
            in_flight += load64(ring + RING["head"]) - load64(ring + RING["tail"])
        in_flight += sum(self._waiting(ring, index) for _, _, ring in self.manifest["tx"])
        ports = {nic: load64(at + index * TALLY.size) for nic, at in self.manifest["wire"]["tallies"].items()}
        kinds = router["shape"]["tasks"]
        packets = sum(
            load64(task["address"] + TASK["packets"])
            for task in self._tasks(name)
            if kinds[task["number"]][0] != "pull"
        )
        return RouterStats(
            name=name,
            entitled=entitled,
            share=share,
            injected=received + made,
            forwarded=sum(ports.values()),
            in_flight=in_flight,
            dropped={reason: count for reason, count in sorted(dropped.items()) if count},
            used_ticks=used,
            packets=packets,
            cycles_per_packet=used / packets if packets else 0.0,
            latency_us=self._latency(index),
            ports=ports,
        )

    def _sources(self, name: str) -> list[dict[str, Any]]:
        return [source for source in self.manifest["wire"]["sources"] if source["router"] == name]

    def _waiting(self, ring: int, index: int) -> int:
        """Return how many packets of a router wait in a TX ring."""
        head, tail = load64(ring + RING["head"]), load64(ring + RING["tail"])
        tags, mask = load64(ring + RING["tags"]), load64(ring + RING["mask"])
        return sum(load16(tags + 2 * (i & mask)) == index for i in range(tail, head))

    def _latency(self, index: int) -> dict[str, float]:
        buckets = np.zeros(TALLY_BUCKETS, dtype=np.int64)
        count = total = top = 0
        for at in self.manifest["wire"]["tallies"].values():
            tally = view(at + index * TALLY.size, TALLY.dtype)[0]
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
        """Return how many frames came for no router."""
        total = sum(
            load64(s["address"] + SOURCE["sent"]) for s in self.manifest["wire"]["sources"] if s["router"] is None
        )
        routers = range(len(self.manifest["routers"]))
        cables = (
            at + i * TALLY.size + TALLY["unclaimed"]
            for at in self.manifest["wire"]["tallies"].values()
            for i in routers
        )
        return total + sum(load64(address) for address in cables)

    def cores(self) -> list[dict[str, int]]:
        """Return each core's own account."""
        fields = (
            "pid",
            "incarnation",
            "decisions",
            "busy_ticks",
            "idle_ticks",
            "slow_ticks",
            "slices",
            "preemptions",
            "clock_ns",
        )
        return [{name: load64(core["address"] + CORE[name]) for name in fields} for core in self.manifest["cores"]]

    def drained(self) -> bool:
        """Return whether nothing is in flight."""
        return all(stats.in_flight == 0 for stats in self.routers())
