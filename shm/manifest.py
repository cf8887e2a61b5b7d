# SPDX-License-Identifier: MIT
"""The manifest: where everything of a platform is in memory, for every process that maps it.

The platform writes it into its run directory (:mod:`vre.platform.publication`), anew at each change; the zygote,
`vre top` and :mod:`shm.inspect` read it. A graph in a domU has one of its own, behind its memory.

What is called an address here is one in the platform's window, the same in every process; 0 stands for none. Kinds of
records are those of :mod:`shm.layout` and :mod:`shm.wire_layout`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Self, TypeVar

from shm.codec import CodecError, from_plain, to_json

#: Of the manifest's fields; a process reads only what one of the same version has written.
VERSION = 1

M = TypeVar("M", bound="MemoryMap")


class VersionError(CodecError):
    """A manifest of another version."""


@dataclass(frozen=True)
class SegmentEntry:
    """A named piece of shared memory; `size` in bytes, a multiple of a page."""

    name: str
    kind: str
    size: int
    base: int


@dataclass(frozen=True)
class CoreEntry:
    """An emulated core.

    Attributes
    ----------
    address : int
        Of its CORE record.
    tx : tuple of int
        Addresses of the TX rings that it fills, one for each port.
    journal : int
        Address of its JOURNAL record.
    nic : bool
        It is the NIC's own, which runs paths of routers that are mapped directly, in the wire's process.
    """

    address: int
    tx: tuple[int, ...]
    journal: int
    nic: bool


@dataclass(frozen=True)
class Wiring:
    """A graph as far as code is made from it; see :class:`workers.graph.shape.Shape`.

    Attributes
    ----------
    classes : tuple of str
        Element classes, by element number.
    edges : tuple of (int, int, int, int)
        From element, its output, to element, its input.
    tasks : tuple of (str, int)
        Driver kind (`rx`, `source`, `pull`, `domu`) and the element that drives.
    """

    classes: tuple[str, ...]
    edges: tuple[tuple[int, int, int, int], ...]
    tasks: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class ElementEntry:
    """An element: its name and `config` as they are written, its class, the address of its state, its rings by name."""

    name: str
    class_name: str
    config: str
    state: int
    rings: dict[str, int]


@dataclass(frozen=True)
class TaskEntry:
    """A task: what is scheduled of a router.

    Attributes
    ----------
    address : int
        Of its TASK record.
    number : int
        Its index in the router's wiring.
    name : str
        Of its path, unique in the router.
    kind : str
        Its driver kind, see :class:`Wiring`.
    core : int
        The number of the core that it is on.
    inputs, outputs : tuple of int
        Addresses of the rings whose consumer, and of those whose producer, it is; ports' TX rings aside.
    channels : tuple of int
        Addresses of the CHANNEL records through which it sends or receives.
    """

    address: int
    number: int
    name: str
    kind: str
    core: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    channels: tuple[int, ...]


@dataclass(frozen=True)
class ClaimEntry:
    """The frames that a router claims at a port: a MAC (None: what no other does) and a VLAN (-1: untagged)."""

    mac: int | None
    vlan: int


@dataclass(frozen=True)
class RouterEntry:
    """A router.

    Attributes
    ----------
    name : str
    index : int
        What tags, claims and journals know it by: the lowest that was free.
    entitlement : float
        Its share is this over the sum of all.
    direct : bool
        It is mapped directly: its paths run on the NIC's own core.
    block : int
        Address of the states of its elements.
    shape : Wiring
    elements : tuple of ElementEntry
        By element number.
    rx : dict of str to int
        Port to address of its RX ring there, of the ports that it receives from.
    claims : dict of str to ClaimEntry
        Of the same ports.
    rings : tuple of int
        Addresses of the rings inside it.
    channels : tuple of int
        Addresses of its CHANNEL records.
    tasks : tuple of TaskEntry
        By number.
    clients : tuple of int
        Addresses of its CLIENT records, of the cores that it is or was on.
    tallies : dict of str to int
        Port to address of its TALLY record there.
    carried : dict of str to int
        Reason to packets that earlier configurations dropped and no element of this one counts.
    carried_made, carried_packets : int
        Packets that elements of earlier configurations made, and that their tasks took.
    """

    name: str
    index: int
    entitlement: float
    direct: bool
    block: int
    shape: Wiring
    elements: tuple[ElementEntry, ...]
    rx: dict[str, int]
    claims: dict[str, ClaimEntry]
    rings: tuple[int, ...]
    channels: tuple[int, ...]
    tasks: tuple[TaskEntry, ...]
    clients: tuple[int, ...]
    tallies: dict[str, int]
    carried: dict[str, int]
    carried_made: int
    carried_packets: int


@dataclass(frozen=True)
class ClassifierEntry:
    """The classifier of a port with a single queue.

    Attributes
    ----------
    name : str
        What it is called among paths.
    nic : str
        The port.
    core : int
        The number of the core that it is on.
    task, client, state : int
        Addresses of its TASK, CLIENT and CLASSIFIER records.
    ring : int
        Address of the port's RX ring.
    outputs : tuple of int
        Addresses of the routers' RX rings.
    """

    name: str
    nic: str
    core: int
    task: int
    client: int
    state: int
    ring: int
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class TxEntry:
    """The TX ring of a port that a core, by its number, fills."""

    nic: str
    core: int
    ring: int


@dataclass(frozen=True)
class SourceEntry:
    """A stream of packets that the wire sends into a port.

    Attributes
    ----------
    address : int
        Of its SOURCE record.
    router : str or None
        Whose they are; None if no router claims them.
    nic : str
        The port.
    finite : bool
        It ends.
    strangers : tuple of (int, int)
        Destination MAC and number of frames that no router claims, the most frequent first.
    """

    address: int
    router: str | None
    nic: str
    finite: bool
    strangers: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class CaptureEntry:
    """A capture of what a port sends: address of its CAPTURE record, file, whether one that is there is replaced."""

    nic: str
    address: int
    path: str
    overwrite: bool


@dataclass(frozen=True)
class ImpairmentEntry:
    """A link that is impaired: its port, `out` of it or `in`, and the address of its IMPAIRMENT record.

    `tally` is the address of the TALLY of what its device has taken and has not, 0 if no device is at its far end.
    """

    nic: str
    direction: str
    address: int
    tally: int


@dataclass(frozen=True)
class MappingEntry:
    """What the wire maps of a descriptor that it inherits: `size` bytes from `offset` on, at an address."""

    address: int
    size: int
    descriptor: int
    offset: int


@dataclass(frozen=True)
class DeviceEntry:
    """An interface of the operating system at the far end of a port.

    Attributes
    ----------
    nic : str
        The port.
    address : int
        Of its DEVICE record.
    kind, name : str
        What the link is called in a platform file, and the interface that the user knows.
    mappings : tuple of MappingEntry
    """

    nic: str
    address: int
    kind: str
    name: str
    mappings: tuple[MappingEntry, ...]


@dataclass(frozen=True)
class WireEntry:
    """The wire.

    Attributes
    ----------
    address, controller, journal : int
        Addresses of its WIRE, CONTROLLER and JOURNAL records.
    sources : tuple of SourceEntry
    devices : tuple of DeviceEntry
    far : dict of str to str
        Port to port at the other end of its cable.
    captures : tuple of CaptureEntry
        By number.
    impaired : tuple of ImpairmentEntry
    """

    address: int
    controller: int
    journal: int
    sources: tuple[SourceEntry, ...]
    devices: tuple[DeviceEntry, ...]
    far: dict[str, str]
    captures: tuple[CaptureEntry, ...]
    impaired: tuple[ImpairmentEntry, ...] = ()


@dataclass(frozen=True)
class TapEntry:
    """A port of a router's control plane.

    Attributes
    ----------
    name : str
        Of the TAP in the namespace.
    up, down : int
        Addresses of the rings to it, and from it to the router.
    """

    name: str
    up: int
    down: int


@dataclass(frozen=True)
class ControlEntry:
    """A router's control plane.

    Attributes
    ----------
    router : str
    namespace : int
        The descriptor of its network namespace, in the platform's own process.
    feed, pump : int
        Addresses of its FEED and PUMP records.
    taps : tuple of TapEntry
    """

    router: str
    namespace: int
    feed: int
    pump: int
    taps: tuple[TapEntry, ...]


@dataclass(frozen=True)
class CoreSettings:
    """How cores work, all alike.

    Attributes
    ----------
    discipline : str
        One of :data:`workers.core.stride.DISCIPLINES`.
    turn_ns : int
        How long a task may hold its core, in ns.
    sample : int
        Of how many packets the discipline "measured" times one.
    memory : float or None
        Cache lines a second that the host's memory gives; None if it is not what is short.
    dilated : bool
        Time is dilated: cores share processors, and each has its own clock.
    poll : bool
        Idle cores poll; they sleep if not.
    """

    discipline: str
    turn_ns: int
    sample: int
    memory: float | None
    dilated: bool
    poll: bool


@dataclass(frozen=True, kw_only=True)
class MemoryMap:
    """What a platform and a graph in a domU have in common.

    Attributes
    ----------
    name : str
        Of the platform, or of the graph's router.
    settings : CoreSettings
    segments : tuple of SegmentEntry
    cores : tuple of CoreEntry
        By number; the NIC's own, if there is one, is the last.
    routers : tuple of RouterEntry
    classifiers : tuple of ClassifierEntry
    tx : tuple of TxEntry
    version : int
    """

    name: str
    settings: CoreSettings
    segments: tuple[SegmentEntry, ...]
    cores: tuple[CoreEntry, ...]
    routers: tuple[RouterEntry, ...]
    classifiers: tuple[ClassifierEntry, ...]
    tx: tuple[TxEntry, ...]
    version: int = VERSION

    def to_json(self) -> str:
        """Return it as :meth:`from_json` reads it."""
        return to_json(self)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Return what has been written. Raises VersionError, and ValueError if it is no manifest."""
        plain = json.loads(text)
        version = plain.get("version") if isinstance(plain, dict) else None
        if version != VERSION:
            raise VersionError(f"its manifest has version {version}, this is {VERSION}")
        return from_plain(cls, plain)


