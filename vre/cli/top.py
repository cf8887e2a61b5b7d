# SPDX-License-Identifier: MIT
"""`vre top` and `vre show`: a running platform, read from its shared memory."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import click

from shm.intrinsics import load64
from shm.layout import DECISIONS, RING, TASK
from shm.manifest import CurrentManifest, Manifest
from shm.run_directory import RunDirectory, names, why_no_name
from shm.segment import Segment, SegmentError, attach_only
from vre.cli.contest import as_error, contest_lines
from vre.cli.options import Duration, timeout_option
from vre.cli.report import claim_text, drop_lines, emit, looks, number, routers_json, routers_table
from vre.cli.tables import Rows
from vre.errors import PlatformError, nearest
from vre.platform.accounts import contested_jain
from vre.platform.control_socket import ask
from workers.element import load
from workers.graph.shape import Shape

#: The longer of the two windows that shares are shown for.
_LONG_S = 10.0
#: Views that are requested from the platform; the others are read from its memory.
ASKED = ("domus", "control", "events")
#: What is printed if such a view is empty.
_NOTHING = {
    "domus": "no router has a domU",
    "control": "no router has a control plane",
    "events": "no events",
    "links": "no link is impaired",
    "interfaces": "no port leads out of the platform",
}
VIEWS = ("routers", "paths", "cores", "ports", "links", "interfaces", "memory", "decisions", "code", *ASKED)


def running(name: str | None) -> str:
    """Return the name of a running platform: the only one if no name is given."""
    if name is None:
        found = [name for name in names() if RunDirectory(name).alive()]
        if len(found) != 1:
            several = f"several platforms run: choose one of {', '.join(found)} with --name"
            raise PlatformError(several if found else "no platform is running")
        name = found[0]
    if why := why_no_name(name):
        raise PlatformError(why)
    if not RunDirectory(name).alive():
        raise PlatformError(f"no platform named '{name}' is running")
    # Its control socket answers as soon as packets may flow.
    if not (RunDirectory(name).path / "control").exists():
        raise PlatformError(f"platform '{name}' is still starting: it may have to compile; try again")
    return name


class Attached:
    """A running platform's memory, mapped; its manifest may change."""

    def __init__(self, name: str | None) -> None:
        from vre.platform.accounts import Reader

        self.directory = RunDirectory(running(name))
        self._segments: dict[str, Segment] = {}
        self._current = CurrentManifest(self._read())
        self.reader = Reader(self._current)
        self.refresh()

    @property
    def manifest(self) -> Manifest:
        """As it was read last."""
        return self._current.now

    def refresh(self) -> None:
        """Read the manifest anew; map what is new and unmap what is gone. Raises PlatformError if it has ended."""
        found = self._read()
        while True:
            try:
                attach_only(self._segments, found.segments)
                break
            except SegmentError as error:
                # A change has removed the segment meanwhile: there is another manifest by now.
                before, found = found, self._read()
                if found.segments == before.segments:
                    raise PlatformError(str(error)) from None
        self._current.now = found

    def _read(self) -> Manifest:
        try:
            return self.directory.manifest()
        except SegmentError as error:
            raise PlatformError(str(error)) from None

    def lives(self) -> dict[str, str]:
        """Return each router's segment: a new one if a router was replaced by one of the same name."""
        segments = [segment.name for segment in self.manifest.segments if segment.kind == "router"]
        # Neither a router's name nor its suffix contains a dot and "router-".
        return {name.rpartition(".router-")[2].partition(".")[0]: name for name in segments}


