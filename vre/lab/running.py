# SPDX-License-Identifier: MIT
"""A lab from its beginning to its end: namespaces, hosts, the platform, and what runs in the hosts."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

from vre.config.model import Interface, Nic, Tap
from vre.lab.directory import LabDirectory, State, log_of, sweep
from vre.lab.hosts import configure_hosts, make_hosts
from vre.lab.init import Init
from vre.lab.isolation import is_rootless, isolate
from vre.lab.topology import Lab

if TYPE_CHECKING:
    from vre.platform.platform import Platform

Say = Callable[[str], None]


class RunningLab:
    """A lab that is up while the block lasts; all that it made is gone after it.

    Parameters
    ----------
    lab : Lab
    say : callable
        Given progress and events; it does not block.

    Raises
    ------
    PlatformError
        The host cannot run it; another lab has its name.
    """

    def __init__(self, lab: Lab, say: Say) -> None:
        self.lab, self._say = lab, say
        self._cleanup = contextlib.ExitStack()
        self.directory = LabDirectory(lab.name)
        self._init: Init | None = None
        self._platform: Platform | None = None

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._cleanup.close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._cleanup.close()

    @property
    def platform(self) -> Platform:
        """The platform of its routers."""
        assert self._platform
        return self._platform

    def _start(self) -> None:
        sweep()
        self.directory.take()
        self._cleanup.callback(self.directory.release)
        isolate(own_network=not any(_is_outside(nic) for nic in self.lab.model.nics.values()))
        from vre.platform.platform import Platform  # it has threads, with which no process can enter a user namespace

        make_hosts(self.lab, self.directory)
        self._init = Init(log_of(self.directory))
        self._cleanup.callback(self._init.end)
        self._platform = Platform(model=self.lab.model, say=self._say)
        self._cleanup.callback(self._platform.stop)
        self._platform.start()
        configure_hosts(self.lab)
        commands = [(self.lab.namespace(name), one) for name, host in self.lab.hosts.items() for one in host.run]
        self._init.run(commands)
        file = str(self.lab.file.absolute())
        self.directory.publish(State(file, os.getpid(), self._init.pid, is_rootless()))

    def tend(self, seconds: float) -> None:
        """Wait, supervise, and report commands that have failed. Raises PlatformEnded."""
        assert self._init
        self.platform.tend(seconds)
        for one in self._init.ended():
            host = one["namespace"].removeprefix(f"{self.lab.name}-")
            if one["status"]:
                self._say(f"{host}: '{one['ended']}' ended with status {one['status']}; see {log_of(self.directory)}")


def _is_outside(nic: Nic) -> bool:
    """Return whether a port leads to an interface of the namespace that the command was given in."""
    return isinstance(nic.world, Interface | Tap) and nic.world.netns is None
