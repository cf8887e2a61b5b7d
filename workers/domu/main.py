# SPDX-License-Identifier: MIT
"""A domU: the sandboxed process that runs one router's untrusted elements.

Everything here runs inside the jail (:mod:`workers.sandbox.jail`), under the control of the elements' code.
Nothing is believed that this process says.
"""

from __future__ import annotations

import json
import os
import select
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from shm.channel import DOWN_BYTES, SLOTS, UP_BYTES
from shm.memfd import map_at
from workers.domu.frontend import Frontend, give_returns, take_requests, wait_for_requests
from workers.domu.hosted_graph import Code, HostedGraph, ends_of
from workers.domu.runners import make_stage
from workers.domu.spec import Cluster, DomuSpec

assert SLOTS <= 1 << 16  # a request has 16 bits for the slot

#: Polls for packets before the first sleep of an idle domU, which a packet ends.
_ROUNDS = 2000
#: Longest first sleep, in seconds; it doubles each time.
_NAP_S = 20e-6
#: Longest back-off, in seconds.
_LONGEST_NAP_S = 1e-3
#: Longest sleep once backed off, in seconds, if no graph may have to run by time.
_SLEEP_S = 0.1


class Control:
    """The domU's end of the control channel: one message of JSON at a time, at most 4 KiB."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._poll = select.poll()
        self._poll.register(connection.fileno(), select.POLLIN)

    def tell(self, **message: Any) -> None:
        """Send a message."""
        os.write(self.connection.fileno(), json.dumps(message).encode()[:4096])

    def ask(self, **message: Any) -> dict[str, Any]:
        """Send a request to the platform; return its answer, or raise ValueError with what is wrong."""
        self.tell(**message)
        answer = json.loads(os.read(self.connection.fileno(), 4096) or b"{}")
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer

    def closed(self) -> bool:
        """Return whether the platform has gone."""
        return any(event & (select.POLLHUP | select.POLLERR) for _, event in self._poll.poll(0))


class Guest:
    """All of a router's untrusted elements behind one channel, and how they are wired."""

    def __init__(self, cluster: Cluster, crossing: Any, control: Control) -> None:
        self.crossing = crossing
        self.entries = cluster.entries
        self.stages = [make_stage(one, cluster.sources[one.source], crossing, control) for one in cluster.elements]
        self._single = len(self.stages) == 1 and self.entries == ((0, 0),)

    def serve(self) -> bool:
        """Handle a batch; return whether there was one."""
        count = self.crossing.take()
        if count == 0:
            return False
        table, rows = self.crossing.table, np.arange(count)
        if self._single:
            self._through(0, rows, {})
        else:
            self._enter(table, rows)
        self.crossing.give()
        return True

    def wait(self, rounds: int) -> bool:
        """Look for packets, `rounds` times."""
        return self.crossing.wait(rounds)

    def sleep(self, seconds: float) -> None:
        """Sleep until there are packets, at most so long."""
        self.crossing.sleep(seconds)

    def _enter(self, table: Any, rows: Any) -> None:
        waiting: dict[int, list[Any]] = {}
        for i, (element, port) in enumerate(self.entries):
            mine = rows[table[rows, 3] == i]
            table[mine, 3] = port
            if len(mine):
                waiting.setdefault(element, []).append(mine)
        while waiting:
            element = min(waiting)
            self._through(element, np.concatenate(waiting.pop(element)), waiting)

    def _through(self, number: int, rows: Any, waiting: dict[int, list[Any]]) -> None:
        stage, table = self.stages[number], self.crossing.table
        stage.run(rows)
        made = stage.take_emitted()
        if made:
            rows = np.concatenate([rows, [row for row, _ in made]])
            for row, output in made:
                table[row, 3] = output
        outputs = table[rows, 3]
        for output, (following, port) in stage.inner.items():
            mine = rows[outputs == output]
            if len(mine):
                table[mine, 3] = port
                waiting.setdefault(following, []).append(mine)
        if stage.inner:
            here = ~np.isin(outputs, list(stage.inner))
            rows, outputs = rows[here], outputs[here]
        table[rows, 3] = stage.lookup[outputs & 0xFF]


