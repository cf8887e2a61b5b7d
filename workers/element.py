# SPDX-License-Identifier: MIT
"""What an element is: one declaration, one `process`.

From the declaration come the check of its arguments, its state and counters in shared memory, its
handlers and its manual page. Elements are classes of functions, never instances: all state is in the
record that `process` is given, so any worker can run any element at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import re
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar

from shm.escape import escape
from shm.layout import APART, Layout
from workers.arguments import Argument, bind, split
from workers.ranges import ranges

_FAMILIES = (
    "basic",
    "classify",
    "device",
    "ether",
    "arp",
    "ip",
    "route",
    "ipopt",
    "fragment",
    "memory",
    "icmp",
    "queue",
    "source",
    "schedule",
    "untrusted",
)

#: Why an element that is not the platform's own drops packets, besides what it says itself: see workers.compiler.guard.
FOREIGN_REASONS = ("out_of_fuel", "failed")
#: Why an element with a slow path drops a packet that it cannot handle: see workers.core.outcome.
RAISED = "raised"

#: How long a plug-in may take to import, in seconds.
IMPORT_S = 10.0

#: Class name to class. Filled by :func:`load`.
REGISTRY: dict[str, type[Element]] = {}
#: Entry points that could not be loaded, and why.
BROKEN: dict[str, str] = {}


@dataclass
class SlowPacket:
    """A packet on the slow path: bytes and annotations in Python objects.

    `net` and `mac` are offsets into `data`, None where unset. Of an IP header at least 20 bytes are there; one that has
    been stripped is known no more. `stripped` is what was in front and can be uncovered: it ends where `data` begins.
    """

    data: bytearray
    net: int | None = None
    mac: int | None = None
    dst: int = 0
    paint: int = 0
    type: int = 0
    param_off: int = 0
    fix_src: int = 0
    vlan: int = 0
    device: int = 0
    time: int = 0
    stripped: bytes = b""

    def ip_header(self) -> int:
        """Return the bytes of the IP header at `net`; 0 where none is whole in `data` (RFC 791, section 3.1)."""
        if self.net is None or not 0 <= self.net <= len(self.data) - 20:
            return 0
        size = (self.data[self.net] & 15) * 4
        return size if 20 <= size <= len(self.data) - self.net else 0

    def strip(self, size: int) -> None:
        """Remove `size` bytes at the front (negative: prepend zeros); header annotations move along.

        What points to bytes that are removed is unset.
        """
        if size >= 0:
            self.stripped += bytes(self.data[:size])
            del self.data[:size]
        else:
            self.stripped = self.stripped[:size]
            self.data[:0] = bytes(-size)
        for name in ("net", "mac"):
            place = getattr(self, name)
            if place is not None:
                setattr(self, name, place - size if 0 <= place - size <= len(self.data) else None)

    def copy(self) -> SlowPacket:
        """Return an independent copy."""
        return SlowPacket(bytearray(self.data), **{k: v for k, v in vars(self).items() if k != "data"})


@dataclass(frozen=True)
class Drop:
    """What a slow path yields instead of `(port, packet)` to drop its packet for a reason.

    With `packet`, it goes to the element's bad port where that is connected.
    """

    reason: str
    packet: SlowPacket | None = None


@dataclass
class Needs:
    """Shared memory that an element owns besides its state.

    `areas` maps state fields to bytes, `rings` to slots; the field receives the address.
    """

    areas: dict[str, int] = field(default_factory=dict)
    rings: dict[str, int] = field(default_factory=dict)


def cap(name: str) -> Callable[[Any], str]:
    """Return a read handler that shows a state field."""
    return lambda state: str(int(state[name]))


class Element:
    """Base of all elements. Subclasses are declarations; see `workers/elements`.

    Attributes
    ----------
    ports : str
        Inputs and outputs in Click's notation: `"1/1"`, `"1/1-2"`, `"1/-"`.
    processing : str
        Push, pull or agnostic per port: `"h/l"`, `"a/ah"`; the last code repeats.
    state : dict
        Fields of its state record, see :class:`shm.layout.Layout`.
    reasons : tuple of str
        Why it drops packets, in the order of the codes `DROP - i`; where the class is not the platform's own, those of
        FOREIGN_REASONS follow; where it has a slow path, RAISED.
    driver : str
        `"rx"`, `"source"`, `"pull"` or `"domu"` where a task starts or ends here.
    spreads : bool
        Sends a copy of each packet to every output.
    """

    ports: ClassVar[str] = "1/1"
    processing: ClassVar[str] = "a/a"
    arguments: ClassVar[tuple[Argument, ...]] = ()
    state: ClassVar[dict[str, Any]] = {}
    reasons: ClassVar[tuple[str, ...]] = ()
    read_handlers: ClassVar[dict[str, Callable[[Any], str]]] = {}
    write_handlers: ClassVar[dict[str, Callable[[Any, str], None]]] = {}
    table_reads: ClassVar[tuple[str, ...]] = ()  #: handlers that concern its forwarding table, where it has one
    table_writes: ClassVar[tuple[str, ...]] = ()
    driver: ClassVar[str] = ""
    spreads: ClassVar[bool] = False
    keeps: ClassVar[tuple[str, ...]] = ()  #: state fields and areas that live on when a configuration is replaced
    cycles: ClassVar[int] = 60  #: modelled cost of a packet on the machine of vre.config.machines.DELL2950
    lines: ClassVar[int] = 0  #: modelled cache lines that a packet touches here and nowhere else
    bad_port: ClassVar[int] = 0  #: output that takes dropped packets where it is connected, 0 for none

    # `process(state, packet)`, and `port`, `core`, `now` (the core's clock in ns) or `granted` (its ring has been asked
    # for room) where it names them, returns an output port or one of the codes of workers.datapath.packet. An element
    # without one lives on the slow path.
    process: ClassVar[Callable[..., int] | None] = None
    # `slow(state, packet, port)` yields (port, SlowPacket) pairs and Drops.
    slow: ClassVar[Callable[..., Iterator[Any]] | None] = None
    # `due(state, now)` says whether the slow path has something to do though no packet came, and `visit(state,
    # context)` does a bounded part of it, yielding as `slow` does.
    due: ClassVar[Callable[..., bool] | None] = None
    visit: ClassVar[Callable[..., Iterator[Any]] | None] = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if is_foreign(cls) and not set(FOREIGN_REASONS) <= set(cls.reasons):
            cls.reasons = (*cls.reasons, *FOREIGN_REASONS)
        if cls.slow is not None and RAISED not in cls.reasons:
            cls.reasons = (*cls.reasons, RAISED)

    @classmethod
    def sends(cls) -> bool:
        """Return whether packets leave the router here, by a port."""
        return cls.driver == "pull" and any(argument.name == "DEVNAME" for argument in cls.arguments)

    @classmethod
    def copies(cls) -> bool:
        """Return whether it may send one packet to several outputs."""
        return cls.spreads or (cls.process is not None and "CLONE" in cls.process.__code__.co_names)

    @classmethod
    @cache
    def layout(cls) -> Layout:
        """Return the layout of its state: `made`, a counter for each reason and one for the slow path, its own."""
        base: dict[str, Any] = {"made": "i8", "drops": f"{len(cls.reasons) + 1}*i8"}
        natural = Layout(cls.__name__, base | cls.state)
        return Layout(cls.__name__, base | cls.state, size=-(-natural.size // APART) * APART)

    @classmethod
    def bind(cls, text: str) -> tuple[dict[str, Any], list[Any]]:
        """Return the values and the errors of a configuration string."""
        values, errors = bind(cls.arguments, split(text), ranges(cls.state))
        return values, errors or cls.check(values)

    @classmethod
    def check(cls, values: dict[str, Any]) -> list[Any]:
        """Return errors that concern several arguments at once."""
        return []

    @classmethod
    def outputs(cls, values: dict[str, Any]) -> int | None:
        """Return how many outputs these arguments ask for, None where any allowed number will do."""
        return None

    @classmethod
    def needs(cls, values: dict[str, Any]) -> Needs:
        """Return the memory it needs besides its state."""
        return Needs()

    @classmethod
    def configure(cls, state: Any, values: dict[str, Any]) -> None:
        """Fill a fresh state from the arguments: fields of the same name, then :meth:`set_up`."""
        for name, value in values.items():
            if name in cls.state and isinstance(value, int | float | bool):
                state[name] = value
        cls.set_up(state, values)

    @classmethod
    def set_up(cls, state: Any, values: dict[str, Any]) -> None:
        """Fill what is not simply an argument."""

    @classmethod
    def live(cls) -> dict[str, Argument]:
        """Return the arguments that handlers of their names read and write while it runs, by state field."""
        return {a.field: a for a in cls.arguments if a.live and a.field in cls.state}

    @classmethod
    def handlers(cls) -> tuple[list[str], list[str]]:
        """Return what can be read of it and written to it, besides `name`, `class`, `config` and `handlers`."""
        reads, writes = {*cls.live(), *cls.read_handlers}, {*cls.live(), *cls.write_handlers}
        return sorted(reads | set(cls.table_reads)), sorted(writes | set(cls.table_writes))

    @classmethod
    def summary(cls) -> str:
        """Return the first line of its documentation."""
        return (inspect.getdoc(cls) or "").split("\n", 1)[0]


def load() -> dict[str, type[Element]]:
    """Return the registry, filled from the platform's families and from `vre.elements` entry points.

    An entry point that cannot be loaded is noted in BROKEN; all others, and the platform, do without it.
    """
    if not REGISTRY:
        for family in _FAMILIES:
            _register(import_module(f"workers.elements.{family}"))
        for point in entry_points(group="vre.elements"):
            try:
                with _soon():
                    _register(point.load())
            except (Exception, SystemExit, TooLong) as error:  # whatever somebody's module does when it is imported
                BROKEN[f"{point.name} ({point.value})"] = escape(f"{type(error).__name__}: {error}")
    return REGISTRY


class TooLong(BaseException):
    """A module has taken too long to import; no handler of exceptions in it is meant."""


@contextlib.contextmanager
def _soon() -> Iterator[None]:
    """Raise TooLong in what is done within, after IMPORT_S: signals reach the main thread only, so there only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: Any) -> None:
        raise TooLong(f"it was not imported within {IMPORT_S:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, IMPORT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _register(module: Any) -> None:
    found = {
        name: value
        for name, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, Element) and value is not Element and not name.startswith("_")
    }
    for cls in found.values():
        # What is wrong with a declaration shows here, and not in the middle of a change.
        cls.layout()
        for side in cls.ports.split("/"):
            port_range(side)
    for name, cls in found.items():
        REGISTRY.setdefault(name, cls)


def port_range(text: str) -> tuple[int, int]:
    """Return least and most of one side of a port count: `"1"`, `"1-2"`, `"-"`, `"2-"`."""
    found = re.fullmatch(r"(\d*)(-?)(\d*)", text)
    if not found:
        raise ValueError(f"'{text}' is no number of ports, as in 1, 1-2 or -")
    low, dash, high = found.groups()
    least = int(low or 0)
    return least, (int(high) if high else 1 << 30) if dash else least


def processing_of(code: str, port: int) -> str:
    """Return the code of a port, `h` push, `l` pull or `a` agnostic, from one side of `processing`."""
    return code[min(port, len(code) - 1)] if code else "a"


def is_foreign(cls: Any) -> bool:
    """Return whether an element's `process`, or its `emit`, comes from elsewhere."""
    return any(not is_ours(one) for one in (cls.process, getattr(cls, "emit", None)) if one is not None)


def is_ours(thing: Any) -> bool:
    """Return whether a class or function is one of the platform's elements."""
    return thing.__module__.startswith("workers.elements.")


def digest(cls: Any) -> str:
    """Return a hash of the file that an element comes from: compiled code goes with it."""
    return _digest(inspect.getfile(cls))


@cache
def _digest(file: str) -> str:
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16]
