# SPDX-License-Identifier: MIT
"""Faults of the platform's own processes: they are killed, stopped, or frozen together."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from vre.chaos.fault_table import fault
from vre.platform.platform import Platform
from vre.supervision.processes import ProcessGroup

#: For how long all processes are stopped: far longer than any deadline.
FROZEN_S = 0.4
#: What a busy host may take to replace the wire.
_REPLACED_S = 10.0


def kill_worker(box: Platform, standby: bool) -> str:
    """Kill the worker of core 0, or its standby."""
    engine = box.parts.runtime.engine
    assert isinstance(engine, ProcessGroup)
    worker = engine.pid(0)
    others = [pid for pid, core in engine.supervisor.cores.items() if core == 0 and pid != worker]
    with contextlib.suppress(ProcessLookupError):
        os.kill(others[0] if standby and others else worker, signal.SIGKILL)
    return ""


@fault("dom0", "kills the worker of a core in the middle of its work", kills=True)
def worker_killed(box: Platform) -> str:
    """Kill a worker."""
    return kill_worker(box, standby=False)


@fault("dom0", "kills the worker that waits to replace another", kills=True)
def standby_killed(box: Platform) -> str:
    """Kill a standby."""
    return kill_worker(box, standby=True)


@fault("dom0", "kills the wire in the middle of its work", kills=True)
def wire_killed(box: Platform) -> str:
    """Kill the wire."""
    return _hurt_wire(box, signal.SIGKILL)


@fault("clock", "stops the wire for good", costs=True, kills=True)
def wire_stopped(box: Platform) -> str:
    """Stop the wire: what is sent to the routers until it is replaced finds no room."""
    return _hurt_wire(box, signal.SIGSTOP)


def _hurt_wire(box: Platform, how: signal.Signals) -> str:
    """Send the wire a signal after which it must be replaced; return "" if it has been."""
    engine = box.parts.runtime.engine
    assert isinstance(engine, ProcessGroup)
    victim, end = engine.wire_holder(), time.monotonic() + _REPLACED_S
    with contextlib.suppress(ProcessLookupError):
        os.kill(victim, how)
    while engine.wire_holder() in (0, victim) and time.monotonic() < end:
        box.tend(0.01)
    return f"the wire was not replaced within {_REPLACED_S:g} s" if engine.wire_holder() in (0, victim) else ""


def _family(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents.setdefault(int(stat.read_text().rpartition(")")[2].split()[1]), []).append(int(stat.parent.name))
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found


@fault("clock", "stops all processes of the platform for a while, as a frozen container does", costs=True)
def frozen(box: Platform) -> str:
    """Freeze all processes, and continue them: no router is at fault for that time."""
    quarantined, states = len(box.parts.watchdog.quarantined), [row["state"] for row in box.parts.domus.rows()]
    family = _family(os.getpid())
    code = (
        "import os, signal, sys, time; family = [int(a) for a in sys.argv[2:]]\n"
        "for pid in family: os.kill(pid, signal.SIGSTOP)\n"
        "time.sleep(float(sys.argv[1]))\n"
        "for pid in family: os.kill(pid, signal.SIGCONT)\n"
    )
    helper = subprocess.Popen([sys.executable, "-c", code, str(FROZEN_S), *map(str, family)])
    box.tend(FROZEN_S + 0.5)
    helper.wait()
    box.tend(0.2)
    if len(box.parts.watchdog.quarantined) != quarantined:
        return "a path was quarantined for time in which no process could run"
    if [row["state"] for row in box.parts.domus.rows()] != states:
        return "a domU was judged for time in which no process could run"
    return ""
