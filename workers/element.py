# SPDX-License-Identifier: MIT
"""What an element is: one declaration, one `process`.

From the declaration come the check of its arguments, its state and counters in shared memory, its
handlers and its manual page. Elements are classes of functions, never instances: all state is in the
record that `process` is given, so any worker can run any element at any time.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import inspect
import re
import signal
import textwrap
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
    "punt",
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

    `net` and `mac` are offsets into `data`, None if unset. Of an IP header at least 20 bytes are there; one that has
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
        """Return the bytes of the IP header at `net`; 0 if none is whole in `data` (RFC 791, section 3.1)."""
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
        FOREIGN_REASONS follow; if it has a slow path, RAISED.
    driver : str
        `"rx"`, `"source"`, `"pull"` or `"domu"` if a task starts or ends here. A source has an `emit`, a domU a
        `collect`.
    is_queue : bool
        Stores what is pushed into the ring of its state's `ring` until it is pulled.
    is_port : bool
        Is one of the router's ports, the one that its argument DEVNAME names: `ring` is the port's.
    spreads : bool
        Sends a copy of each packet to every output.
    clones : bool
        Its `process` may return CLONE + an output.
    takes : bool
        Its `process` may return TAKEN.
    holds : bool
        Keeps packets in the ring of its state's `hold` until its slow path sends them on.
    bursts : bool
        Pulls at most its state's `burst` packets a turn.
    stops : bool
        A source that ends the run when `count` reaches `limit`, if `stop` of its state says so.
    fib : bool
        Has a forwarding table, `chunks` large, at its state's `table`; its argument ROUTE fills it.
    foreign : bool
        Its `process`, or its `emit`, is not the platform's own. Not declared: it follows from where the class is.
    """

    ports: ClassVar[str] = "1/1"
    processing: ClassVar[str] = "a/a"
    arguments: ClassVar[tuple[Argument, ...]] = ()
    state: ClassVar[dict[str, Any]] = {}
    reasons: ClassVar[tuple[str, ...]] = ()
    read_handlers: ClassVar[dict[str, Callable[[Any], str]]] = {}
    write_handlers: ClassVar[dict[str, Callable[[Any, str], None]]] = {}
    table_reads: ClassVar[tuple[str, ...]] = ()  #: handlers that concern its forwarding table, if it has one
    table_writes: ClassVar[tuple[str, ...]] = ()
    driver: ClassVar[str] = ""
    is_queue: ClassVar[bool] = False
    is_port: ClassVar[bool] = False
    spreads: ClassVar[bool] = False
    clones: ClassVar[bool] = False
    takes: ClassVar[bool] = False
    holds: ClassVar[bool] = False
    bursts: ClassVar[bool] = False
    stops: ClassVar[bool] = False
    fib: ClassVar[bool] = False
    foreign: ClassVar[bool] = False
    keeps: ClassVar[tuple[str, ...]] = ()  #: state fields and areas that live on when a configuration is replaced
    cycles: ClassVar[int] = 60  #: modelled cost of a packet on the machine of vre.config.machines.DELL2950
    lines: ClassVar[int] = 0  #: modelled cache lines that a packet touches here and nowhere else
    bad_port: ClassVar[int] = 0  #: output that takes dropped packets where it is connected, 0 for none

    # `process(state, packet)`, and `port`, `core`, `now` (the core's clock in ns) or `granted` (its ring has been asked
    # for room) where it names them, returns an output port or one of the codes of workers.datapath.packet. An element
    # without one lives on the slow path.
    process: ClassVar[Callable[..., int] | None] = None
    # `emit(state, packet, core)` makes a packet in a spare buffer: 1, or 0 if none is due.
    emit: ClassVar[Callable[..., int] | None] = None
    # `collect(state, place, packet, core, index)` takes a packet back from a domU: its output, negative for none.
    collect: ClassVar[Callable[..., int] | None] = None
    # `slow(state, packet, port)` yields (port, SlowPacket) pairs and Drops.
    slow: ClassVar[Callable[..., Iterator[Any]] | None] = None
    # `due(state, now)` says whether the slow path has something to do though no packet came, and `visit(state,
    # context)` does a bounded part of it, yielding as `slow` does.
    due: ClassVar[Callable[..., bool] | None] = None
    visit: ClassVar[Callable[..., Iterator[Any]] | None] = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.foreign = any(not is_ours(one) for one in (cls.process, cls.emit) if one is not None)
        if cls.foreign and not set(FOREIGN_REASONS) <= set(cls.reasons):
            cls.reasons = (*cls.reasons, *FOREIGN_REASONS)
        if cls.slow is not None and RAISED not in cls.reasons:
            cls.reasons = (*cls.reasons, RAISED)

    @classmethod
    def sends(cls) -> bool:
        """Return whether packets leave the router here, by a port."""
        return cls.is_port and cls.driver == "pull"

    @classmethod
    def copies(cls) -> bool:
        """Return whether it may send one packet to several outputs."""
        return cls.spreads or cls.clones

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
            except (Exception, SystemExit, TooLong) as error:  # whatever the module does when it is imported
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
        if wrong := contradictions(cls):
            raise ValueError(f"{cls.__name__}: {'; '.join(wrong)}")
    for name, cls in found.items():
        REGISTRY.setdefault(name, cls)


