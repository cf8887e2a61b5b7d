# SPDX-License-Identifier: MIT
"""`vre elements`: the element reference, generated from the declarations."""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path

import click

from vre.errors import nearest
from workers.element import Element, load


@click.command()
@click.argument("name", required=False)
@click.option("--new", "fresh", type=click.Path(path_type=Path), metavar="FILE.py", help="Write a skeleton.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def elements(name: str | None, fresh: Path | None, as_json: bool) -> None:
    """List the elements, show the manual page of NAME, or write the skeleton of an untrusted element."""
    if fresh:
        if name is not None:
            raise click.UsageError(f"--new writes an element of your own: leave out '{name}'")
        _write_skeleton(fresh)
        return
    registry = load()
    if name is None:
        rows = {key: cls.summary() for key, cls in sorted(registry.items())}
        click.echo(json.dumps(rows) if as_json else "\n".join(f"{key:16} {text}" for key, text in rows.items()))
        return
    if name not in registry:
        click.echo(f"error: no element '{name}'{nearest(name, registry)}; 'vre elements' lists them", err=True)
        sys.exit(2)
    cls = registry[name]
    click.echo(json.dumps(describe(cls)) if as_json else page(cls))


def _write_skeleton(file: Path) -> None:
    if file.suffix != ".py" or not file.stem.isidentifier():
        click.echo(f"error: '{file}' is not the name of a Python module, as in mine.py", err=True)
        sys.exit(2)
    skeleton = Path(__file__).resolve().parent.parent / "demo" / "skeleton.py"
    try:
        with file.open("x") as out:
            out.write(skeleton.read_text())
    except OSError as error:
        click.echo(f"error: cannot write {file}: {error.strerror}", err=True)
        sys.exit(2)
    click.echo(f"wrote {file}; use it as Untrusted({file}:Mine, LIMIT 100)")


def describe(cls: type[Element]) -> dict[str, object]:
    """Return an element's declaration as plain data."""
    reads, writes = cls.handlers()
    return {
        "name": cls.__name__,
        "summary": cls.summary(),
        "ports": cls.ports,
        "processing": cls.processing,
        "arguments": [a.name for a in cls.arguments],
        "drops": list(cls.reasons),
        "read": reads,
        "write": writes,
        "path": "fast" if cls.process and not cls.slow else "slow" if not cls.process else "fast, with a slow path",
    }


def page(cls: type[Element]) -> str:
    """Return an element's manual page."""
    facts = describe(cls)
    lines = [f"{cls.__name__}  ({cls.ports} ports, processing {cls.processing}, {facts['path']})", ""]
    lines += (inspect.getdoc(cls) or "").splitlines()
    reads, writes = cls.handlers()
    lines += ["", f"Can be read: {', '.join(['name', 'class', 'config', 'handlers', *reads])}."]
    lines += [f"Can be written: {', '.join(writes)}."] if writes else []
    if cls.reasons:
        lines += ["", f"Drops packets for: {', '.join(cls.reasons)}."]
    return "\n".join(lines)
