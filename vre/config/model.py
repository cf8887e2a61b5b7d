# SPDX-License-Identifier: MIT
"""A platform as checked data: the same from a TOML file and from Python."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from vre.config.impairment import Impairment
from vre.language.bridge import bridge
from vre.language.graph import Graph

#: The simple Internet mix: frame size, check sequence included, and share of the packets (7:4:1).
IMIX = ((64, 7), (576, 4), (1518, 1))
#: The sizes that benchmarks of network devices go through (RFC 2544, section 9.1), check sequence included.
FRAME_SIZES = (64, 128, 256, 512, 1024, 1280, 1518)
#: A finite amount of RX buffering at each port and router, and of TX buffering at each port and core.
RING_SLOTS = 512


@dataclass(frozen=True)
class Generator:
    """A link whose far end makes UDP packets.

    Parameters
    ----------
    rate : float, optional
        Packets a second, all routers of the port together; None: as fast as the rings take them.
    size : int or "imix"
        Frame size in bytes, from 64 to 2052, frame check sequence included (RFC 2544): an Ethernet frame of 1518
        carries an IP packet of 1500.
    flows : int
        Different (source address, source port) pairs, at most 2**18.
    burst : int
        Packets sent back to back.
    ttl : int
        Time to live of each packet.
    count : int, optional
        Packets in all, None without end.
    destinations : tuple of str
        Destination addresses or prefixes, in turn; addresses of RFC 2544's test network by default.
    seed : int
        Seed of all random choices.
    rates : dict of str to float, optional
        Packets a second of single routers, in place of an equal share of `rate`.
    """

    rate: float | None = None
    size: int | str = 64
    flows: int = 64
    burst: int = 1
    ttl: int = 64
    count: int | None = None
    destinations: tuple[str, ...] = ()
    seed: int = 1
    rates: dict[str, float] | None = None


@dataclass(frozen=True)
class Replay:
    """A link whose far end replays a capture file.

    Parameters
    ----------
    pcap : str
        A pcap or pcapng file of Ethernet frames.
    rate : float or "recorded", optional
        Packets a second, or the file's own times; None: as fast as the rings take them.
    loop : bool
        Begin again at the end.
    """

    pcap: str
    rate: float | str | None = None
    loop: bool = False


@dataclass(frozen=True)
class Capture:
    """A link whose far end writes what the port sends to a pcapng file.

    A non-empty file is overwritten only with `overwrite`.
    """

    capture: str
    overwrite: bool = False


@dataclass(frozen=True)
class Cable:
    """A link to another port of the platform: each receives what the other sends."""

    to: str


@dataclass(frozen=True)
class Sink:
    """A link whose far end only counts."""


@dataclass(frozen=True)
class Veth:
    """A link into a network namespace: a pair of interfaces is made, and goes with the platform.

    Parameters
    ----------
    netns : str
        Name of the namespace, as of `ip netns`, or a path to one.
    name : str, optional
        Of the interface there [the port's name].
    mtu : int
        Bytes of the largest packet, Ethernet header not included.
    send : {"auto", "xdp", "messages"}
        How frames are sent: by an AF_XDP socket, by sendmmsg, or by what there is.
    offload : bool
        Exchange super-frames with the hosts there: TCP is faster by several times, other traffic slower. They are cut
        where they come in, and merged where they leave; `send` has no effect.
    """

    netns: str
    name: str | None = None
    mtu: int = 1500
    send: str = "auto"
    offload: bool = False


@dataclass(frozen=True)
class Interface:
    """A link that is an interface which is there already.

    Parameters
    ----------
    interface : str
    netns : str, optional
        The namespace that it is in [the platform's].
    force : bool
        Take it although the host's default route leads through it.
    send : {"auto", "xdp", "messages"}
        As of :class:`Veth`.
    offload : bool
        As of :class:`Veth`; the interface has its offloads as they are set.
    """

    interface: str
    netns: str | None = None
    force: bool = False
    send: str = "auto"
    offload: bool = False


@dataclass(frozen=True)
class Tap:
    """A link that is a TAP device, which is made, or taken if it is there and free; it goes with the platform.

    Parameters
    ----------
    tap : str
    netns : str, optional
        The namespace that it is in [the platform's].
    mtu : int
        Bytes of the largest packet, Ethernet header not included.
    """

    tap: str
    netns: str | None = None
    mtu: int = 1500


@dataclass(frozen=True)
class ControlLink:
    """A link into the namespace of a router's control plane: a TAP there has the name of the router's port `port`."""

    router: str
    port: str


@dataclass(frozen=True)
class Xdp:
    """A link that is an existing interface, whose frames an XDP program takes before the system's own stack.

    Parameters
    ----------
    xdp : str
        The interface; it has one RX queue, or the others are the stack's.
    netns : str, optional
        The namespace that it is in [the platform's].
    mode : {"auto", "skb", "native"}
        How the program is run: by any driver, or by one that can.
    force : bool
        Take it although the host's default route leads through it.
    """

    xdp: str
    netns: str | None = None
    mode: str = "auto"
    force: bool = False


@dataclass(frozen=True)
class Vxlan:
    """A link over an IP network to a platform on another machine (RFC 7348); the device goes with the platform.

    Parameters
    ----------
    remote : str
        Address of the other machine.
    vni : int
        Number of the network, the same at both ends.
    port : int
        UDP port.
    netns : str, optional
        The namespace whose network carries it [the platform's].
    mtu : int
        Bytes of the largest packet, Ethernet header not included.
    """

    remote: str
    vni: int
    port: int = 4789
    netns: str | None = None
    mtu: int = 1450


#: Links that lead out of the platform: what is at the far end is an interface of the operating system.
World = Veth | Interface | Tap | Xdp | Vxlan
Link = Generator | Replay | Capture | Cable | Sink | ControlLink | World


class PortClassifier(str):
    """What the classifier of port `nic` is called among routers: in parentheses, as no router is."""

    nic: str

    def __new__(cls, nic: str) -> Self:
        """Return the name."""
        made = super().__new__(cls, f"({nic})")
        made.nic = nic
        return made

    def __getnewargs__(self) -> tuple[str]:
        return (self.nic,)


@dataclass
class Nic:
    """A port of the platform.

    `links` may hold one that sends to the port (generator or replay) and one that takes from it, or one that leads out
    of the platform and does both; a capture may be beside that. `queues` is
    "multi" (one RX queue for each router, VMDq) or "single" (one for all, demultiplexed in software); `speed` in bits a
    second, None for no limit. `impaired` has what is done to frames on their way "out" of the port and "in".
    """

    name: str
    links: tuple[Link, ...] = ()
    slots: int = RING_SLOTS
    queues: str = "multi"
    speed: float | None = None
    impaired: dict[str, Impairment] = field(default_factory=dict)

    @property
    def directions(self) -> tuple[str, ...]:
        """The directions in which its links carry frames: a port without links sends what is only counted."""
        found = {"in" if isinstance(link, Generator | Replay) else "out" for link in self.links}
        return tuple(sorted(found, reverse=True)) or ("out",)

    @property
    def world(self) -> World | None:
        """Its link out of the platform, if it has one."""
        return next((link for link in self.links if isinstance(link, World)), None)

    @property
    def classifier(self) -> PortClassifier | None:
        """What sorts its frames, if one queue is for all routers."""
        return PortClassifier(self.name) if self.queues == "single" else None


@dataclass(frozen=True)
class Domu:
    """The limits of a router's domU.

    `memory` is in bytes, besides its interpreter's; it may take `deadline_ns` to return the next packet, and `start_s`
    seconds to load its elements. It runs on the processor of emulated core `core`, if one is given.
    """

    memory: int = 256 << 20
    deadline_ns: int = 50_000_000
    start_s: float = 20.0
    core: int | None = None


@dataclass(frozen=True)
class Control:
    """A router's control plane.

    Attributes
    ----------
    kind : str
        "bird", "frr", "static": no daemon, `routes` only; or "program".
    config : str or None
        The daemon's configuration, or the program; None: OSPF on all ports.
    config_file : str
        Where that came from.
    routes : tuple of str
        Routes from the platform file, as in "20.0.0.0/8 via 10.0.0.2".
    most_routes : int
        Most routes that it may have.
    punt_rate : int
        Most packets a second that are for the router itself, all ports together.
    hold_s : float
        For so long after a daemon is back its routes stay that it has not announced again.
    """

    kind: str
    config: str | None = None
    config_file: str = ""
    routes: tuple[str, ...] = ()
    most_routes: int = 5_000
    punt_rate: int = 10_000
    hold_s: float = 30.0


@dataclass
class RouterPort:
    """A router's claim at a port: it gets the frames for its MAC, on its VLAN; mac None takes the rest.

    If mac is -1, it is assigned one, `automatic`ally, when all routers are known. `addresses` are the router's own
    there, with their networks' lengths, where it has a control plane.
    """

    nic: str
    mac: int | None
    vlan: int = -1
    automatic: bool = False
    addresses: tuple[str, ...] = ()


@dataclass
class Router:
    """A virtual router: its entitlement, its graph and its ports.

    `cores` are those it may run on, None for any; `pins` and `tickets` are by task number, from the
    configuration's StaticThreadSched and ScheduleInfo; `cost` is declared, in cycles a packet. A turn of its paths that
    takes longer than `deadline_ns` is ended by the watchdog. If the whole graph runs in its domU, it is
    `hosted_graph`, and `graph` is the bridge to it; with `direct` the bridge is run by the NIC and uses no core time.
    `names` are its own names of ports, as its configurations have them, to the platform's. `control` is its control
    plane, if it has one.
    """

    name: str
    entitlement: float
    graph: Graph
    ports: dict[str, RouterPort] = field(default_factory=dict)
    cores: tuple[int, ...] | None = None
    cost: float | None = None
    domu: Domu = Domu()
    deadline_ns: int = 50_000_000
    hosted_graph: Graph | None = None
    direct: bool = False
    names: dict[str, str] = field(default_factory=dict)
    control: Control | None = None

    def own_name(self, nic: str) -> str:
        """Return what the router itself calls a port of the platform."""
        return next((name for name, port in self.names.items() if port == nic), nic)

    def host_in_domu(self, direct: bool) -> None:
        """Let its graph run in its domU."""
        self.hosted_graph, self.graph, self.direct = self.graph, bridge(self.graph), direct

    @property
    def pins(self) -> dict[int, int]:
        """Tasks that a StaticThreadSched has put on a core."""
        return self.graph.scheduling("StaticThreadSched")

    @property
    def tickets(self) -> dict[int, int]:
        """Tasks that a ScheduleInfo has given tickets."""
        return self.graph.scheduling("ScheduleInfo")


@dataclass
class Model:
    """A whole platform, checked.

    `discipline` is one of :data:`workers.core.stride.DISCIPLINES`; "measured" times one packet in `sample`; `turn_ns`
    is how long a task may hold its core; `memory` is in cache lines a second, None if it is no bottleneck, and
    `memory_shares` divides them between cores if it is; `sandbox` is one of :data:`workers.sandbox.jail.TIERS`; `wire`
    says whether cores share its processor, see :func:`vre.supervision.cpus.fit`; `seed` is of all random choices of
    its links.
    """

    name: str = "default"
    cores: int = 1
    clock: str = "auto"
    idle: str = "auto"
    quantum: int = 128
    nics: dict[str, Nic] = field(default_factory=dict)
    routers: dict[str, Router] = field(default_factory=dict)
    machine: str = "host"
    discipline: str = "exact"
    sample: int = 20
    turn_ns: int = 100_000
    memory: float | None = None
    memory_shares: bool = True
    wire: str = "apart"
    rebalance: bool = True
    sandbox: str = "strict"
    seed: int = 1

    @property
    def has_domus(self) -> bool:
        """Whether any router has a domU."""
        return any(node.cls.driver == "domu" for router in self.routers.values() for node in router.graph.nodes)

    @property
    def places(self) -> int:
        """Cores, and one more if routers are mapped directly: the NIC's internal core, charged to no router."""
        return self.cores + any(router.direct for router in self.routers.values())
