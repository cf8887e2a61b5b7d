# SPDX-License-Identifier: MIT
"""`vre doctor`: what this host offers, found by probing."""

from __future__ import annotations

import json
import os
import platform as host_platform
import shutil
import sys
from dataclasses import asdict, dataclass

import click

from shm.layout import HEADER
from shm.run_directory import RunDirectory, run_root, sweep
from shm.segment import Segment, SegmentError, claim_window, free_window
from vre.domu.cpu_shares import Shares
from vre.errors import why_not


@dataclass(frozen=True)
class Finding:
    """One probe: `state` is ok, weak or missing; `advice` says what would improve it."""

    what: str
    state: str
    detail: str
    advice: str = ""


def findings() -> list[Finding]:
    """Probe what a platform needs of its host."""
    found = [_python(), _processors(), _memory(), _segment(), _affinity(), _cache(), _leftovers()]
    return [*found, _counters(), _sandbox(), _shares()]


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    fine = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return Finding(
        "Python",
        "ok" if fine else "weak",
        f"{version} on {host_platform.machine()}",
        "" if fine else "use 3.11 to 3.13",
    )


def _processors() -> Finding:
    count = len(os.sched_getaffinity(0))
    if count >= 2:
        return Finding("processors", "ok", f"{count}: up to {count - 1} core(s) in real time, the wire on one")
    return Finding("processors", "weak", "1: every platform runs dilated", "give it two processors or more")


def _memory() -> Finding:
    try:
        free = shutil.disk_usage("/dev/shm").free
    except OSError as error:
        return Finding("/dev/shm", "missing", why_not(error), "mount a tmpfs there")
    enough = free >= 256 << 20
    return Finding(
        "/dev/shm",
        "ok" if enough else "weak",
        f"{free >> 20} MiB free",
        "" if enough else "16 routers take up to 256 MiB",
    )


def _segment() -> Finding:
    directory = RunDirectory(f"doctor-{os.getpid()}")
    base = claim_window("doctor")
    try:
        directory.acquire()
        segment = Segment.create(directory.prefix + "probe", "probe", HEADER.size, base)
        segment.detach()
    except SegmentError as error:
        return Finding("shared memory", "missing", str(error), "allow this user to use /dev/shm and the run directory")
    finally:
        directory.release()
        free_window(base)
    return Finding("shared memory", "ok", f"segments map at {base:#x}; run directories in {run_root()}")


def _affinity() -> Finding:
    mine = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(mine)})
        os.sched_setaffinity(0, mine)
    except OSError as error:
        return Finding("pinning", "weak", error.strerror or "refused", "cores will not keep to one processor")
    return Finding("pinning", "ok", f"processors {sorted(mine)}")


def _cache() -> Finding:
    from workers.compiler.cache import NoCacheError, cache_folder

    try:
        folder = cache_folder()
    except NoCacheError as error:
        return Finding(
            "cache", "weak", f"none: each start compiles for some 20 s ({error})", "set VRE_CACHE to a folder of yours"
        )
    compiled = len(list(folder.glob("*.compiled")))
    return Finding("cache", "ok", f"{folder}, {compiled} piece(s) compiled")


def _leftovers() -> Finding:
    swept = sweep()
    return Finding("left-overs", "ok", f"removed what was left of {', '.join(swept)}" if swept else "none")


def _sandbox() -> Finding:
    from vre.domu.tiers import best

    tier, tried = best()
    last = tried[-1]
    strict = tried[0]
    why = strict.error or f"possible in it: {', '.join(strict.possible)}" if tier != "strict" else ""
    if tier == "strict":
        notes = "; namespaces from bubblewrap" if last.namespaces == "bubblewrap" else ""
        notes += "" if os.geteuid() == 0 else "; domUs share your user id, as root they would have their own"
        return Finding("sandbox", "ok", f"strict: {len(last.refused)} forbidden operations tried, none possible{notes}")
    advice = "untrusted elements need --sandbox reduced" if tier == "reduced" else "no untrusted elements"
    return Finding("sandbox", "weak", f"{tier}; no strict tier: {why}", advice)


def _counters() -> Finding:
    from workers.core.perf_counters import why_not

    why = why_not()
    if not why:
        return Finding("memory", "ok", "accesses are counted by the processor")
    return Finding("memory", "ok", f"accesses are modelled, not counted ({why})", "hardware counters would be exact")


def _shares() -> Finding:
    directory = RunDirectory(f"doctor-{os.getpid()}")
    try:
        directory.acquire()
        shares = Shares(directory.name, directory.path / "groups")
        shares.close()
    except SegmentError as error:
        return Finding("CPU shares", "weak", str(error))
    finally:
        directory.release()
    advice = {
        "cgroup": "",
        "autogroup": "as root, or in a delegated cgroup, shares would be exact",
        "stops": "as root, or in a delegated cgroup, domUs would not have to be stopped and could use idle time",
    }
    state = "ok" if shares.means != "stops" else "weak"
    limits = f"; {' and '.join(shares.limits)} limited by cgroup" if shares.limits else ""
    return Finding("CPU shares", state, f"of domUs by {shares.means}{limits}", advice[shares.means])


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool) -> None:
    """Report what this host offers; status 1 if a platform could not run."""
    found = findings()
    if as_json:
        click.echo(json.dumps([asdict(f) for f in found]))
    else:
        for f in found:
            click.echo(f"{f.state:8} {f.what:14} {f.detail}" + (f"\n{'':24}{f.advice}" if f.advice else ""))
        if os.geteuid():
            click.echo("As root, each domU would have a user id of its own, and its share of a processor by cgroup.")
    sys.exit(1 if any(f.state == "missing" for f in found) else 0)