#: Fields of its state that the platform fills or reads if an element declares this.
_FIELDS = {
    "is_queue": ("ring",),
    "is_port": ("ring",),
    "holds": ("hold",),
    "bursts": ("burst",),
    "stops": ("stop", "limit", "count"),
    "fib": ("table", "chunks"),
}


def contradictions(cls: type[Element]) -> list[str]:
    """Return what an element's declaration says that its code does not bear out, or leaves unsaid."""
    names = names_in(cls.process) if cls.process else set()
    arguments = {argument.name for argument in cls.arguments}
    rules = {
        "its process names CLONE: declare clones = True": "CLONE" in names and not cls.clones,
        "its process names TAKEN: declare takes = True": "TAKEN" in names and not cls.takes,
        "its process names PUNT, and it has no slow path": "PUNT" in names and cls.slow is None,
        f"'{cls.driver}' is no driver": cls.driver not in ("", "rx", "source", "pull", "domu"),
        "a driver 'source' and an emit go together": (cls.driver == "source") != (cls.emit is not None),
        "a driver 'domu' and a collect go together": (cls.driver == "domu") != (cls.collect is not None),
        "a queue has ports 1/1, processing h/l, and takes": cls.is_queue
        and (cls.ports, cls.processing, cls.takes) != ("1/1", "h/l", True),
        "a port has an argument DEVNAME, and its driver is rx or pull": cls.is_port
        and ("DEVNAME" not in arguments or cls.driver not in ("rx", "pull")),
        "a port is what receives: declare is_port = True": cls.driver == "rx" and not cls.is_port,
        "what bursts pulls: its driver is pull": cls.bursts and cls.driver != "pull",
        "what stops makes packets: its driver is source": cls.stops and cls.driver != "source",
        "its table is filled from an argument ROUTE": cls.fib and "ROUTE" not in arguments,
    }
    found = [rule for rule, broken in rules.items() if broken]
    for flag, fields in _FIELDS.items():
        found += [
            f"{flag} needs '{name}' in its state" for name in fields if getattr(cls, flag) and name not in cls.state
        ]
    return found


def syntax_of(function: Callable[..., Any]) -> ast.FunctionDef:
    """Return a function's syntax tree. Raises OSError if its source cannot be read."""
    found = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    assert isinstance(found, ast.FunctionDef)
    return found


def names_in(function: Callable[..., Any]) -> set[str]:
    """Return the names that a function's code mentions."""
    nodes = list(ast.walk(syntax_of(function)))
    return {n.id for n in nodes if isinstance(n, ast.Name)} | {n.attr for n in nodes if isinstance(n, ast.Attribute)}


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


def is_ours(thing: Any) -> bool:
    """Return whether a class or function is one of the platform's elements."""
    return thing.__module__.startswith("workers.elements.")


def digest(cls: Any) -> str:
    """Return a hash of the file that an element comes from: compiled code goes with it."""
    return _digest(inspect.getfile(cls))


@cache
def _digest(file: str) -> str:
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16]