def view_of(what: str, manifest: Manifest, reader: Any, count: int = 20) -> Any:
    """Return one view as plain data; for decisions, the last `count` of each core."""
    if what == "routers":
        return routers_json(reader.routers())["routers"]
    if what == "cores":
        return [{"core": number} | row for number, row in enumerate(reader.cores())]
    if what in ("links", "interfaces"):
        return reader.links() if what == "links" else reader.interfaces()
    if what == "decisions":
        return [row for core in range(len(manifest.cores)) for row in reader.decisions(core, count)]
    places = [f"core {n}" if not core.nic else "NIC" for n, core in enumerate(manifest.cores)]
    if what == "ports":
        rings = [
            (nic, f"rx {r.name}", at, claim_text(r.claims[nic].mac, r.claims[nic].vlan))
            for r in manifest.routers
            for nic, at in r.rx.items()
        ]
        rings += [(c.nic, "rx", c.ring, "") for c in manifest.classifiers]
        sending = [(tx.nic, f"tx {places[tx.core]}", tx.ring, "") for tx in manifest.tx]
        # If a TX ring is full, the router's element drops the packet and counts it: tx_ring_full.
        return (
            [_ring_row(*ring) for ring in rings]
            + [_ring_row(*ring) | {"full": None} for ring in sending]
            + [
                {
                    "port": one["port"],
                    "ring": f"capture {one['file']}",
                    "claims": "",
                    "packets": one["written"],
                    "full": one["lost"],
                    "waiting": one["waiting"],
                }
                for one in reader.captures()
            ]
        )
    if what == "memory":
        return [
            {"segment": segment.name, "kind": segment.kind, "bytes": segment.size, "base": hex(segment.base)}
            for segment in manifest.segments
        ]
    fields = ("packets", "turns", "empty_turns", "used_ticks", "slow_ticks", "killed")
    tasks = [(t.core, f"{r.name}/{t.name}", t.address) for r in manifest.routers for t in r.tasks]
    tasks += [(c.core, c.name, c.task) for c in manifest.classifiers]
    return [
        {"core": core if places[core] != "NIC" else "NIC", "path": path}
        | {field: load64(address + TASK[field]) for field in fields}
        for core, path, address in sorted(tasks)
    ]


def _ring_row(port: str, ring: str, at: int, claims: str) -> dict[str, Any]:
    head = load64(at + RING["head"])
    return {
        "port": port,
        "ring": ring,
        "claims": claims,
        "packets": head,
        "full": load64(at + RING["full"]),
        "waiting": head - load64(at + RING["tail"]),
    }


def code_of(manifest: Manifest, router: str) -> dict[str, str]:
    """Return the module that a running router's paths are compiled from. Raises PlatformError."""
    from workers.compiler.listing import listing

    found = {one.name: one for one in manifest.routers}
    if router not in found:
        raise PlatformError(f"there is no router '{router}'{nearest(router, found)}")
    shape = Shape.of(found[router].shape)
    if unknown := set(shape.classes) - set(load()):
        raise PlatformError(f"router '{router}' has elements that are not installed here: {', '.join(sorted(unknown))}")
    names = [element.name for element in found[router].elements]
    return {"router": router, "code": listing(shape, names, f"Router {router}")}


