# SPDX-License-Identifier: MIT
"""One router's domU as the platform sees it: a process, a log, a control channel, none of them trusted."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from shm.channel import CHANNEL, FAULTS, LENT, SLOTS, reset
from shm.intrinsics import acquire64, add64, load64, store64
from vre.domu.cpu_shares import Part
from vre.domu.image import Image
from vre.domu.log import Log
from vre.domu.policy import KIND_BITS, QUARANTINED, IllegalTransition, Loans, Policy
from vre.domu.ration import Ration
from vre.language.bridge import clusters
from vre.memory.router import RouterMemory
from vre.supervision.progress import Progress
from vre.supervision.schedstat import Schedstat
from workers.domu.spec import DomuSpec

#: Window over which its share of a processor is measured.
_LOOK_BACK_S = 1.0
#: Longest control message.
MESSAGE = 4096


class Seen(NamedTuple):
    """What dom0 sees of a domU.

    In this order: an impossible index; packets that it owes; dom0 is in a turn, or has not read its last returns yet;
    returns accepted; returns refused.
    """

    hostile: bool
    owed: bool
    untaken: bool
    mark: int
    refused: int


@dataclass
class DomuProcess:
    """One router's domU.

    Attributes
    ----------
    asked : bool
        The zygote has been asked for it, and has not answered.
    closing : list of (int, int), optional
        While it is being closed: words in shared memory that must advance, and their values before.
    ending : str
        The event that it is being ended for.
    cause : str
        Its last fault.
    jailed, unjailed : bool, str
        The jail is locked, so its messages may be its code's from now on; why it cannot be locked on this host.
    kept, quiet : bool
        It is started again if it fails, as it has run or belongs to the platform from its start; it is being closed on
        request.
    serial : int
        Counts how often it has been closed.
    noticed : float
        Seconds from its last sign of life until it was closed.
    killed : float
        When it was found to be killed and not ended; -1 otherwise.
    part : float
        Fraction of the platform that its router is entitled to; its processor time is allotted by it.
    cpu_ns : int
        Processor time of all its incarnations.
    got : float
        Fraction of a processor that it has had in the last second or so.
    ration : Ration
        When its next request is handled.
    share : Part
        How its share is enforced; `excess` is for how many seconds it has had more all the same.
    """

    memory: RouterMemory
    uid: int | None
    image: Image | None = None
    policy: Policy = field(default_factory=Policy)
    progress: Progress = field(default_factory=lambda: Progress(0.05))
    loans: Loans = field(default_factory=lambda: Loans(0.05))
    pid: int = 0
    monitor: int = 0
    asked: bool = False
    pidfd: int = -1
    control: socket.socket | None = None
    log: Log | None = None
    begun: float = 0.0
    ready: bool = False
    jailed: bool = False
    unjailed: str = ""
    kept: bool = False
    quiet: bool = False
    closing: list[tuple[int, int]] | None = None
    ending: str = ""
    cause: str = ""
    serial: int = 0
    noticed: float = 0.0
    killed: float = -1.0
    part: float = 0.0
    share: Part = field(default_factory=Part)
    excess: int = 0
    cpu_ns: int = 0
    cpu_seen: int = 0
    got: float = 0.0
    schedstat: Schedstat = field(default_factory=lambda: Schedstat(0))
    past: deque[tuple[float, int]] = field(default_factory=deque)
    ration: Ration = field(default_factory=Ration)
    faults_seen: int = 0
    faults_at: float = 0.0

    @property
    def name(self) -> str:
        """The router's name."""
        return self.memory.name

    @property
    def key(self) -> str:
        """Its name among domUs: no router's name has brackets."""
        return self.name if self.channels else f"({self.name})"

    @property
    def channels(self) -> list[int]:
        """Addresses of its channels."""
        return list(self.memory.program.channels.values())

    @property
    def descriptors(self) -> int:
        """How many descriptors this process holds for the present incarnation: its control channel, log and pid."""
        return (self.control is not None) + (self.log is not None) + (self.pidfd >= 0)

    @property
    def driver(self) -> int:
        """Number of a task that takes its returns."""
        return next(n for n, (kind, _) in enumerate(self.memory.program.graph.tasks) if kind == "domu")

    def spec(self, tier: str, root: str, cpus: list[int]) -> DomuSpec:
        """Return what its process is told: its elements, their connections, and its limits."""
        hosted = self.memory.router.hosted_graph
        return DomuSpec(
            domu=self.key,
            tier=tier,
            uid=self.uid,
            root=root,
            memory=self.memory.router.domu.memory,
            cpus=tuple(cpus),
            clusters=clusters(self.memory.program.graph),
            graph=self.image.graph if self.image else None,
            inside=clusters(hosted) if hosted else (),
        )

    def seen(self) -> Seen:
        """Return what dom0 sees of it in its channels."""
        hostile, untaken, taken = False, False, 0
        for channel in self.channels:
            hostile |= load64(channel + CHANNEL["verdict"]) != 0
            tail = load64(channel + CHANNEL["tail"])
            # Then the domU is not late.
            untaken |= acquire64(load64(channel + CHANNEL["up"])) != tail
            untaken |= load64(channel + CHANNEL["head"]) != load64(channel + CHANNEL["next_head"])
            taken += tail
        refused = sum(self.refused().values())
        owed = bool((self.slots() & KIND_BITS == LENT).any())
        return Seen(hostile, owed, untaken, taken - refused, refused)

    def refused(self) -> dict[str, int]:
        """Return how many of its returns were refused, by reason."""
        counts = [[load64(c + CHANNEL["faults"] + 8 * i) for c in self.channels] for i in range(len(FAULTS))]
        return {reason: sum(count) for reason, count in zip(FAULTS, counts, strict=True)}

    def slots(self) -> npt.NDArray[np.int64]:
        """Return a copy of dom0's table of its slots; a rehearsal has none."""
        tables = [(ctypes.c_int64 * SLOTS).from_address(load64(at + CHANNEL["table"])) for at in self.channels]
        return np.concatenate([np.empty(0, np.int64), *(np.ctypeslib.as_array(table) for table in tables)])

    def until(self, now: float) -> str:
        """Return in words how long its quarantine lasts."""
        left = self.policy.until - now
        return "until it is released" if left == float("inf") else f"for {left:.0f} s"

    def row(self, now: float) -> dict[str, Any]:
        """Return its state as plain data."""
        return {
            "state": self.policy.state,
            "pid": self.pid,
            "uid": os.geteuid() if self.uid is None else self.uid,
            "restarts": self.policy.restarts,
            "share by": self.share.means,
            "entitled": round(self.part, 4),
            "cpu": round(self.got, 4),
            "cpu_s": round(self.cpu_ns / 1e9, 3),
            "until": self.until(now) if self.policy.state == QUARANTINED else "",
            "refused": ", ".join(f"{count} {reason}" for reason, count in self.refused().items() if count),
            "last fault": self.cause,
        }

    def born(self, pid: int) -> None:
        """Record its process."""
        self.asked = False
        self.pid, self.cpu_seen, self.schedstat = pid, 0, Schedstat(pid)
        with contextlib.suppress(OSError):
            self.pidfd = os.pidfd_open(pid)

    def account(self, now: float) -> int:
        """Update its processor time; return what it has used since the last call, in ns."""
        self.schedstat.look(now)
        used, self.cpu_seen = max(0, self.schedstat.ran_ns - self.cpu_seen), self.schedstat.ran_ns
        self.cpu_ns += used
        self.past.append((now, self.cpu_ns))
        while now - self.past[0][0] > _LOOK_BACK_S:
            self.past.popleft()
        then, before = self.past[0]
        self.got = (self.cpu_ns - before) / 1e9 / (now - then) if now > then else 0.0
        return used

    @property
    def held_up_s(self) -> float:
        """Seconds that it has waited for a processor, or been stopped, since it began."""
        return self.schedstat.waited_s + (self.share.throttle.stopped_s if self.share.throttle else 0.0)

    def died(self) -> None:
        """Record that its process has ended."""
        self.monitor = self.pid = 0
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1

    def kill(self) -> None:
        """Kill it; as the first process of its PID namespace it takes all others there with it."""
        with contextlib.suppress(ProcessLookupError):
            if self.pidfd >= 0:
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            elif self.pid:
                os.kill(self.pid, signal.SIGKILL)

    def await_end(self) -> None:
        """Wait until it has ended, after it has been killed."""
        if self.pidfd >= 0:
            poll = select.poll()
            poll.register(self.pidfd, select.POLLIN)
            poll.poll(1000)
        self.died()

    def open_channels(self) -> None:
        """Let workers lend to it. Raises IllegalTransition while it is being closed: its packets are being counted."""
        if self.closing is not None:
            raise IllegalTransition("opened while it is being closed")
        for channel in self.channels:
            store64(channel + CHANNEL["open"], 1)

    def close_channels(self) -> None:
        """Let workers lend to it no more; a slice that has begun still may."""
        for channel in self.channels:
            store64(channel + CHANNEL["open"], 0)

    def let_go(self) -> int:
        """Close its control channel and log, count its packets as lost, and return their number.

        Its channels are closed, and no worker is in them any more. Raises ValueError if they are open.
        """
        if self.control:
            self.control.close()
        if self.log:
            self.log.close()
        self.control = self.log = None
        lost = 0
        for channel in self.channels:
            count = reset(channel)
            add64(channel + CHANNEL["lost"], count)
            lost += count
        return lost

    def messages(self, most: int, answer: Callable[[dict[str, Any]], dict[str, Any] | None]) -> None:
        """Handle at most `most` of its control messages; `answer` returns the reply, None for none."""
        for _ in range(most):
            if self.control is None:
                return
            try:
                data = self.control.recv(MESSAGE + 1)
            except OSError:
                return
            if not data:
                return
            said: dict[str, Any] | None = {"error": f"not a JSON object of at most {MESSAGE} bytes"}
            with contextlib.suppress(ValueError, RecursionError):
                message = json.loads(data) if len(data) <= MESSAGE else None
                if isinstance(message, dict):
                    said = answer(message)
            if said is not None and self.control is not None:
                # If the domU does not read its answers, they are dropped: nothing waits for it.
                with contextlib.suppress(OSError):
                    self.control.send(json.dumps(said).encode()[:MESSAGE])
