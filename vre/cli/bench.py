# SPDX-License-Identifier: MIT
"""`vre bench`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from vre.cli.options import Duration, writable
from vre.cli.report import emit

_LABELS = {
    "raw_ring_mpps": "ring to ring, one cache line read and written: the limit",
    "minimal_mpps": "minimal forwarding",
    "rfc1812_mpps": "RFC 1812 fast path, 64 bytes",
    "rfc1812_1024_mpps": "RFC 1812 fast path, 1,024 bytes",
    "rfc1812_imix_mpps": "RFC 1812 fast path, IMIX",
}


@click.command()
@click.option("--seconds", type=Duration(0.05, 600), default="3s", show_default=True, help="Time for each setting.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="Write the result, with host and commit, to a file.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def bench(seconds: float, out: Path | None, as_json: bool) -> None:
    """Measure the platform against its own limit: generator and sink in one process, one core in another."""
    from vre.bench.throughput import run
    from vre.supervision.outlet import speaking

    writable(out)
    with speaking() as say:
        result = run(seconds, say)
    if out:
        text = json.dumps({"host": _host(), "seconds": seconds, "result": result}, indent=1)
        with click.open_file(str(out), "w") as file:
            file.write(text)
    emit(result, _table(result), as_json)


def _host() -> dict[str, Any]:
    import platform

    import numba

    from vre import __version__

    return {
        "machine": platform.machine(), "kernel": platform.release(), "python": platform.python_version(),
        "numba": numba.__version__, "vre": __version__,
    }  # fmt: skip


def _table(result: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("what", "median", "spread"):
        table.add_column(name, justify="left" if name == "what" else "right", no_wrap=True)
    for key, label in _LABELS.items():
        table.add_row(label, *_cells(result[key], "Mp/s"))
    for count, record in result["routers_mpps"].items():
        table.add_row(f"RFC 1812, {count} router(s) on one core, together", *_cells(record, "Mp/s"))
    table.add_row("a scheduling decision", *_cells(result["decision_ns"], "ns"))
    table.add_row("RFC 1812 as a fraction of the limit", *_cells(result["ratios"]["rfc1812_to_raw"], ""))
    table.add_row("64 routers as a fraction of one", *_cells(result["ratios"]["routers_64_to_1"], ""))
    return table


def _cells(record: dict[str, Any], unit: str) -> tuple[str, str]:
    return f"{record['median']:.2f} {unit}".strip(), f"{record['spread']:.2f}"
