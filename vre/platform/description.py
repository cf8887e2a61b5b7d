# SPDX-License-Identifier: MIT
"""Describing a platform in Python: its ports and its routers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vre.config import fields
from vre.config.model import RING_SLOTS, Domu, Link, Model, Nic, Router, RouterPort
from vre.config.reader import from_text
from vre.errors import ConfigError, PlatformError, Problem
from vre.language.bridge import problems_inside
from vre.platform.arguments import described, domu_limits, held, optional, port_claims
from vre.platform.router import RouterHandle
from vre.platform.verbs import NAME, text


class Description:
    """The part of :class:`vre.platform.platform.Platform` that says what it is made of."""

    model: Model

    @property
    def running(self) -> bool:
        """Whether it has been started, and has not ended."""
        raise NotImplementedError

    if TYPE_CHECKING:

        def add(self, router: Router) -> None:
            """Add a router while the platform runs: :meth:`vre.platform.commands.Requests.add`."""

    def handle(self, name: str) -> RouterHandle:
        """Return the handle of a router."""
        raise NotImplementedError

    @held(described, name=text(NAME))
    def nic(
        self,
        name: str,
        link: Link | list[Link] | None = None,
        slots: int | None = None,
        queues: str = "multi",
        speed: float | None = None,
    ) -> Nic:
        """Add a port with what is at the far end of it; see :class:`vre.config.model.Nic`."""
        if self.running:
            raise PlatformError(f"port '{name}' cannot be added: the platform runs")
        links = link if isinstance(link, list | tuple) else [] if link is None else [link]
        self.model.nics[name] = Nic(name, tuple(links), RING_SLOTS if slots is None else slots, queues, speed)
        return self.model.nics[name]

    @held(
        described,
        name=text(NAME),
        config=fields.string,
        ports=optional(port_claims),
        domu=domu_limits,
        inside=fields.boolean,
        direct=fields.boolean,
    )
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
        """Add a router; to a platform that runs, too.

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
            All that is wrong with `config`; another router has the name; a value that its range does not have.
        """
        if name in self.model.routers:
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
        if self.running:
            self.add(router)
        else:
            self.model.routers[name] = router
        return self.handle(name)


def _claim(nic: str, port: dict[str, Any]) -> RouterPort:
    mac = port.get("mac")
    vlan = fields.integer(-1, 4094)(port.get("vlan", -1))
    return RouterPort(nic, -1 if mac is None else fields.mac(mac), vlan)
