# SPDX-License-Identifier: MIT
"""The directory of a lab: its lock, what runs there, and the namespaces that it has made.

It lies beside the run directories of platforms, and its lock works as theirs does: a command that finds it free removes
what the lab left. A namespace is noted before it is made, so whatever ends a lab, the next command knows of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
from dataclasses import asdict, dataclass
from pathlib import Path

from shm.run_directory import RunDirectory, run_root, why_no_name
from shm.run_directory import sweep as sweep_platforms
from shm.segment import SegmentError
from vre.errors import PlatformError
from vre.lab import namespaces

#: In the folder of run directories; no platform's name begins so.
_FOLDER = ".labs"
_STATE, _MADE, LOG = "lab.json", "made", "hosts.log"


@dataclass(frozen=True)
class State:
    """A lab that runs: its topology file, its process, that of its PID namespace, and whether it is in a user's own."""

    file: str
    pid: int
    init: int
    rootless: bool


class LabDirectory(RunDirectory):
    """The directory of one lab. Raises PlatformError if `name` cannot be a lab's."""

    def __init__(self, name: str) -> None:
        if why := why_no_name(name):
            raise PlatformError(why.replace("platform's", "lab's"))
        super().__init__(name, run_root() / _FOLDER)

    def take(self) -> None:
        """Lock the directory. Raises PlatformError if a lab of this name runs."""
        try:
            run_root().mkdir(mode=0o700, parents=True, exist_ok=True)
            self.acquire()
        except OSError as error:
            raise PlatformError(f"cannot use {run_root()}: {error.strerror}") from None
        except SegmentError as error:
            raise PlatformError(str(error).replace("a platform named", "a lab named")) from None

    def note(self, namespace: str) -> None:
        """Note a namespace before it is made. Raises OSError."""
        with (self.path / _MADE).open("a") as file:
            file.write(namespace + "\n")

    def publish(self, state: State) -> None:
        """Say what runs. Raises OSError."""
        partial = self.path / "manifest.partial"
        partial.write_text(json.dumps(asdict(state)))
        partial.replace(self.path / _STATE)

    def state(self) -> State | None:
        """Return what runs, None if the lab does not, or is not up yet."""
        try:
            return State(**json.loads((self.path / _STATE).read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def made(self) -> list[str]:
        """Return the namespaces that have been noted: each begins with the lab's name."""
        try:
            lines = (self.path / _MADE).read_text().split("\n")
        except OSError:
            return []
        return [line for line in lines if line.startswith(f"{self.name}-") and "/" not in line]

    def _remove_contents(self) -> None:
        """Remove what the lab has made; the directory is locked."""
        for namespace in self.made():
            for pid in namespaces.processes(namespace):
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            namespaces.remove(namespace)
        for name in (_STATE, _MADE, LOG):
            with contextlib.suppress(OSError):
                (self.path / name).unlink()
        super()._remove_contents()


def names() -> list[str]:
    """Return the names of all labs of this user, of live and of dead ones."""
    with contextlib.suppress(OSError):
        found = sorted(entry.name for entry in os.scandir(run_root() / _FOLDER) if entry.is_dir(follow_symlinks=False))
        return [name for name in found if not why_no_name(name) and LabDirectory(name).prefix]
    return []


def sweep() -> list[str]:
    """Remove what dead labs of this user have left, their platforms too; return their names."""
    sweep_platforms()
    swept = []
    for name in names():
        directory = LabDirectory(name)
        if not directory.alive():
            with contextlib.suppress(SegmentError):
                directory.acquire()
                directory.release()
                swept.append(name)
    return swept


def running(name: str | None) -> tuple[LabDirectory, State]:
    """Return the lab of a name that runs, or the only one. Raises PlatformError."""
    sweep()
    found = [one for one in names() if LabDirectory(one).alive()]
    if name is None and len(found) != 1:
        several = f"several labs run: choose one of {', '.join(found)} with --name"
        raise PlatformError(several if found else "no lab is running: 'vre lab up FILE' starts one")
    directory = LabDirectory(found[0] if name is None else name)
    if directory.name not in found:
        raise PlatformError(f"no lab named '{directory.name}' is running")
    state = directory.state()
    if state is None:
        raise PlatformError(f"lab '{directory.name}' is still starting: try again")
    return directory, state


def log_of(directory: LabDirectory) -> Path:
    """Return the file that has what the hosts' commands print."""
    return directory.path / LOG
