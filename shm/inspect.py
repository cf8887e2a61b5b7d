# SPDX-License-Identifier: MIT
"""Print segments of a running platform, or copies from a dead one.

`python -m shm.inspect FILE...` takes segment files, as in `/dev/shm`; `python -m shm.inspect FOLDER` takes a
folder with copies of them and of the run directory's `manifest.json`. Nothing is mapped or written, so a
copy from another machine will do.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shm.layout import APART, CLIENT, CORE, HEADER, MAGIC, RING, TASK, VERSION, Layout
from shm.manifest import Manifest
from shm.wire_layout import WIRE

#: What the first record of a kind of segment is.
_FIRST = {"core": CORE, "wire": WIRE}


class NotASegment(ValueError):
    """A file that is no segment of this version."""


class Image:
    """The bytes of one segment, read by address."""

    def __init__(self, file: Path) -> None:
        self.name, self._bytes = file.name, file.read_bytes()
        if len(self._bytes) < HEADER.size:
            raise NotASegment(f"{file} is too short for a segment")
        header = self._record(HEADER, 0)
        if header["magic"] != MAGIC:
            raise NotASegment(f"{file} is not a segment")
        if header["version"] != VERSION:
            raise NotASegment(f"{file} has layout version {header['version']}, this is {VERSION}")
        self.kind, self.base = header["kind"].decode(), int(header["base"])
        self.size = int(header["size"])
        if len(self._bytes) < self.size:
            raise NotASegment(f"{file} is cut off: {len(self._bytes)} of {self.size} bytes")

    def _record(self, layout: Layout, offset: int) -> Any:
        import numpy as np

        return np.frombuffer(self._bytes, layout.dtype, 1, offset)[0]

    def holds(self, address: int) -> bool:
        """Return whether an address is in this segment."""
        return self.base <= address < self.base + self.size

    def record(self, layout: Layout, address: int) -> Any:
        """Return the record at an address."""
        return self._record(layout, address - self.base)


def _lines(layout: Layout, record: Any, label: str) -> Iterator[str]:
    yield f"  {layout.name} {label}"
    for field in layout.fields:
        value = record[field]
        if getattr(value, "size", 1) == 1:
            yield f"    {field:14} {value}"


def describe(image: Image, manifest: Manifest | None = None) -> Iterator[str]:
    """Yield the lines that describe a segment; with a manifest, its rings, tasks and clients too."""
    yield f"{image.name}: {image.kind}, {image.size} bytes at {image.base:#x}, layout version {VERSION}"
    if image.kind in _FIRST:
        # Arenas begin behind the header, on a pair of lines.
        yield from _lines(_FIRST[image.kind], image.record(_FIRST[image.kind], image.base + APART), "")
    for layout, address, label in _records(manifest) if manifest else ():
        if image.holds(address):
            yield from _lines(layout, image.record(layout, address), label)


def _records(manifest: Manifest) -> Iterator[tuple[Layout, int, str]]:
    """Yield (layout, address, label) of all records that a manifest lists."""
    for router in manifest.routers:
        for client in router.clients:
            yield CLIENT, client, f"of {router.name}"
        for task in router.tasks:
            yield TASK, task.address, f"{router.name}/{task.name} on core {task.core}"
        for nic, address in router.rx.items():
            yield RING, address, f"rx {nic} of {router.name}"
        for element in router.elements:
            for field, address in element.rings.items():
                yield RING, address, f"{router.name}/{element.name}.{field}"
    for classifier in manifest.classifiers:
        yield RING, classifier.ring, f"rx {classifier.nic}"
        yield TASK, classifier.task, f"{classifier.name} on core {classifier.core}"
    for tx in manifest.tx:
        yield RING, tx.ring, f"tx {tx.nic} of core {tx.core}"


def describe_paths(paths: list[Path]) -> Iterator[str]:
    """Yield the description of files, and of all segments in folders."""
    for path in paths:
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        found = path / "manifest.json"
        manifest = Manifest.from_json(found.read_text()) if path.is_dir() and found.exists() else None
        for file in files:
            if path.is_dir() and not file.name.startswith("vre."):
                continue
            yield from describe(Image(file), manifest)


def main() -> None:
    """Describe what the command line names."""
    if not sys.argv[1:]:
        print("usage: python -m shm.inspect FILE...: segments of /dev/shm, or folders of copies", file=sys.stderr)
        sys.exit(2)
    try:
        for line in describe_paths([Path(argument) for argument in sys.argv[1:]]):
            print(line)
    except OSError as error:
        print(f"error: cannot read {error.filename}: {error.strerror}", file=sys.stderr)
        sys.exit(2)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
