# SPDX-License-Identifier: MIT
"""The domUs of a platform: started, rehearsed, dismissed, released from quarantine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from shm.manifest import CurrentManifest
from shm.memfd import release
from vre.config.model import Model
from vre.domu.accounting import CpuShares
from vre.domu.domus import Control
from vre.domu.image import Image
from vre.domu.lifecycle import DomuLifecycle
from vre.domu.policy import (
    ENDED,
    HOSTILE,
    QUARANTINED,
    RELEASED,
    STARTING,
    STOP,
)
from vre.domu.process import DomuProcess
from vre.domu.supervised_zygote import SupervisedZygote
from vre.errors import ConfigError, PlatformError, Problem
from vre.language.graph import Graph
from vre.memory.router import ConfigMemory, RouterMemory
from vre.supervision.boundary import Boundary
from workers.files import place
from workers.sandbox.jail import FIRST_UID

#: How long a killed domU may take to end.
_END_S = 10.0
#: How long a starting platform waits for the next domU to become ready; it begins without the others.
_PATIENCE_S = 5.0


class DomuSupervisor:
    """All domUs of one platform that are processes.

    Parameters
    ----------
    model : Model
    manifest : CurrentManifest
        Says where the cores are that use their channels.
    root : Path
        An empty folder that jails are mounted on, each in its own mount namespace.
    cpu_shares : CpuShares
        Which processors they run on, and what part of them each may have.
    boundary : Boundary
        What goes wrong with one domU goes wrong with that one only.
    say, report : callable
        Told of progress, and of events.
    """

    def __init__(
        self,
        model: Model,
        manifest: CurrentManifest,
        root: Path,
        cpu_shares: CpuShares,
        boundary: Boundary,
        say: Callable[[str], None],
        report: Callable[[str], None],
    ) -> None:
        self._model, self.cpu_shares, self._report, self.tier = model, cpu_shares, report, model.sandbox
        self.on_control: Control = lambda name, message: {"error": "nothing answers yet"}
        self.zygote = SupervisedZygote(self.tier, say, report)
        self.lifecycle = DomuLifecycle(
            manifest,
            root,
            self.tier,
            self.zygote,
            cpu_shares,
            boundary,
            report,
            lambda name, message: self.on_control(name, message),
        )

    @property
    def domus(self) -> dict[str, DomuProcess]:
        """Each domU by its key."""
        return self.lifecycle.domus

    def look(self) -> None:
        """Take every step of a domU that is due; never wait."""
        self.lifecycle.look()

    # Starting.

    def prepare(self) -> None:
        """Start the zygote, so that it is ready when the first domU needs it."""
        self.zygote.prepare()

    def begin(self, routers: list[RouterMemory], wait: Callable[[float], None]) -> None:
        """Start the domUs of a starting platform; return when each is ready, has failed, or takes too long.

        One whose elements cannot be loaded is treated as one that fails while it runs: it is started again, and
        quarantined in the end. The other routers run meanwhile.

        Raises
        ------
        ConfigError, PlatformError
            This host cannot jail them.
        """
        fresh = [self._new(memory) for memory in routers if memory.program.channels]
        if not fresh:
            return
        self.zygote.await_ready(wait)
        for domu in fresh:
            domu.kept = True
            self.lifecycle.enter(domu)
        for domu in self._await_first_words(fresh, wait):
            self._report(f"router {domu.name}: its domU is not ready yet; the platform begins without it")

    def _await_first_words(self, domus: list[DomuProcess], wait: Callable[[float], None]) -> list[DomuProcess]:
        """Return those that are not ready after a while in which none became ready. Raises ConfigError."""
        silent, since = domus, self.lifecycle.attention.now
        while silent and self.lifecycle.attention.now - since <= _PATIENCE_S:
            wait(0.005)
            unjailed = [domu for domu in domus if domu.unjailed]
            if unjailed:
                raise ConfigError([self._problem(domu, f"cannot be jailed ({domu.unjailed})") for domu in unjailed])
            left = [domu for domu in silent if domu.policy.state == STARTING and not domu.policy.restarts]
            since = since if len(left) == len(silent) else self.lifecycle.attention.now
            silent = left
        return silent

    def launch(self, routers: list[RouterMemory], wait: Callable[[float], None]) -> None:
        """Start the domUs of added routers; return when their elements are loaded.

        Raises
        ------
        ConfigError
            An element's file cannot be loaded.
        PlatformError
            This host cannot jail it.
        """
        self._bring_up([self._new(memory) for memory in routers if memory.program.channels], wait)

    def resume(self, memory: RouterMemory, wait: Callable[[float], None]) -> None:
        """Start again, without waiting, the domU of a router whose elements have been loaded before.

        Do nothing if it has none, or one that has been started. One that fails is treated as any other.
        """
        there = self.domus.get(memory.name)
        if there and there.ending == STOP:
            self.dismiss(memory.name, wait)  # one that was abandoned half-way
        if not memory.program.channels or memory.name in self.domus:
            return
        domu = self._new(memory)
        domu.kept = True
        try:
            self.lifecycle.enter(domu)
        except BaseException:
            del self.domus[domu.key]
            domu.let_go()
            raise

    def _new(self, memory: RouterMemory) -> DomuProcess:
        domu = DomuProcess(memory, FIRST_UID + memory.index if os.geteuid() == 0 else None)
        if memory.router.hosted_graph:
            domu.image = Image(self._model, memory.router)
        return domu

    def rehearse(self, memory: RouterMemory, graph: Graph, wait: Callable[[float], None]) -> None:
        """Rehearse: load the untrusted elements of a router's next configuration, in a domU that gets no packets.

        Raises as :meth:`launch` does.
        """
        if memory.router.hosted_graph or not any(node.cls.driver == "domu" for node in graph.nodes):
            return
        shadow = replace(memory, program=ConfigMemory("", graph, 0, []), cores={})
        trial = DomuProcess(shadow, FIRST_UID + memory.index if os.geteuid() == 0 else None, quiet=True)
        try:
            self._bring_up([trial], wait)
        finally:
            self.dismiss(trial.key, wait)

    def _bring_up(self, domus: list[DomuProcess], wait: Callable[[float], None]) -> None:
        """Start domUs, and wait until they are ready. Raises ConfigError, PlatformError."""
        if not domus:
            return
        self.zygote.await_ready(wait)
        for domu in domus:
            self.lifecycle.enter(domu)
        problems = []
        for domu in domus:
            while domu.policy.state == STARTING and not domu.cause:
                wait(0.005)
            if domu.cause:
                problems.append(self._problem(domu, domu.cause))
        if problems:
            raise ConfigError(problems)

    def _problem(self, domu: DomuProcess, what: str) -> Problem:
        node = next(node for node in domu.memory.program.graph.nodes if node.cls.driver == "domu")
        return node.problem(f"router '{domu.name}': its domU {what}")

    # Ending, and beginning again.

    def quarantined(self, name: str) -> bool:
        """Return whether a router's domU is quarantined."""
        domu = self.domus.get(name)
        return domu is not None and domu.policy.state == QUARANTINED

    def release_quarantine(self, name: str) -> None:
        """Start a quarantined domU again. Raises PlatformError if it is not quarantined."""
        domu = self.domus.get(name)
        if domu is None or not self.quarantined(name):
            state = domu.policy.state if domu else "no domU"
            raise PlatformError(f"router '{name}' is not quarantined: {state}")
        self.lifecycle.again(domu, RELEASED, time.monotonic())
        self._report(f"router {name}: its domU is released from quarantine")

    def replace_code(self, name: str, file: str, wait: Callable[[float], None]) -> None:
        """Restart a router's domU with another file in place of its elements'; return when it runs."""
        domu = self.domus[name]
        for node in domu.memory.program.graph.nodes:
            if node.cls.driver == "domu":
                cluster = node.values["cluster"]
                sources = (str(place(file, "/")),) * len(cluster.sources)
                node.values["cluster"] = replace(cluster, sources=sources)
        if domu.policy.state != QUARANTINED:
            self.lifecycle.close(domu, HOSTILE, "is restarted with other code")
            domu.quiet = True
            while domu.closing is not None:
                wait(0.002)
            domu.quiet = False
        self.lifecycle.again(domu, RELEASED, time.monotonic())
        while domu.policy.state == STARTING:
            wait(0.002)

    def dismiss(self, name: str, wait: Callable[[float], None]) -> None:
        """End a router's domU, if it has one; count its packets as lost. May be repeated.

        Raises PlatformError if it does not end, or a core does not stop using its channels.
        """
        domu = self.domus.get(name)
        if domu is None:
            return
        if domu.policy.state != ENDED:
            self.lifecycle.close(domu, STOP, "is ended")
        end = time.monotonic() + _END_S
        while domu.closing is not None:
            if time.monotonic() >= end:
                raise PlatformError(f"the domU of router '{name}' has not ended within {_END_S:g} s")
            wait(0.002)
            # While there is no zygote, no look does.
            self.lifecycle.close_further(domu, time.monotonic())
        for channel in domu.channels:
            release(channel)
        del self.domus[name]

    def rows(self) -> list[dict[str, Any]]:
        """Return the state of each as plain data."""
        now = time.monotonic()
        common = {"tier": self.tier, "limits": ", ".join(self.cpu_shares.shares.limits)}
        return [{"router": name} | common | domu.row(now) for name, domu in self.domus.items()]

    def end(self) -> None:
        """Kill all domUs and their zygote, and free their memory."""
        for domu in self.domus.values():
            domu.kill()
            self.lifecycle.guarded(domu, self.lifecycle.pass_on, domu, True)
        self.zygote.end()
        for domu in self.domus.values():
            domu.await_end()
            domu.close_channels()
            domu.let_go()
            for channel in domu.channels:
                release(channel)
        self.domus.clear()
