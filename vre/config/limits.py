# SPDX-License-Identifier: MIT
"""The range of every setting of a model, whether from a file or from Python."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from vre.config import fields
from vre.config.machines import MACHINES
from vre.config.model import (
    Cable,
    Capture,
    ControlLink,
    Generator,
    Interface,
    Link,
    Model,
    Replay,
    Router,
    RouterPort,
    Sink,
    Tap,
    Veth,
    Vxlan,
    Xdp,
)
from vre.errors import Problem
from workers.core.stride import DISCIPLINES
from workers.sandbox.jail import TIERS
from workers.wire.traffic import MOST_FLOWS

Kind = Callable[[Any], Any]
_MAC_BITS = 48


def _optional(kind: Kind) -> Kind:
    return lambda value: None if value is None else kind(value)


def _entitlement(value: Any) -> float:
    bounds = fields.PERCENT if isinstance(value, fields.Percent) else fields.WEIGHTS
    return fields.number(*bounds, "a positive weight")(value)


def _cores(value: Any) -> Any:
    return fields.cores(list(value)) if isinstance(value, tuple | list) else fields.cores(value)


def _destinations(value: Any) -> Any:
    return () if value == () else fields.destinations(list(value) if isinstance(value, tuple) else value)


def _discipline(value: Any) -> Any:
    if value not in DISCIPLINES:
        raise ValueError(f"there is no discipline '{value}': it must be {' or '.join(DISCIPLINES)}")
    return value


def _mac(value: Any) -> Any:
    if value is None:
        return value
    fields.integer(0, (1 << _MAC_BITS) - 1)(value)
    if value >> 40 & 1:
        raise ValueError("is a group address")
    return value


_PLATFORM: dict[str, Kind] = {
    "cores": fields.integer(1, fields.MAX_CORES),
    "machine": fields.choice(*MACHINES),
    "clock": fields.choice("auto", "wall", "cpu", "virtual"),
    "idle": fields.choice("auto", "poll", "sleep"),
    "quantum": fields.integer(1, 256),
    "discipline": _discipline,
    "sample": fields.integer(1, 1_000_000),
    "turn_ns": fields.integer(1_000, 1_000_000_000),
    "memory": _optional(fields.number(*fields.ACCESSES, "memory accesses a second")),
    "memory_shares": fields.boolean,
    "wire": fields.choice("apart", "shared"),
    "rebalance": fields.boolean,
    "sandbox": fields.choice(*TIERS),
    "seed": fields.integer(0, 1 << 62),
}
_NIC: dict[str, Kind] = {
    "slots": fields.integer(16, 65536),
    "queues": fields.choice("multi", "single"),
    "speed": _optional(fields.number(*fields.SPEEDS, "bits a second")),
}
_ROUTER: dict[str, Kind] = {
    "entitlement": _entitlement,
    "cores": _optional(_cores),
    "cost": _optional(fields.number(*fields.CYCLES, "cycles a packet")),
    "deadline_ns": fields.integer(1_000_000, 10_000_000_000),
    "direct": fields.boolean,
}
_PORT: dict[str, Kind] = {"mac": _mac, "vlan": fields.integer(-1, 4094)}
_DOMU: dict[str, Kind] = {
    "memory": fields.integer(*map(int, fields.MEMORY)),
    "deadline_ns": fields.integer(1_000_000, 10_000_000_000),
    "start_s": fields.number(0.1, 600, "seconds"),
    "core": _optional(fields.integer(0, fields.MAX_CORES - 1)),
}
_LINKS: dict[type[Any], dict[str, Kind]] = {
    Generator: {
        "rate": _optional(fields.sending_rate),
        "size": fields.frame_size,
        "flows": fields.integer(1, MOST_FLOWS),
        "burst": fields.integer(1, 256),
        "ttl": fields.integer(1, 255),
        "count": _optional(fields.integer(1, 1 << 62)),
        "destinations": _destinations,
        "seed": fields.integer(0, 1 << 62),
        "rates": _optional(fields.router_rates),
    },
    Replay: {"pcap": fields.string, "rate": _optional(fields.replay_rate), "loop": fields.boolean},
    Capture: {"capture": fields.string, "overwrite": fields.boolean},
    Cable: {"to": fields.string},
    Sink: {},
    Veth: {
        "netns": fields.string,
        "name": _optional(fields.interface),
        "mtu": fields.mtu,
        "send": fields.sending,
        "offload": fields.boolean,
    },
    Interface: {
        "interface": fields.interface,
        "netns": _optional(fields.string),
        "force": fields.boolean,
        "send": fields.sending,
        "offload": fields.boolean,
    },
    Xdp: {
        "xdp": fields.interface,
        "netns": _optional(fields.string),
        "mode": fields.choice("auto", "skb", "native"),
        "force": fields.boolean,
    },
    Vxlan: {
        "remote": fields.address,
        "vni": fields.vni,
        "port": fields.integer(1, 65535),
        "netns": _optional(fields.string),
        "mtu": fields.mtu,
    },
    Tap: {"tap": fields.interface, "netns": _optional(fields.string), "mtu": fields.mtu},
    ControlLink: {},
}


def misfits(model: Model, problem: Callable[..., Problem]) -> list[Problem]:
    """Return the settings out of range; `problem` adds the position to `(message, *path)`."""
    return [problem(f"{path[-1]}: {why}", *path) for path, why in _misfits(model)]


def _misfits(model: Model) -> Iterator[tuple[tuple[str, ...], str]]:
    yield from _each(model, _PLATFORM, "platform")
    for name, nic in model.nics.items():
        yield from _each(nic, _NIC, "nics", name)
        for link in nic.links:
            yield from _link(link, "nics", name, "link")
    for name, router in model.routers.items():
        yield from _router(router, "routers", name)


def _link(link: Link, *path: str) -> Iterator[tuple[tuple[str, ...], str]]:
    kinds = _LINKS.get(type(link))
    if kinds is None:
        yield path, "must be a Generator, Replay, Capture, Cable, Sink, Veth, Interface, Xdp, Tap or Vxlan"
    else:
        yield from _each(link, kinds, *path)


def _router(router: Router, *path: str) -> Iterator[tuple[tuple[str, ...], str]]:
    yield from _each(router, _ROUTER, *path)
    yield from _each(router.domu, _DOMU, *path, "domu")
    for nic, port in router.ports.items():
        if isinstance(port, RouterPort):
            yield from _each(port, _PORT, *path, "ports", nic)


def _each(holder: Any, kinds: Mapping[str, Kind], *path: str) -> Iterator[tuple[tuple[str, ...], str]]:
    for name, kind in kinds.items():
        try:
            kind(getattr(holder, name))
        except ValueError as error:
            yield (*path, name), str(error)
