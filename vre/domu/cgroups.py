# SPDX-License-Identifier: MIT
"""Control groups of a platform's domUs, in either version of the interface, as a probe finds them on this host.

Each domU's group is a sibling of the host's groups and processes, not in a group of the platform's: that would have
a weight of its own, which a single domU in it would get.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

#: Folder of each controller in version 1; version 2 has one tree.
_V1, _V2 = Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup")
#: Controller to its file in version 1 and in version 2, each with the scale of its value.
_FILES = {
    "cpu": (("cpu.shares", 1.0), ("cpu.weight", 100 / 1024)),
    "memory": (("memory.limit_in_bytes", 1.0), ("memory.max", 1.0)),
    "pids": (("pids.max", 1.0), ("pids.max", 1.0)),
}


class Groups:
    """A group for each domU, in every controller that this user may use.

    Parameters
    ----------
    name : str
        The platform's name: part of its groups' names.
    note : Path
        File in the run directory that lists the groups, so that a sweep removes them.
    """

    def __init__(self, name: str, note: Path) -> None:
        self._note = note
        #: Controller to the platform's name there, the file that a value goes to, and its scale.
        self._found: dict[str, tuple[Path, str, float]] = {}
        for controller, (first, second) in _FILES.items():
            for root, (file, scale) in ((_V1 / controller, first), (_V2, second)):
                folder = root / f"vre.{os.geteuid()}.{name}"
                if controller not in self._found and self._try(folder, controller, file):
                    self._found[controller] = folder, file, scale

    @property
    def controllers(self) -> tuple[str, ...]:
        """The available controllers of `cpu`, `memory`, `pids`."""
        return tuple(self._found)

    def _try(self, folder: Path, controller: str, file: str) -> bool:
        # Record before creating, so that a crash here leaves no unrecorded cgroup.
        self._remember(folder)
        with contextlib.suppress(OSError):
            with contextlib.suppress(OSError):
                (folder.parent / "cgroup.subtree_control").write_text(f"+{controller}")
            folder.mkdir(exist_ok=True)
            there = (folder / file).exists()
            folder.rmdir()
            return there
        return False

    def group(self, controller: str, router: str) -> Path:
        """Return the folder of a domU's group. No router's or platform's name has a colon."""
        folder = self._found[controller][0]
        return folder.with_name(f"{folder.name}:{router}")

    def _remember(self, folder: Path) -> None:
        """Record a group; those inside it come first."""
        known = self._note.read_text() if self._note.exists() else ""
        if str(folder) not in known.split("\n"):
            self._note.write_text(f"{folder}\n{known}")

    def put(self, router: str, pid: int, values: dict[str, float]) -> set[str]:
        """Put the domU of a router into its group of each controller that `values` has one for.

        Returns
        -------
        set of str
            The controllers whose groups it is in, with the value that was set, as read back.
        """
        done = set()
        for controller, value in values.items():
            if controller not in self._found:
                continue
            _, file, scale = self._found[controller]
            group, wanted = self.group(controller, router), str(max(1, round(value * scale)))
            self._remember(group)
            with contextlib.suppress(OSError):
                group.mkdir(exist_ok=True)
                (group / file).write_text(wanted)
                (group / "cgroup.procs").write_text(str(pid))
                members = (group / "cgroup.procs").read_text().split()
                if (group / file).read_text().strip() == wanted and str(pid) in members:
                    done.add(controller)
        return done

    def close(self) -> None:
        """Remove the groups, which must be empty."""
        if self._note.exists():
            for line in dict.fromkeys(self._note.read_text().split("\n")):
                with contextlib.suppress(OSError):
                    Path(line).rmdir()
            self._note.unlink(missing_ok=True)
