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
from vre.platform.arguments import described, domu_limits, held, optional, port_claims
from vre.platform.verbs import NAME, text


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


@held(described, name=text(NAME))
def describe_port(
    name: str,
    link: Link | list[Link] | None = None,
    slots: int | None = None,
    queues: str = "multi",
    speed: float | None = None,
) -> Nic:
    """Return a port with its link; see :class:`vre.config.model.Nic`. Raises ConfigError."""
    links = link if isinstance(link, list | tuple) else [] if link is None else [link]
    return Nic(name, tuple(links), RING_SLOTS if slots is None else slots, queues, speed)


@held(
    described,
    name=text(NAME),
    config=fields.string,
    ports=optional(port_claims),
    domu=domu_limits,
    inside=fields.boolean,
    direct=fields.boolean,
)
def describe_router(
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
    """Return a router, checked by itself.

    Parameters
    ----------
    name : str
    config : str
        Text in the Click language.
    entitlement : float
        Weight against the other routers.
    ports : dict, optional
        Port name to `{"mac": "02:...", "vlan": n}`; ports that the text names are added automatically.
    cores : tuple of int, optional
        Cores it may run on.
    cost : float, optional
        Cycles per packet, if known before.
    domu : vre.Domu, optional
        The limits of its domU.
    deadline : float
        Seconds that a turn of its paths may take before the watchdog ends it.
    inside, direct : bool
        All of `config` runs in the router's domU; packets go there through dom0, or through its own NIC rings.

    Raises
    ------
    ConfigError
        All errors of `config`; another router has the name; a value is out of range.
    """
    try:
        claims = {nic: _claim(nic, port) for nic, port in (ports or {}).items()}
        weight = fields.entitlement(entitlement)
        deadline_s = fields.number(1e-3, 10.0, "a deadline in seconds")(deadline)
    except ValueError as error:
        raise ConfigError([Problem(None, f"routers.{name}: {error}")]) from None
    graph = from_text(config, name)
    router = Router(name, weight, graph, claims, cores, cost, domu or Domu(), round(deadline_s * 1e9))
    if inside or direct:
        _host(router, direct)
    return router


def _host(router: Router, direct: bool) -> None:
    problems = problems_inside(router.graph)
    if problems:
        raise ConfigError(problems)
    router.host_in_domu(direct)


def add_router(model: Model, router: Router) -> None:
    """Add a router to a model. Raises ConfigError if another one has its name."""
    if router.name in model.routers:
        raise ConfigError([Problem(None, f"there is a router '{router.name}' already")])
    model.routers[router.name] = router


def _claim(nic: str, port: dict[str, Any]) -> RouterPort:
    mac = port.get("mac")
    vlan = fields.integer(-1, 4094)(port.get("vlan", -1))
    return RouterPort(nic, -1 if mac is None else fields.mac(mac), vlan)
