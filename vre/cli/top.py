# SPDX-License-Identifier: MIT
"""`vre top` and `vre show`: a running platform, read from its shared memory."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import click

from shm.layout import RING, TASK
from shm.memory import load64
from shm.segment import RunDirectory, Segment, SegmentError, run_root
from vre.cli.report import emit, number, routers_json, routers_table
from vre.errors import PlatformError

VIEWS = ("routers", "paths", "cores", "ports", "memory")


def attach(name: str | None) -> tuple[dict[str, Any], Any]:
    """Return manifest and reader of a running platform; the only one where no name is given."""
    from vre.stats import Reader

    if name is None:
        root = run_root()
        running = [p.name for p in sorted(root.iterdir()) if RunDirectory(p.name).alive()] if root.is_dir() else []
        if len(running) != 1:
            hint = f"; these run: {', '.join(running)}: choose with --name" if running else ""
            raise PlatformError(f"{'several platforms run' if running else 'no platform is running'}{hint}")
        name = running[0]
    directory = RunDirectory(name)
    if not directory.alive():
        raise PlatformError(f"no platform named '{name}' is running")
    try:
        manifest = directory.manifest()
        for row in manifest["segments"]:
            Segment.attach(*row)
    except SegmentError as error:
        raise PlatformError(str(error)) from None
    return manifest, Reader(manifest)


def view_of(what: str, manifest: dict[str, Any], reader: Any) -> Any:
    """Return one view as plain data."""
    if what == "routers":
        return routers_json(reader.routers())["routers"]
    if what == "cores":
        return reader.cores()
    if what == "ports":
        rings = [(nic, f"rx {r['name']}", at) for r in manifest["routers"] for nic, at in r["rx"].items()]
        rings += [(nic, f"tx core {core}", at) for nic, core, at in manifest["tx"]]
        return [_ring_row(*ring) for ring in rings]
    if what == "memory":
        return [
            {"segment": name, "kind": kind, "bytes": size, "base": hex(base)}
            for name, kind, size, base in manifest["segments"]
        ]
    fields = ("packets", "turns", "empty_turns", "used_ticks", "slow_ticks", "killed")
    return [
        {"core": i, "path": f"{task['router']}/{task['name']}"} | {f: load64(task["address"] + TASK[f]) for f in fields}
        for i, core in enumerate(manifest["cores"])
        for task in core["tasks"]
    ]


def _ring_row(port: str, ring: str, at: int) -> dict[str, Any]:
    head = load64(at + RING["head"])
    return {
        "port": port,
        "ring": ring,
        "packets": head,
        "full": load64(at + RING["full"]),
        "waiting": head - load64(at + RING["tail"]),
    }


def _table(rows: list[dict[str, Any]]) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in rows[0] if rows else ():
        table.add_column(name, justify="left" if isinstance(rows[0][name], str) else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(str(v) for v in row.values()))
    return table


@click.command()
@click.argument("what", type=click.Choice(VIEWS))
@click.option("--name", help="Which platform, where several run.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(what: str, name: str | None, as_json: bool) -> None:
    """Print one view of a running platform: routers, paths, cores, ports or memory."""
    manifest, reader = attach(name)
    data = view_of(what, manifest, reader)
    if what == "routers":
        emit(data, routers_table(reader.routers(), 0), as_json)
    else:
        emit(data, _table(data), as_json)


@click.command()
@click.option("--name", help="Which platform, where several run.")
@click.option("--every", default=1.0, show_default=True, help="Seconds between two looks.")
@click.option("--count", type=int, help="Stop after so many looks.")
@click.option("--json", "as_json", is_flag=True, help="A line of JSON each look.")
def top(name: str | None, every: float, count: int | None, as_json: bool) -> None:
    """Watch a running platform: per router entitled share, actual share, packet rate, cycles, drops."""
    manifest, reader = attach(name)
    directory = RunDirectory(manifest["name"])
    before, then = {s.name: s for s in reader.routers()}, time.monotonic()
    looks = 0
    while directory.alive() and (count is None or looks < count):
        time.sleep(max(0.05, every))
        now, stats = time.monotonic(), reader.routers()
        rows = _rates(before, stats, now - then)
        before, then = {s.name: s for s in stats}, now
        looks += 1
        if as_json:
            click.echo(json.dumps(rows))
            continue
        if sys.stdout.isatty():
            click.echo("\033[H\033[J", nl=False)
        emit(
            None,
            _table([{k: v if isinstance(v, str) else _shown(k, v) for k, v in row.items()} for row in rows]),
            False,
        )


def _rates(before: dict[str, Any], stats: list[Any], seconds: float) -> list[dict[str, Any]]:
    """Return a row each router for the time between two looks."""
    used = sum(s.used_ticks - before[s.name].used_ticks for s in stats) or 1
    rows = []
    for s in stats:
        old = before[s.name]
        ticks, packets = s.used_ticks - old.used_ticks, s.packets - old.packets
        rows.append(
            {
                "router": s.name,
                "entitled": s.entitled,
                "share": ticks / used,
                "error": ticks / used - s.entitled,
                "pps": (s.forwarded - old.forwarded) / seconds,
                "cycles/packet": ticks / packets if packets else 0.0,
                "drops/s": (sum(s.dropped.values()) - sum(old.dropped.values())) / seconds,
                "in flight": s.in_flight,
            }
        )
    return rows


def _shown(key: str, value: float) -> str:
    if key in ("entitled", "share"):
        return f"{value:.1%}"
    return f"{value:+.2%}" if key == "error" else number(value)
