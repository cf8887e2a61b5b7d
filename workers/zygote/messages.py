# SPDX-License-Identifier: MIT
"""What a platform and the zygote of its workers tell each other: a line of JSON each, over a socket pair.

| from the platform | answer |
| --- | --- |
| :class:`Start`, :class:`Change` | :class:`Progress`s; :class:`Calibrated`; :class:`Ready` or :class:`Failed` |
| :class:`Fork` | :class:`Forked` or :class:`Unforked` |
"""

from __future__ import annotations

from dataclasses import dataclass

from shm.codec import Messages


@dataclass(frozen=True)
class Start:
    """Get ready for a platform.

    Attributes
    ----------
    manifest : str
        Path of its manifest.
    cpu : int or None
        The processor that the zygote runs on once it is ready; None if it does not matter.
    again : bool
        The platform runs already, and its clocks are calibrated: another zygote has ended.
    """

    manifest: str
    cpu: int | None
    again: bool = False


@dataclass(frozen=True)
class Change:
    """Get ready for another manifest, at this path; go on serving meanwhile."""

    manifest: str


@dataclass(frozen=True)
class Fork:
    """Fork a process.

    Attributes
    ----------
    kind : str
        "core": a worker, "wire": the wire, "capture": a capture's writer, "control": what serves a control plane.
    place : int
        The number of the core, the capture or the control plane; 0 for the wire.
    cpu : int or None
        The processor that it runs on; None if it does not matter.
    number : int
        The how manyth worker or wire there it is, from 1; 0 for a writer.
    gently : bool
        Others are at work on that processor.
    """

    kind: str
    place: int
    cpu: int | None
    number: int = 0
    gently: bool = False


@dataclass(frozen=True)
class Progress:
    """What the zygote is doing."""

    text: str


@dataclass(frozen=True)
class Calibrated:
    """How long a tick of the cores' clocks takes, in ns."""

    ns_per_tick: float


@dataclass(frozen=True)
class Ready:
    """It knows the manifest; `again` as it was told to start."""

    again: bool = False


@dataclass(frozen=True)
class Failed:
    """It does not get ready, and why."""

    why: str


@dataclass(frozen=True)
class Forked:
    """The process that was asked for is there. It is the platform's child, and outlives the zygote."""

    pid: int
    asked: Fork


@dataclass(frozen=True)
class Unforked:
    """The system has no room for the process that was asked for."""

    why: str
    asked: Fork


ToZygote = Start | Change | Fork
FromZygote = Progress | Calibrated | Ready | Failed | Forked | Unforked
TO_ZYGOTE: Messages[ToZygote] = Messages(Start, Change, Fork)
FROM_ZYGOTE: Messages[FromZygote] = Messages(Progress, Calibrated, Ready, Failed, Forked, Unforked)
