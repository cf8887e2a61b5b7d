# SPDX-License-Identifier: MIT
"""Every record that processes share, declared once.

A :class:`Layout` is plain data: field names, formats and offsets. Kernels use its offsets as constants,
everything else its NumPy `dtype`. A field has one writer, named in the comments below; fields of
different writers are on different pairs of cache lines, since processors prefetch lines in pairs.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

#: Bytes in a cache line; the unit in which a buffer reference counts.
LINE = 64
#: Distance that keeps two writers apart: a pair of lines.
APART = 2 * LINE

MAGIC = 0x4552_5631  # "1VRE" in memory
VERSION = 1

_SIZES = {"u1": 1, "u2": 2, "u4": 4, "i4": 4, "i8": 8, "f8": 8}


def _size(form: str) -> int:
    if form.startswith("S"):
        return int(form[1:])
    count, _, kind = form.rpartition("*")
    return _SIZES[kind] * int(count or 1)


class Layout:
    """A flat record: ordered fields with explicit offsets.

    Parameters
    ----------
    name : str
        What the record is, for :mod:`shm.describe`.
    fields : dict
        Field name to format (`"i8"`, `"u4"`, `"16*i8"`, `"S32"`), or to `(format, offset)`. Without an
        offset a field follows the one before at its natural alignment.
    size : int, optional
        Bytes from one record to the next. Asserted to hold all fields.
    """

    def __init__(self, name: str, fields: dict[str, Any], size: int | None = None) -> None:
        self.name = name
        self.fields: dict[str, tuple[str, int]] = {}
        end = 0
        for field, given in fields.items():
            form, offset = given if isinstance(given, tuple) else (given, None)
            unit = 1 if form.startswith("S") else _SIZES[form.rpartition("*")[2]]
            if offset is None:
                offset = -(-end // unit) * unit
            if offset < end or offset % unit:
                raise ValueError(f"{name}.{field}: offset {offset} overlaps or is not aligned")
            self.fields[field] = (form, offset)
            end = offset + _size(form)
        self.size = -(-end // 8) * 8 if size is None else size
        if self.size < end or self.size % 8:
            raise ValueError(f"{name}: {self.size} bytes do not hold fields that end at {end}")

    def __getitem__(self, field: str) -> int:
        """Return the offset of `field` in bytes."""
        return self.fields[field][1]

    @cached_property
    def dtype(self) -> Any:
        """The NumPy structured type."""
        import numpy as np

        def form(text: str) -> Any:
            count, _, kind = text.rpartition("*")
            return (kind, (int(count),)) if count else text

        return np.dtype(
            {
                "names": list(self.fields),
                "formats": [form(f) for f, _ in self.fields.values()],
                "offsets": [o for _, o in self.fields.values()],
                "itemsize": self.size,
            }
        )


#: First line of every segment. Written once by its creator.
HEADER = Layout(
    "header",
    {"magic": "u4", "version": "u4", "kind": "S16", "size": "i8", "base": "i8", "count": "i8"},
    size=LINE,
)

#: A descriptor. It owns one buffer of each size, always; `offset` says which of them holds the frame.
SLOT = Layout(
    "slot",
    {
        "small": "u4",  # reference of the small buffer: distance from the pool's base in lines
        "large": "u4",  # reference of the large buffer
        "time": "u4",  # when the frame came in, in units of TIME_UNIT_NS, modulo 2**32
        "length": "u2",  # bytes of the frame
        "offset": "u2",  # where it starts in its buffer; bit 15 set: the large one
    },
    size=16,
)
#: Set in SLOT.offset where the frame is in the large buffer.
IN_LARGE = 0x8000
#: 32 bits of 32 ns wrap after 137 s; longer latencies are not told apart.
TIME_UNIT_NS = 32

#: A single-producer single-consumer ring of descriptors.
RING = Layout(
    "ring",
    {
        "head": ("i8", 0),  # producer: slots published
        "next_head": "i8",  # producer: slots filled, published at its next commit
        "seen_tail": "i8",  # producer: the consumer's tail when it last looked
        "full": "i8",  # producer: packets it could not place
        "tail": ("i8", APART),  # consumer: slots given back
        "next_tail": "i8",  # consumer: slots claimed, given back at its next commit
        "seen_head": "i8",  # consumer: the producer's head when it last looked
        "slots": ("i8", 2 * APART),  # set once: address of the slots
        "notes": "i8",  # set once: address of the notes, 0 where none are kept
        "mask": "i8",  # set once: number of slots, a power of two, less one
        "capacity": "i8",  # set once: how many slots may be in use
        "pool": "i8",  # set once: address that buffer references count from
        "tags": "i8",  # set once, TX rings: address of one u2 a slot, the router that sent it; else 0
    },
    size=3 * APART,
)

#: Annotations of a packet that waits in a ring inside a router (Click: packet annotations).
NOTE = Layout(
    "note",
    {
        "dst": "u4",  # destination address annotation, network order as an integer
        "net": "i4",  # IP header, relative to the start of the frame; MISSING where unset
        "mac": "i4",  # Ethernet header, likewise
        "transport": "i4",  # transport header, likewise
        "entry": "u2",  # punt and inject rings: which element and port the packet is for
        "vlan": "u2",  # VLAN tag control information
        "paint": "u1",
        "type": "u1",  # HOST, BROADCAST, MULTICAST, OTHERHOST
        "param_off": "u1",  # where an IP option is wrong (RFC 792, parameter problem)
        "fix_src": "u1",  # the source address is to be set on the way out
        "device": "u2",  # index of the port it came in by
    },
    size=32,
)
#: A header annotation that is not set; no real offset is so far from the frame's start.
MISSING = -(1 << 30)

#: One for each emulated core. Written by its worker unless said otherwise.
CORE = Layout(
    "core",
    {
        "stage": ("i8", 0),  # IDLE, RUNNING or COMMITTING: what a kill interrupts
        "task": "i8",  # address of the task that runs, 0 between tasks (the watchdog's stamp)
        "since": "i8",  # ticks when it was entered
        "undo_count": "i8",  # entries in the undo log
        "undo": "i8",  # set once: address of the undo log
        "spare": "i8",  # set once: address of the spare words (small, large) for packets made here
        "spare_used": "i8",  # spare pairs in use
        "pool": "i8",  # set once
        "clock_ns": ("i8", APART),  # the core's own clock: wall, or CPU time in slices where dilated
        "clock_base": "i8",  # dilated: clock at the start of the slice
        "now": "i8",  # ticks at the last decision
        "slice_ticks": "i8",  # ticks charged in this slice
        "slice_cpu_ns": "i8",  # CPU time at the start of this slice
        "decisions": "i8",
        "busy_ticks": "i8",  # ticks in turns that moved packets
        "idle_ticks": "i8",  # ticks in turns that did not, and in polling
        "slow_ticks": "i8",  # ticks spent on the slow path
        "slices": "i8",
        "preemptions": "i8",
        "clients": ("i8", 2 * APART),  # set once: address of the clients
        "client_count": "i8",
        "passes": "i8",  # set once: address of their passes, one i8 each; IDLE_PASS where idle
        "tasks": "i8",
        "task_count": "i8",
        "least_pass": "i8",  # the least pass of a runnable client when last decided
        "poll_ticks": "i8",  # set once: ticks between two looks at idle tasks
        "next_poll": "i8",
        "spin_ticks": "i8",  # set once: idle this long, a slice ends early; 0: never
        "preempt_ticks": "i8",  # set once: a turn longer than this is checked against the CPU clock
        "ns_per_tick": "f8",  # set once
        "stop": ("i8", 3 * APART),  # supervisor: the worker is to end
        "epoch_ticks": "i8",  # set once: ticks at time 0 of the platform
        "dilated": "i8",  # set once: the core's clock is its CPU time, not the wall clock
        "pid": ("i8", 4 * APART),  # worker
        "incarnation": "i8",  # supervisor: how many workers have run this core
        "heartbeat": "i8",  # worker: slices completed by this incarnation
        "served_ns": ("i8", 5 * APART),  # wire: the core's clock up to which its traffic has been brought
        "now_served": "i8",  # wire: the core's clock at the start of its round
    },
    size=6 * APART,
)
IDLE, RUNNING, COMMITTING = 0, 1, 2
#: The pass of a client with nothing to do: never the least.
IDLE_PASS = (1 << 63) - 1

#: What a swap changes, so that a batch cut short can be taken back.
#: `before` holds both words, that at a in its low half; with b 0 it is the counter at a.
UNDO = Layout("undo", {"a": "i8", "b": "i8", "before": "i8"}, size=24)
#: A task's turn swaps at most this often; its driver ends the turn before.
UNDO_ENTRIES = 4096
#: Spare pairs a core keeps for packets that elements make: the deepest nesting of clones.
SPARES = 64

#: A router's presence on one core: what the stride scheduler picks.
CLIENT = Layout(
    "client",
    {
        "stride": "i8",  # supervisor: pass per tick, fixed point, STRIDE_BITS after the point
        "first_task": "i8",  # set once: index of its first task
        "task_count": "i8",  # set once
        "used_ticks": "i8",  # ticks charged
        "turns": "i8",
        "last_task": "i8",  # index within the client of the task that ran last
        "router": "i8",  # set once: index of the router
        "own_pass": "i8",  # its pass while it is idle
        "joins": "i8",  # times it woke
    },
    size=APART,
)
STRIDE_BITS, PASS_BITS = 16, 8

#: A schedulable path on a core.
TASK = Layout(
    "task",
    {
        "function": "i8",  # worker: address of the compiled path
        "block": "i8",  # set once: address of the router's state block
        "input": "i8",  # set once: ring whose packets wake it, 0 where it has none
        "inject": "i8",  # set once: ring of packets coming back from the slow path, or 0
        "punt": "i8",  # set once: ring of packets going to the slow path, or 0
        "runnable": "i8",
        "used_ticks": "i8",
        "packets": "i8",
        "turns": "i8",
        "empty_turns": "i8",
        "enabled": "i8",  # supervisor: 0 while quarantined
        "client": "i8",  # set once: index of its client on the core
        "slow_ticks": "i8",  # ticks its packets cost on the slow path
        "killed": "i8",  # supervisor: packets lost with a killed worker
        "polled": "i8",  # set once: 1 where only a turn tells whether there is work (sources)
        "quantum": "i8",  # set once: packets per turn
    },
    size=2 * APART,
)

#: A stream of frames from a link to one RX ring, in a wire process.
SOURCE = Layout(
    "source",
    {
        "ring": "i8",  # set once: RX ring; 0 for frames no router claims
        "frames": "i8",  # set once: address of FRAME entries
        "count": "i8",  # set once: entries
        "limit": "i8",  # set once: frames to send in all, -1 without end
        "clock": "i8",  # set once: address of the core's clock_ns where paced by it, else 0
        "interval": "i8",  # set once: ns between frames, fixed point 16 bits; 0: as fast as taken; -1: as recorded
        "period_ns": "i8",  # set once: as recorded: length of one round
        "burst": "i8",  # set once: frames sent together
        "start_ns": "i8",  # clock when the stream began, -1 before
        "sent": "i8",  # frames offered so far
        "placed": "i8",  # frames put into the ring
        "bytes": "i8",
        "giants": "i8",  # frames that no buffer holds
        "next": "i8",  # index of the next frame in the schedule
        "done": "i8",
        "gate": "i8",  # set once: address of a word that must be 1 before it starts
        "paused": "i8",  # supervisor: 1 where it alone is to rest
    },
    size=2 * APART,
)
SOURCE_INTERVAL_BITS = 16

#: One frame of a source's schedule.
FRAME = Layout("frame", {"address": "i8", "length": "i8", "time_ns": "i8"}, size=24)

#: A TX ring's far end, in a wire process.
SINK = Layout(
    "sink",
    {
        "ring": "i8",  # set once: TX ring
        "counts": "i8",  # set once: address of one TALLY for each router
        "clock": "i8",  # set once: address of the sending core's clock_ns, or 0
        "capture": "i8",  # set once: address of a CAPTURE, or 0
        "cable": "i8",  # set once: address of a CABLE, or 0
    },
    size=LINE,
)

#: What one router sent through one port and core. Written by the wire.
#: Latencies are counted in 32 linear steps (2**SUB_BITS) per power of two: 3 % resolution.
SUB_BITS = 5
TALLY_BUCKETS = 1024
TALLY = Layout(
    "tally",
    {
        "packets": "i8",
        "bytes": "i8",
        "latency_count": "i8",
        "latency_sum": "i8",
        "latency_max": "i8",
        "unclaimed": "i8",  # cable: frames that no router at the far end claims
        "buckets": (f"{TALLY_BUCKETS}*i8", LINE),
    },
)

#: A capture being written: pcapng blocks, drained to the file between slices.
CAPTURE = Layout(
    "capture",
    {"buffer": "i8", "size": "i8", "used": "i8", "frames": "i8", "interface": "i8", "epoch_ns": "i8"},
    size=LINE,
)

#: The far end of a link between two routers' ports.
CABLE = Layout("cable", {"claims": "i8", "claim_count": "i8", "default": "i8"}, size=LINE)
#: Who gets a frame at a port: its MAC (as an integer), its VLAN (-1: any), its RX ring.
CLAIM = Layout("claim", {"mac": "i8", "vlan": "i8", "ring": "i8"}, size=24)

#: A wire process.
WIRE = Layout(
    "wire",
    {
        "stop": ("i8", 0),  # supervisor
        "gate": "i8",  # supervisor: 1 when traffic may start
        "pid": ("i8", APART),
        "sources": "i8",
        "source_count": "i8",
        "sinks": "i8",
        "sink_count": "i8",
        "cores": "i8",  # set once: addresses of the cores that are served, one i8 each
        "core_count": "i8",
        "epoch_ticks": "i8",
        "ns_per_tick": "f8",
        "loops": "i8",
        "finished": "i8",  # all finite sources are done
    },
    size=2 * APART,
)

assert RING.size == 768 // 2 and SLOT.size == 16 and NOTE.size == 32 and UNDO.size == 24
assert CORE.size == 768 and TASK.size == 256 and CLIENT.size == 128 and HEADER.size == 64
