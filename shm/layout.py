# SPDX-License-Identifier: MIT
"""Every record that processes share, declared once.

A :class:`Layout` is plain data: field names, formats and offsets. Kernels use its offsets as constants,
everything else its NumPy `dtype`. A field has one writer, named in the comments below; fields of
different writers are on different pairs of cache lines, since processors prefetch lines in pairs.

Ranges: what counts (packets, bytes, turns, slots of a ring), ticks, and times in ns are whole numbers below 2**62: 146
years of ns, as many packets. What is added to one of them in one step, an interval or a length of time, is at most
2**61. A product keeps its factors apart, or has a bound beside it. `tests/ranges.py` names what each field counts, and
a platform whose numbers are all that large behaves as before.
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
        What the record is, for :mod:`shm.inspect`.
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
#: Set in SLOT.offset if the frame is in the large buffer.
IN_LARGE = 0x8000
#: Bytes of a small and of a large buffer: an odd number of lines, so that headers spread over all cache sets.
SMALL_STRIDE, LARGE_STRIDE = 3 * LINE, 33 * LINE
#: 32 bits of 32 ns wrap after 137 s; longer latencies are not told apart.
TIME_UNIT_NS = 32

#: A single-producer single-consumer ring of descriptors.
RING = Layout(
    "ring",
    {
        # What the other side polls is apart from what changes with every packet.
        "head": ("i8", 0),  # producer: slots published
        "tail": ("i8", APART),  # consumer: slots given back
        "next_head": ("i8", 2 * APART),  # producer: slots filled, published at its next commit
        "seen_tail": "i8",  # producer: the consumer's tail when it last looked
        "full": "i8",  # producer: packets that found no room
        "giants": "i8",  # producer: frames that no buffer holds
        "next_tail": ("i8", 3 * APART),  # consumer: slots claimed, given back at its next commit
        "seen_head": "i8",  # consumer: the producer's head when it last looked
        "slots": ("i8", 4 * APART),  # set once: address of the slots
        "notes": "i8",  # set once: address of the notes, 0 if none are kept
        "mask": "i8",  # set once: number of slots, a power of two, less one
        "capacity": "i8",  # set once: how many slots may be in use
        "pool": "i8",  # set once: address that buffer references count from
        "tags": "i8",  # set once, rings that routers share: address of one u2 a slot, whose packet it is; else 0
        "killed": "i8",  # set once, RX rings that routers share: a table of counters by router; else 0
    },
    size=5 * APART,
)

#: Annotations of a packet that waits in a ring inside a router (Click: packet annotations).
NOTE = Layout(
    "note",
    {
        "dst": "u4",  # destination address annotation, network order as an integer
        "net": "i4",  # IP header, relative to the start of the frame; MISSING if unset
        "mac": "i4",  # Ethernet header, likewise
        "entry": "u4",  # punt and inject rings: which element and port the packet is for
        "vlan": "u2",  # VLAN tag control information
        "paint": "u1",
        "type": "u1",  # HOST, BROADCAST, MULTICAST, OTHERHOST
        "param_off": "u1",  # offset of the wrong IP option (RFC 792, parameter problem)
        "fix_src": "u1",  # the source address is to be set on the way out
        "device": "u2",  # index of the port it came in by
        "stripped": "u2",  # bytes in front of the frame that it carried once
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
        "swap_a": "i8",  # address of one word of the swap begun last in this turn, 0 if none
        "swap_b": "i8",  # address of the other
        "swap_first": "i8",  # what the word at a held before
        "undo_count": "i8",  # entries in the undo log
        "undo": "i8",  # set once: address of the undo log
        "spare": "i8",  # set once: address of the spare words (small, large) for packets made here
        "spare_used": "i8",  # spare pairs in use
        "pool": "i8",  # set once
        "line_due": "i8",  # ticks when its next memory access is due
        "line_part": "i8",  # the fraction of that, MODEL_BITS
        "clock_ns": ("i8", APART),  # the core's own clock: wall, or CPU time in slices if dilated
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
        "window_ns": "i8",  # the core's clock when the window began, see workers.core.contest
        "clients": ("i8", 2 * APART),  # set once: address of a table of CLIENT addresses, 0 if free
        "client_count": "i8",  # supervisor: entries of the table that have ever been used
        "passes": "i8",  # set once: address of their passes, one i8 each; IDLE_PASS if idle
        "recorder": "i8",  # set once: address of the flight recorder, DECISIONS records
        "least_pass": "i8",  # the least pass of a runnable client when last decided
        "next_poll": "i8",
        "discipline": "i8",  # supervisor: what a turn is charged, see workers.core.stride
        "by_memory": "i8",  # supervisor: a turn is charged its memory accesses instead
        "line_ticks": "i8",  # set once: what an access is worth in ticks, MODEL_BITS after the point
        "sample": "i8",  # set once: of how many packets one is measured
        "turn_ticks": "i8",  # set once: a turn that has taken this long ends
        "poll_ticks": "i8",  # set once: ticks between two looks at idle tasks
        "spin_ticks": "i8",  # set once: idle this long, a slice ends early; 0: never
        "preempt_ticks": "i8",  # set once: a turn longer than this is checked against the CPU clock
        "ns_per_tick": "f8",  # set once
        "rebases": "i8",  # how often all passes have been moved back
        "stop": ("i8", 3 * APART),  # supervisor: the worker is to end
        "epoch_ticks": "i8",  # set once: ticks at time 0 of the platform
        "dilated": "i8",  # set once: the core's clock is its CPU time, not the wall clock
        "virtual": "i8",  # set once: time is logical, and turns take what their model says
        "turn_cost": "i8",  # set once, virtual: ticks of a turn itself, packets or not
        "controller": "i8",  # set once, virtual: address of the memory CONTROLLER, or 0
        "journal": "i8",  # set once: address of its JOURNAL, see shm.journal
        "incarnation": "i8",  # supervisor: number of the worker that is to run this core
        "restarts": "i8",  # supervisor: workers that died and were replaced
        "roster": "i8",  # supervisor: counts changes of which tasks run here
        "line_pace": "i8",  # supervisor: ticks between its memory accesses, MODEL_BITS after the point; 0: no limit
        "tick_rate": "i8",  # set once: ns_per_tick, as workers.core.clock.to_ns takes it
        "pid": ("i8", 4 * APART),  # worker
        "heartbeat": "i8",  # worker: slices completed
        "left": "i8",  # worker: number of the last worker that handed the core over
        "standby": "i8",  # worker: number of the one that is ready to take the core over
        "seen_roster": "i8",  # worker: the roster it knows
        "served_ns": ("i8", 5 * APART),  # wire: the core's clock up to which its traffic has been brought
        "now_served": "i8",  # wire: the core's clock at the start of its round
    },
    size=6 * APART,
)
IDLE, RUNNING, COMMITTING = 0, 1, 2
#: The pass of a client with nothing to do: never the least.
IDLE_PASS = (1 << 63) - 1

#: A word that a turn has changed and what it held before, so that a turn that was cut off can be rolled back.
UNDO = Layout("undo", {"word": "i8", "before": "i8"}, size=16)
#: A task's turn changes such words at most this often; its driver ends the turn before.
UNDO_ENTRIES = 4096
#: Spare pairs a core keeps for packets that elements make: the deepest nesting of clones.
SPARES = 64

#: One scheduling decision, as the flight recorder keeps it.
DECISION = Layout(
    "decision",
    {"now": "i8", "task": "i8", "pass": "i8", "ticks": "u4", "packets": "u4"},
    size=32,
)
#: Decisions that a core records, a power of two.
DECISIONS = 4096

#: A router's presence on one core: what the stride scheduler picks.
CLIENT = Layout(
    "client",
    {
        "stride": "i8",  # pass per tick, fixed point, STRIDE_BITS after the point
        "tasks": "i8",  # supervisor: address of its first TASK on this core, 0 if it has none
        "last": "i8",  # address of the task that ran last
        "used_ticks": "i8",  # ticks charged
        "used_lines": "i8",  # memory accesses of its packets
        "turns": "i8",
        "router": "i8",  # set once: index of the router
        "own_pass": "i8",  # its pass while it is idle
        "joins": "i8",  # times it woke
        "domu_ns": "i8",  # supervisor: processor time that the router's domU has used
        "debt": "i8",  # supervisor: what of that was on a core's processor, in ticks
        "paid": "i8",  # ticks of that which have been charged
        "wanted": "i8",  # supervisor: the stride that it is to have; 0: none yet, and no turn
        "most": "i8",  # most that one turn is charged, so that the product with the stride is a word
        "rebases": "i8",  # the core's count when its passes were moved back last
        "window_used": "i8",  # what it had used when the window began, see workers.core.contest
        "window_joins": "i8",  # its joins then, -1 if it was idle
        "backlogged_ns": "i8",  # core's time in windows in which it had something to do throughout
        "contested_ns": "i8",  # the part of that in which another had, too
        "contested_used": "i8",  # what it used then: ticks, or accesses if memory is what is shared
        "contested_due": "i8",  # what it was entitled to then
        "window_turn": "i8",  # longest turn in the window, in ticks; below 0: of the last that had one
        "contested_step": "i8",  # how far it can be from its due, as turns are whole: in the unit of that
    },
    size=2 * APART,
)
STRIDE_BITS, PASS_BITS = 16, 8
#: Routers that a core can have at most.
CLIENTS = 1024

#: A schedulable path.
TASK = Layout(
    "task",
    {
        "function": "i8",  # worker: address of the compiled path
        "block": "i8",  # set once: address of the router's state block
        "input": "i8",  # set once: ring, or channel, whose packets wake it, 0 if none
        "inject": "i8",  # set once: ring of packets coming back from the slow path, or 0
        "punt": "i8",  # set once: ring of packets going to the slow path, or 0
        "polled": "i8",  # set once: ALWAYS if only a turn tells whether there is work; CHANNEL_ENDS: a channel does
        "quantum": "i8",  # set once: packets per turn
        "client": "i8",  # supervisor: its CLIENT
        "slot": "i8",  # supervisor: address of that client's pass
        "next": "i8",  # supervisor: the client's next task on the core, 0 after the last
        "enabled": "i8",  # supervisor: 0 while quarantined or on its way to another core
        "killed": "i8",  # supervisor: packets lost with a killed worker
        "lines": "i8",  # cache lines a packet touches, MODEL_BITS after the point: declared; worker: counted
        "model_ticks": "i8",  # supervisor, virtual: ticks a packet takes
        "number": "i8",  # set once: which of its router's tasks it is
        "runnable": ("i8", APART),
        "used_ticks": "i8",
        "used_lines": "i8",
        "packets": "i8",
        "turns": "i8",
        "empty_turns": "i8",
        "slow_ticks": "i8",  # ticks its packets cost on the slow path
        "cost": "i8",  # measured discipline: estimate of ticks a packet, MODEL_BITS after the point
        "sample_in": "i8",  # packets until the next one whose turn is measured
        "samples": "i8",
        "outliers": "i8",  # samples thrown away, and whether the last one was, in the lowest bit
    },
    size=2 * APART,
)
#: How to find out whether a task has work if no ring of its router tells.
ALWAYS, CHANNEL_ENDS = 1, 2
#: Digits after the point of modelled and estimated costs.
MODEL_BITS = 8

#: The memory controller of a modelled machine: one queue for all cores. Virtual time only.
CONTROLLER = Layout(
    "controller",
    {
        "free": "i8",  # ticks when it has served all it was asked for
        "part": "i8",  # the fraction of that, MODEL_BITS
        "line_ticks": "i8",  # set once: ticks an access takes, MODEL_BITS after the point
        "lines": "i8",  # accesses served
    },
    size=LINE,
)

assert RING.size == 640 and SLOT.size == 16 and NOTE.size == 32 and UNDO.size == 16
assert CORE.size == 768 and TASK.size == 256 and CLIENT.size == 256 and HEADER.size == 64