@dataclass(frozen=True, kw_only=True)
class GraphManifest(MemoryMap):
    """A graph that runs in its router's domU, on a core of its own.

    Attributes
    ----------
    inputs, outputs : tuple of int
        Addresses of its RX and TX rings, in the order of the channel's ports.
    rings : tuple of int
        Addresses of all its rings.
    channels : tuple of int
        Addresses of the CHANNEL records to elements of the router's own in it.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    rings: tuple[int, ...]
    channels: tuple[int, ...]


@dataclass(frozen=True)
class HostedEntry:
    """The graph that a router, by its name, has in its domU."""

    name: str
    shape: Wiring


@dataclass(frozen=True, kw_only=True)
class Manifest(MemoryMap):
    """A platform.

    Attributes
    ----------
    wire : WireEntry
    pid : int
        The platform's own process.
    hosted : tuple of HostedEntry
    upcoming : tuple of RouterEntry
        Routers as they are going to be: configurations to get ready for.
    ns_per_tick : float
        How long a tick of the cores' clocks takes, in ns; 0 until it is measured.
    controls : tuple of ControlEntry
        By number.
    """

    wire: WireEntry
    pid: int
    hosted: tuple[HostedEntry, ...] = ()
    upcoming: tuple[RouterEntry, ...] = ()
    ns_per_tick: float = 0.0
    controls: tuple[ControlEntry, ...] = ()

    def with_upcoming(self) -> Manifest:
        """Return it with the upcoming routers among the routers."""
        return replace(self, routers=self.routers + self.upcoming)


@dataclass
class CurrentManifest:
    """The manifest of a running platform as it is `now`: what watches and reads it holds on to this."""

    now: Manifest