def compile_crossing() -> dict[str, Any]:
    """Return the compiled functions of :mod:`workers.domu.frontend`; done once, outside the jail."""
    from workers.compiler.compile import compile_as, numba

    int64, table = numba.int64, numba.int64[:, ::1]
    row = numba.int64[::1]
    signatures: dict[str, tuple[Callable[..., Any], Any]] = {
        "take": (take_requests, int64(int64, int64, table, row, row)),
        "give": (give_returns, numba.void(int64, int64, table, int64)),
        "wait": (wait_for_requests, int64(int64, int64, int64)),
    }
    return {name: compile_as(signature, function) for name, (function, signature) in signatures.items()}


def run(
    connection: socket.socket, descriptors: Sequence[int], spec: DomuSpec, kernels: dict[str, Any], code: Code
) -> int:
    """Load the router's elements and serve its channels until the platform closes the control channel.

    Parameters
    ----------
    connection : socket
        Control channel.
    descriptors : sequence of int
        Memory of the channels: down and up of the first, of the second, ...; last that of a graph, if there is one.
    spec : DomuSpec
    kernels : dict
        From :func:`compile_crossing`.
    code : Code
        What graphs run.

    Returns
    -------
    int
        Exit status.
    """
    control = Control(connection)
    guests = open_guests(descriptors, spec, kernels, code, control)
    control.tell(ready=True)
    serve(guests, control)
    return 0


def open_guests(
    descriptors: Sequence[int], spec: DomuSpec, kernels: dict[str, Any], code: Code, control: Control
) -> list[Guest | HostedGraph]:
    """Load the elements behind each channel and map its memory; see :func:`run`.

    Without descriptors this is a rehearsal: the elements are loaded, and no packet will ever come.
    """
    guests: list[Guest | HostedGraph] = []
    for i, cluster in enumerate(spec.clusters):
        if not descriptors:
            Guest(cluster, None, control)
            continue
        down = map_at(0, descriptors[2 * i], DOWN_BYTES, writable=False)
        up = map_at(0, descriptors[2 * i + 1], UP_BYTES)
        if spec.graph is None:
            guests.append(Guest(cluster, Frontend(down, up, kernels), control))
            continue
        hosted = HostedGraph(spec.graph, descriptors[-1], down, up, code, kernels["wait"])
        # The router's own elements are in this process, too: the same channel, without a boundary of trust.
        for own, channel in zip(spec.inside, hosted.channels, strict=True):
            hosted.guests.append(Guest(own, Frontend(*ends_of(channel), kernels), control))
        guests.append(hosted)
    return guests


def serve(guests: list[Guest | HostedGraph], control: Control) -> None:
    """Serve channels until the platform closes the control channel."""
    idle = Idle(guests)
    while True:
        busy = False
        for guest in guests:
            busy |= guest.serve()
        if busy:
            idle.reset()
        elif not guests or not guests[0].wait(_ROUNDS):
            if control.closed():
                return
            idle.sleep()


class Idle:
    """How long a domU without packets sleeps: twice as long each time, as long as it stays idle."""

    def __init__(self, guests: list[Guest | HostedGraph]) -> None:
        self._only = guests[0] if len(guests) == 1 else None
        self._seconds = _NAP_S

    def reset(self) -> None:
        """Begin again with the shortest sleep: there have been packets."""
        self._seconds = _NAP_S

    def next(self) -> float:
        """Return the seconds of the next sleep."""
        seconds = self._seconds
        self._seconds = min(2 * seconds, _LONGEST_NAP_S)
        # A graph must run by time; elements alone can wait until packets wake them.
        return _SLEEP_S if seconds == _LONGEST_NAP_S and isinstance(self._only, Guest) else seconds

    def sleep(self) -> None:
        """Sleep, until packets come if there is a single channel: a futex wait is for one only."""
        seconds = self.next()
        if self._only is None:
            time.sleep(seconds)
        else:
            self._only.sleep(seconds)
