# SPDX-License-Identifier: MIT
"""What a platform and the zygote of domUs tell each other: a packet of JSON each, over a SEQPACKET socket.

| from the platform | answer |
| --- | --- |
| | :class:`Ready`, at its start |
| :class:`workers.domu.spec.DomuSpec` | :class:`Forked` or :class:`Unforked` |
| | :class:`Exited` whenever a monitor ends, as its domU did |

With a domU come its descriptors: control, log, two for each channel, and the memory of its graph if it has one.
"""

from __future__ import annotations

from dataclasses import dataclass

from shm.codec import Messages
from workers.domu.spec import DomuSpec


@dataclass(frozen=True)
class Ready:
    """It is ready; whether system calls can be filtered, and whose namespaces it takes: "own" or "bubblewrap"."""

    filter: bool
    namespaces: str


@dataclass(frozen=True)
class Forked:
    """The domU of this name is there: its process, and its monitor's."""

    domu: str
    pid: int
    monitor: int


@dataclass(frozen=True)
class Unforked:
    """The domU of this name is not there, and why; its monitor's process, 0 if there is none."""

    domu: str
    why: str
    monitor: int = 0


@dataclass(frozen=True)
class Exited:
    """A monitor, by its process, has ended; `status` as :func:`os.waitstatus_to_exitcode` has it."""

    monitor: int
    status: int


FromZygote = Ready | Forked | Unforked | Exited
TO_ZYGOTE: Messages[DomuSpec] = Messages(DomuSpec)
FROM_ZYGOTE: Messages[FromZygote] = Messages(Ready, Forked, Unforked, Exited)
