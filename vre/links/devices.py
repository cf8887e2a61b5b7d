# SPDX-License-Identifier: MIT
"""All links of one platform that lead out of it: opened together, watched, and closed."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping

from vre.config.model import Interface, Tap, Veth, Vxlan, Xdp
from vre.errors import ConfigError, Problem
from vre.links.device import Device
from vre.links.errors import LinkError, refused
from vre.links.kinds import InterfaceDevice, VethDevice, VxlanDevice
from vre.links.namespaces import make_namespace
from vre.links.tap import TapDevice
from vre.links.xdp import XdpDevice
from vre.memory.devices import DevicePlan

#: How often the interfaces are looked at.
_LOOK_S = 0.05


class Devices:
    """The open links out of one platform.

    Parameters
    ----------
    plans : mapping of str to DevicePlan
        By port; their memory exists.
    report : callable
        Told of events.

    Raises
    ------
    ConfigError
        What is wrong with each that cannot be opened.
    """

    def __init__(self, plans: Mapping[str, DevicePlan], report: Callable[[str], None]) -> None:
        self._report = report
        self._opened = contextlib.ExitStack()
        self._devices: list[Device] = []
        self._own = -1
        self._next = 0.0
        problems: list[Problem] = []
        try:
            for name, plan in plans.items():
                try:
                    self._open(plan, len(self._devices))
                except LinkError as error:
                    problems.append(Problem(None, f"nics.{name}.link: {error}"))
            if problems:
                raise ConfigError(problems)
        except BaseException:
            self.close()
            raise

    def _open(self, plan: DevicePlan, number: int) -> None:
        device: Device
        link = plan.link
        if isinstance(link, Veth):
            device = VethDevice(plan, self._report, self._namespace(), number)
        elif isinstance(link, Vxlan):
            device = VxlanDevice(plan, self._report, self._namespace(), number)
        elif isinstance(link, Xdp):
            device = XdpDevice(plan, self._report)
        elif isinstance(link, Interface):
            device = InterfaceDevice(plan, self._report)
        else:
            assert isinstance(link, Tap)
            device = TapDevice(plan, self._report)
        self._devices.append(device)
        self._opened.callback(device.close)
        device.open(getattr(link, "send", "auto"))

    def _namespace(self) -> int:
        """Return the platform's own network namespace, for near ends of pairs. Raises LinkError."""
        if self._own < 0:
            try:
                self._own = make_namespace()
            except OSError as error:
                raise refused(error, "namespace", "making a network namespace") from None
            self._opened.callback(os.close, self._own)
        return self._own

    @property
    def descriptors(self) -> list[int]:
        """What every wire must have."""
        return [fd for device in self._devices for fd in device.descriptors]

    def look(self, now: bool = False) -> None:
        """Look at all interfaces, if the time for that has come, or `now`."""
        if self._devices and (now or time.monotonic() >= self._next):
            self._next = time.monotonic() + _LOOK_S
            for device in self._devices:
                device.look()

    def close(self) -> None:
        """Let go of all; interfaces that were made here are gone with their last user."""
        self._opened.close()
        self._devices.clear()
