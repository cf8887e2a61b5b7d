# SPDX-License-Identifier: MIT
"""Describing a platform in Python: its ports and its routers."""

from __future__ import annotations

from typing import Any

from vre.config import from_text
from vre.errors import ConfigError
from vre.handle import RouterHandle
from vre.inside import into_domu, problems_inside
from vre.model import RING_SLOTS, Domu, Link, Model, Nic, Router, RouterPort
from workers.arguments import ether


class Description:
    """The part of :class:`vre.platform.Platform` that says what it is made of."""

    model: Model

    def handle(self, name: str) -> RouterHandle:
        """Return the handle of a router."""
        raise NotImplementedError

    def nic(
        self,
        name: str,
        link: Link | list[Link] | None = None,
        slots: int | None = None,
        queues: str = "multi",
        speed: float | None = None,
    ) -> Nic:
        """Add a port with what is at the far end of it; see :class:`vre.model.Nic`."""
        links = link if isinstance(link, list) else [link] if link else []
        self.model.nics[name] = Nic(name, tuple(links), slots or RING_SLOTS, queues, speed)
        return self.model.nics[name]

    def router(
        self,
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
    ) -> RouterHandle:
        """Add a router.

        Parameters
        ----------
        name : str
        config : str
            Text in the Click language.
        entitlement : float
            Weight against the other routers.
        ports : dict, optional
            Port name to `{"mac": "02:...", "vlan": n}`; ports that the text names are added by themselves.
        cores : tuple of int, optional
            Cores it may run on.
        cost : float, optional
            Cycles that a packet takes, where that is known before.
        domu : vre.Domu, optional
            What its untrusted elements get.
        deadline : float
            Seconds that a turn of its paths may take before the watchdog ends it.
        inside, direct : bool
            All of `config` runs in the router's domU; packets go there through dom0, or by NIC rings of its own.

        Raises
        ------
        ConfigError
            All that is wrong with `config`.
        """
        claims = {}
        for nic, port in (ports or {}).items():
            mac = port.get("mac")
            claims[nic] = RouterPort(
                nic, None if mac == "*" else -1 if mac is None else ether(mac), port.get("vlan", -1)
            )
        graph = from_text(config, name)
        deadline_ns = round(deadline * 1e9)
        router = Router(name, entitlement, graph, claims, cores, cost, domu or Domu(), deadline_ns)
        if inside or direct:
            problems = problems_inside(graph)
            if problems:
                raise ConfigError(problems)
            into_domu(router, direct)
        self.model.routers[name] = router
        return self.handle(name)
