# SPDX-License-Identifier: MIT
"""The process that serves one router's control plane: it is in its namespace, has its TAPs, and reads its routes."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable

from shm.intrinsics import acquire64, store64
from shm.manifest import ControlEntry
from shm.route_layout import PUMP, PUMP_PORT
from workers.control.namespace import enter
from workers.control.pump import rejoin
from workers.control.route_reader import RouteReader
from workers.control.taps import open_tap
from workers.process import leave_signals, sleep_precisely, take_name


def run_control(entry: ControlEntry, parse: Callable[[int, int, int], int], pump: Callable[[int], int]) -> None:
    """Serve a control plane until the platform ends it.

    Parameters
    ----------
    entry : ControlEntry
    parse, pump : callable
        The compiled kernels.
    """
    take_name(f"vre-control-{entry.router}")
    leave_signals()
    sleep_precisely()
    namespace = os.open(f"/proc/{os.getppid()}/fd/{entry.namespace}", os.O_RDONLY | os.O_CLOEXEC)
    enter(namespace)
    os.close(namespace)
    epoll = select.epoll()
    store64(entry.pump + PUMP["epoll"], epoll.fileno())
    ports = acquire64(entry.pump + PUMP["ports"])
    for i, tap in enumerate(entry.taps):
        fd = open_tap(tap.name)
        epoll.register(fd, select.EPOLLIN)
        rejoin(tap.up, tap.down)
        store64(ports + i * PUMP_PORT.size + PUMP_PORT["tap"], fd)
    thread = threading.Thread(target=_move, args=(entry.pump, pump), daemon=True)
    thread.start()
    RouteReader(entry.feed, parse).run()


def _move(record: int, pump: Callable[[int], int]) -> None:
    """Move frames; the kernel keeps no lock of the interpreter, so routes are read meanwhile."""
    while not acquire64(record + PUMP["stop"]):
        pump(record)
