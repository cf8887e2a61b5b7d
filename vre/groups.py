# SPDX-License-Identifier: MIT
"""Control groups of a platform's domUs, of either version of the interface: what the host gives is found by doing."""

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
        #: Controller to the platform's folder there, the file that a value goes to, and its scale.
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
        self._remember(folder / "try")
        with contextlib.suppress(OSError):
            folder.mkdir(exist_ok=True)
            for level in (folder.parent, folder):
                with contextlib.suppress(OSError):
                    (level / "cgroup.subtree_control").write_text(f"+{controller}")
            (folder / "try").mkdir()
            there = (folder / "try" / file).exists()
            (folder / "try").rmdir()
            if there:
                return True
        with contextlib.suppress(OSError):
            folder.rmdir()
        return False

    def _remember(self, folder: Path) -> None:
        """List a group; those inside it come first."""
        known = self._note.read_text() if self._note.exists() else ""
        if str(folder) not in known.split("\n"):
            self._note.write_text(f"{folder}\n{known}")

    def put(self, router: str, pid: int, values: dict[str, float]) -> None:
        """Put the domU of a router into its group of each controller that `values` has one for."""
        for controller, value in values.items():
            if controller not in self._found:
                continue
            folder, file, scale = self._found[controller]
            group = folder / router
            self._remember(group)
            with contextlib.suppress(OSError):
                group.mkdir(exist_ok=True)
                (group / file).write_text(str(max(1, round(value * scale))))
                (group / "cgroup.procs").write_text(str(pid))

    def close(self) -> None:
        """Remove the groups: nobody is in them any more."""
        if self._note.exists():
            for line in dict.fromkeys(self._note.read_text().split("\n")):
                with contextlib.suppress(OSError):
                    Path(line).rmdir()
            self._note.unlink(missing_ok=True)
