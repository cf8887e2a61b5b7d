# SPDX-License-Identifier: MIT
"""What part of a processor a domU may have, where others want it too: by the best means that this host gives.

| means | who may | holds against many processes |
| --- | --- | --- |
| `cgroup` | root, or whom the host has delegated one to | yes |
| `autogroup` | anybody, where the kernel groups sessions | yes |
| `nice` | anybody | no: each process of the domU counts |

Found by doing: a group is made and removed again, a nice value is written and read back.
"""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path

#: Weight of a process that nothing has been said about.
NORMAL = 1024
_V1, _V2 = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")


def _file(folder: Path) -> tuple[str, float]:
    """Return the file for a group's weight, and how much of it is NORMAL's 1."""
    return ("cpu.shares", 1.0) if folder.is_relative_to(_V1) else ("cpu.weight", 100 / NORMAL)


class Shares:
    """Weights of one platform's domUs.

    Parameters
    ----------
    name : str
        Of the platform: part of its groups' names.
    note : Path
        File in the run directory that lists the groups, so that whoever sweeps removes them.
    """

    def __init__(self, name: str, note: Path) -> None:
        self._folder: Path | None = None
        self._note = note
        for root in (_V1, _V2):
            folder = root / f"vre.{os.geteuid()}.{name}"
            if self._try(folder):
                self._folder = folder
                break
        self.means = "cgroup" if self._folder else "autogroup" if autogroups() else "nice"

    def _try(self, folder: Path) -> bool:
        # Noted first: whoever is killed now leaves nothing that is not known of.
        self._note.write_text(f"{folder}\n")
        with contextlib.suppress(OSError):
            folder.mkdir(exist_ok=True)
            if (folder / _file(folder)[0]).exists():
                return True
            folder.rmdir()
        self._note.unlink()
        return False

    def give(self, router: str, pid: int, weight: float) -> None:
        """Give the domU of a router, process `pid`, a weight against :data:`NORMAL`."""
        weight = max(2.0, min(weight, 10 * NORMAL))
        with contextlib.suppress(OSError):
            if self._folder:
                group = self._folder / router
                self._note.write_text(f"{group}\n{self._note.read_text()}")
                group.mkdir(exist_ok=True)
                file, scale = _file(group)
                (group / file).write_text(str(max(1, round(weight * scale))))
                (group / "cgroup.procs").write_text(str(pid))
                return
            nice = max(-20, min(19, round(math.log(NORMAL / weight, 1.25))))
            if self.means == "autogroup":
                Path(f"/proc/{pid}/autogroup").write_text(str(nice))
            else:
                os.setpriority(os.PRIO_PROCESS, pid, max(0, nice))

    def close(self) -> None:
        """Remove the groups: nobody is in them any more."""
        if self._note.exists():
            for line in dict.fromkeys(self._note.read_text().split("\n")):
                with contextlib.suppress(OSError):
                    Path(line).rmdir()
            self._note.unlink(missing_ok=True)


def autogroups() -> bool:
    """Return whether the kernel shares processors out by session."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/sched_autogroup_enabled").read_text().strip() == "1"
    return False


def weight_of(entitled: float) -> float:
    """Return the weight of a domU whose router is entitled to that part: a worker beside it works for all routers."""
    return NORMAL * entitled
