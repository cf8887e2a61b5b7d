# SPDX-License-Identifier: MIT
"""Describing a platform in Python: its ports and its routers."""

from __future__ import annotations

import dataclasses
from typing import Any

from vre.config import fields
from vre.config.machines import MACHINES
from vre.config.model import RING_SLOTS, Domu, Link, Model, Nic, Router, RouterPort
from vre.config.reader import from_text
from vre.config.validate import validate
from vre.errors import ConfigError, Problem, nearest
from vre.language.bridge import problems_inside


def empty_model(name: str, cores: int, clock: str, idle: str, quantum: int | None, settings: dict[str, Any]) -> Model:
    """Return a model without ports and routers. Raises ConfigError if there is no such setting."""
    known = {field.name for field in dataclasses.fields(Model)} - {"nics", "routers"}
    strange = [key for key in settings if key not in known]
    if strange:
        raise ConfigError([Problem(None, f"there is no setting '{key}'{nearest(key, known)}") for key in strange])
    machine = MACHINES.get(str(settings.get("machine", "host")), MACHINES["host"])
    return Model(name, cores, clock, idle, machine.quantum if quantum is None else quantum, **settings)


def check(model: Model) -> None:
    """Check a model that is to be started. Raises ConfigError."""
    problems = validate(model, lambda message, *path: Problem(None, f"{'.'.join(path)}: {message}"))
    if not model.routers:
        problems = problems or [Problem(None, "no routers: add one with router()")]
    if problems:
        raise ConfigError(problems)


def add_port(
    model: Model,
    name: str,
    link: Link | list[Link] | None = None,
    slots: int | None = None,
    queues: str = "multi",
    speed: float | None = None,
) -> Nic:
    """Add a port with its link; see :class:`vre.config.model.Nic`."""
    links = link if isinstance(link, list | tuple) else [] if link is None else [link]
    model.nics[name] = Nic(name, tuple(links), RING_SLOTS if slots is None else slots, queues, speed)
    return model.nics[name]


def describe_router(
    model: Model,
    name: str,
    config: str,
    entitlement: float = 1.0,
    ports: dict[str, dict[str, Any]] | None = None,
    cores: tuple[int, ...] | None = None,
    cost: float | None = None,
    domu: Domu | None = None,
    deadline: float = 0.05,
    inside: bool = False,
    direct: bool = False,
) -> Router:
    """Return a router, checked; the parameters are those of :meth:`vre.Platform.router`. Raises ConfigError."""
    if name in model.routers:
        raise ConfigError([Problem(None, f"there is a router '{name}' already")])
    try:
        claims = {nic: _claim(nic, port) for nic, port in (ports or {}).items()}
        weight = fields.entitlement(entitlement)
        deadline_s = fields.number(1e-3, 10.0, "a deadline in seconds")(deadline)
    except ValueError as error:
        raise ConfigError([Problem(None, f"routers.{name}: {error}")]) from None
    graph = from_text(config, name)
    router = Router(name, weight, graph, claims, cores, cost, domu or Domu(), round(deadline_s * 1e9))
    if inside or direct:
        problems = problems_inside(graph)
        if problems:
            raise ConfigError(problems)
        router.host_in_domu(direct)
    return router


def _claim(nic: str, port: dict[str, Any]) -> RouterPort:
    mac = port.get("mac")
    vlan = fields.integer(-1, 4094)(port.get("vlan", -1))
    return RouterPort(nic, -1 if mac is None else fields.mac(mac), vlan)