@click.command()
@click.argument("what", type=click.Choice(VIEWS))
@click.argument("router", required=False)
@click.option("--name", help="Which platform, if several run.")
@click.option("--count", type=click.IntRange(1, DECISIONS), default=20, show_default=True, help="Decisions per core.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@timeout_option
def show(what: str, router: str | None, name: str | None, count: int, as_json: bool, timeout: float | None) -> None:
    """Print one view of a running platform: routers, paths, cores, ports, memory, last decisions, domUs or events.

    `show links` has what impaired links did to frames, `show interfaces` what those of the system at ports did, and
    `show code ROUTER` prints the Python module that the router's paths are compiled from.
    """
    if (what == "code") != (router is not None):
        one = "code is that of one router: vre show code ROUTER"
        raise click.UsageError(one if router is None else f"'{what}' is a view of all routers: leave out '{router}'")
    platform = Attached(name)
    manifest, reader = platform.manifest, platform.reader
    if what in ASKED:
        rows = ask(platform.directory.path / "control", timeout, do="view", what=what)["rows"]
        emit(rows, Rows(rows) if rows else _NOTHING[what], as_json)
        return
    if router is not None:
        code = code_of(manifest, router)
        click.echo(json.dumps(code) if as_json else code["code"], nl=as_json)
        return
    data = view_of(what, manifest, reader, count)
    if what == "routers":
        stats = reader.routers()
        emit(data, routers_table(stats, 0), as_json)
        if not as_json:
            for line in [*contest_lines(stats, reader.cores()), *drop_lines(stats)]:
                emit(None, line, False)
    else:
        shown = Rows([{k: "-" if v is None else v for k, v in row.items()} for row in data])
        emit(data, shown if data or what not in _NOTHING else _NOTHING[what], as_json)


@click.command()
@click.option("--name", help="Which platform, if several run.")
@click.option("--every", type=Duration(0.05, 86400), default="1s", show_default=True, help="Time between two updates.")
@click.option("--count", type=click.IntRange(1), help="Stop after this many updates.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON per update.")
def top(name: str | None, every: float, count: int | None, as_json: bool) -> None:
    """Watch a running platform: entitled and actual share, packet rate, cycles and drops of each router."""
    platform = Attached(name)
    if as_json:
        for rows, _ in _looks(platform, every, count):
            click.echo(json.dumps(rows))
        return
    with looks() as show:
        for rows, said in _looks(platform, every, count):
            shown = [{k: v if isinstance(v, str) else _shown(k, v) for k, v in row.items()} for row in rows]
            show(Rows(shown), *said)


def _looks(platform: Attached, every: float, count: int | None) -> Iterator[tuple[list[dict[str, Any]], list[str]]]:
    """Yield a row each router and what else there is to say, until the platform ends."""
    reader, directory = platform.reader, platform.directory
    past = deque([(time.monotonic(), {s.name: s for s in reader.routers()})])
    seen, lives = 0, platform.lives()
    while directory.alive() and (count is None or seen < count):
        time.sleep(max(0.05, every))
        try:
            platform.refresh()
        except PlatformError:
            if directory.alive():
                raise
            return
        _forget(past, lives, platform.lives())
        lives = platform.lives()
        now, stats = time.monotonic(), {s.name: s for s in reader.routers()}
        while len(past) > 1 and now - past[1][0] >= _LONG_S:
            past.popleft()
        rows = _rates(past[-1][1], stats, now - past[-1][0])
        for row in rows:
            row["share 10 s"] = _shares(past[0][1], stats).get(row["router"], 0.0)
            row["share run"] = stats[row["router"]].share
        past.append((now, stats))
        seen += 1
        yield rows, _since(past[-2][1], stats)


def _forget(past: Iterable[tuple[float, dict[str, Any]]], before: dict[str, str], now: dict[str, str]) -> None:
    """Drop removed routers from earlier samples: a new router of the same name did nothing then."""
    for gone in [name for name, segment in before.items() if now.get(name) != segment]:
        for _, accounts in past:
            accounts.pop(gone, None)


def _shares(before: dict[str, Any], stats: dict[str, Any]) -> dict[str, float]:
    """Return each router's share of the CPU time since an earlier sample."""
    used = {name: s.used_ticks - before[name].used_ticks for name, s in stats.items() if name in before}
    total = sum(used.values()) or 1
    return {name: ticks / total for name, ticks in used.items()}


def _rates(before: dict[str, Any], stats: dict[str, Any], seconds: float) -> list[dict[str, Any]]:
    """Return one row per router for the time between two samples; none for one that has just been added."""
    rows = []
    for name, share in _shares(before, stats).items():
        s, old = stats[name], before[name]
        ticks, packets = s.used_ticks - old.used_ticks, s.packets - old.packets
        lines = s.used_lines - old.used_lines
        rows.append(
            {
                "router": name,
                "entitled": s.entitled,
                "share": share,
                "error": _between(old, s).error,
                "pps": (s.forwarded - old.forwarded) / seconds,
                "cycles/packet": ticks / packets if packets else 0.0,
                "lines/packet": lines / packets if packets else 0.0,
                "drops/s": (sum(s.dropped.values()) - sum(old.dropped.values())) / seconds,
                "in flight": s.in_flight,
            }
        )
    return rows


def _between(old: Any, new: Any) -> Any:
    """Return what a router has competed for between two samples, as an account."""
    fields = ("backlogged_s", "contested_s", "contested_used", "contested_due")  # a step is not a sum
    return replace(new, **{name: getattr(new, name) - getattr(old, name) for name in fields})


def _since(before: dict[str, Any], stats: dict[str, Any]) -> list[str]:
    """Return how even shares were since the last sample, and which routers had nothing to share."""
    rivals = [_between(before[name], s) for name, s in stats.items() if name in before]
    index = contested_jain(rivals)
    idle = [s.name for s in rivals if s.entitled and s.error is None]
    said = [] if index is None else [f"Jain's index over contested time: {index:.5f}"]
    return said + ([f"nothing to compete for, or nothing waiting: {', '.join(idle)}"] if idle else [])


def _shown(key: str, value: float | None) -> str:
    if key == "error":
        return as_error(value)
    assert value is not None
    if key in ("entitled", "share", "share 10 s", "share run"):
        return f"{value:.1%}"
    return number(value)
