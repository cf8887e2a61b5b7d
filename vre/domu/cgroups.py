# SPDX-License-Identifier: MIT
"""Control groups of a platform's domUs, of either version of the interface: what the host gives is found by doing.

Each domU's group stands beside the groups and processes of the host, and not in one of the platform's: that would have
a weight of its own, which one domU alone in it would get.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

#: Folder of each controller where the interface is version 1; in version 2 there is one tree.
_V1, _V2 = Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup")
#: Controller to its file in version 1 and in version 2, and what part of a value is written there.
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
        Of the platform: part of its groups' names.
    note : Path
        File in the run directory that lists the groups, so that whoever sweeps removes them.
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
        """What there is: of `cpu`, `memory`, `pids`."""
        return tuple(self._found)

    def _try(self, folder: Path, controller: str, file: str) -> bool:
        # Noted first: whoever is killed now leaves nothing that is not known of.
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
        """List a group; those inside it come first."""
        known = self._note.read_text() if self._note.exists() else ""
        if str(folder) not in known.split("\n"):
            self._note.write_text(f"{folder}\n{known}")

    def put(self, router: str, pid: int, values: dict[str, float]) -> set[str]:
        """Put the domU of a router into its group of each controller that `values` has one for.

        Returns
        -------
        set of str
            The controllers whose groups it is in, with the value that it should have: read again, not hoped for.
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
        """Remove the groups: nobody is in them any more."""
        if self._note.exists():
            for line in dict.fromkeys(self._note.read_text().split("\n")):
                with contextlib.suppress(OSError):
                    Path(line).rmdir()
            self._note.unlink(missing_ok=True)
