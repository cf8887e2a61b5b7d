# SPDX-License-Identifier: MIT
"""Captures as the platform sees them: which files may be written, and the account of each.

:mod:`workers.wire.capture_writer` writes the files; here its words in shared memory are read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from shm.intrinsics import acquire64, load64, store64
from shm.manifest import CurrentManifest
from shm.wire_layout import CAPTURE, CAPTURE_FRAMES
from vre.config.model import Capture, Model, Nic, Replay

#: In place of an errno: the writer was killed.
KILLED = -1


def _links(model: Model, kind: type[Any]) -> Iterator[tuple[Nic, Any]]:
    for nic in model.nics.values():
        yield from ((nic, link) for link in nic.links if isinstance(link, kind))


def _identity(path: str) -> tuple[Any, ...]:
    """Return the identity of a file: device and inode, or the path where it would be made."""
    try:
        found = os.stat(path)
    except OSError:
        return ("", os.path.realpath(path))
    return (found.st_dev, found.st_ino)


def clashes(model: Model) -> Iterator[tuple[str, str]]:
    """Yield (port, what is wrong) of each capture whose file is read, or written by another capture."""
    read = {_identity(link.pcap): (nic.name, link.pcap) for nic, link in _links(model, Replay)}
    written: dict[tuple[Any, ...], str] = {}
    for nic, link in _links(model, Capture):
        key = _identity(link.capture)
        if key in read:
            where, path = read[key]
            yield nic.name, f"{link.capture} is what port '{where}' replays ({path}): a capture would overwrite it"
        elif key in written and not _is_device(link.capture):
            yield nic.name, f"{link.capture} is what port '{written[key]}' is captured to: give each port its own file"
        written.setdefault(key, nic.name)


def _is_device(path: str) -> bool:
    try:
        return stat.S_ISCHR(os.stat(path).st_mode)
    except OSError:
        return False


def obstacles(model: Model) -> Iterator[tuple[str, str]]:
    """Yield (port, what is wrong) of each capture whose file cannot, or must not, be written now."""
    for nic, link in _links(model, Capture):
        path = link.capture
        try:
            found = os.stat(path)
        except FileNotFoundError:
            folder = os.path.dirname(path) or "."
            if not os.access(folder, os.W_OK | os.X_OK):
                yield nic.name, f"{path} cannot be made in {folder}"
            continue
        except OSError as error:
            yield nic.name, f"{path}: {error.strerror}"
            continue
        if stat.S_ISDIR(found.st_mode):
            yield nic.name, f"{path} is a folder"
        elif not os.access(path, os.W_OK):
            yield nic.name, f"{path} cannot be written"
        elif stat.S_ISREG(found.st_mode) and found.st_size and not link.overwrite:
            yield (
                nic.name,
                f"{path} exists: remove it, or replace it with 'overwrite = true' in the link or --force",
            )


def allow_overwriting(model: Model) -> None:
    """Let every capture overwrite a non-empty file."""
    for nic in model.nics.values():
        nic.links = tuple(replace(one, overwrite=True) if isinstance(one, Capture) else one for one in nic.links)


def row(nic: str, address: int, path: str) -> dict[str, Any]:
    """Return one capture's account: frames sent by the port, and where they are; sent = written + lost + waiting."""
    in_ring = (acquire64(address + CAPTURE["filled"]) >> 32) - (load64(address + CAPTURE["emptied"]) >> 32)
    waiting = (in_ring & CAPTURE_FRAMES) + load64(address + CAPTURE["hand"])
    written = load64(address + CAPTURE["written"])
    sent = load64(address + CAPTURE["frames"]) + load64(address + CAPTURE["lost"])
    # These are read at different moments while the platform runs.
    lost = max(0, sent - written - waiting)
    return {"port": nic, "file": path, "sent": sent, "written": written, "lost": lost, "waiting": waiting}


def finish(address: int) -> None:
    """Count as lost what waits for a writer that has ended."""
    store64(address + CAPTURE["emptied"], load64(address + CAPTURE["filled"]))
    store64(address + CAPTURE["hand"], 0)


class Captures:
    """Watches the captures of one platform.

    Parameters
    ----------
    manifest : CurrentManifest
    report : callable
        Told of events: once when a file falls behind, once when it has failed.
    """

    def __init__(self, manifest: CurrentManifest, report: Callable[[str], None]) -> None:
        self._manifest, self._report = manifest, report
        self._told: set[tuple[str, str]] = set()

    def look(self) -> None:
        """Report what is new."""
        for capture in self._manifest.now.wire.captures:
            address, path = capture.address, capture.path
            error, lost = load64(address + CAPTURE["error"]), load64(address + CAPTURE["lost"])
            if error:
                why = "its writer was killed" if error == KILLED else os.strerror(error)
                self._tell(path, "failed", f"{why}; no more frames are captured, and all are forwarded")
            elif lost:
                self._tell(path, "behind", "its file takes frames too slowly; those without room are not captured")

    def _tell(self, path: str, what: str, text: str) -> None:
        if (path, what) not in self._told:
            self._told.add((path, what))
            self._report(f"capture {path}: {text}")
