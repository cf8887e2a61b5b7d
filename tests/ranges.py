# SPDX-License-Identifier: MIT
"""Every number in shared memory, by what it counts; and a platform whose numbers are all far on.

`KINDS` names each field of each layout once. What is not named fails :func:`unclassified`, so a field that is added
later is either shifted by the tests, or said to stand still.

| kind | what | far on |
| --- | --- | --- |
| ticks | a time in ticks | by `Shift.ticks`; where the host has been up for long, its epoch too |
| ns | a time of the platform in ns, -1 before there is one | by `Shift.ns` |
| count | what only grows, or is compared with what grows as it does | by `Shift.count` |
| pass | a place in the order of turns | by `Shift.passes` |
| stamp | a time in TIME_UNIT_NS, modulo 2**32, 0 where there is none | by `Shift.ns` |
| still | an address, a size, a setting, a state, a length of time, a number that is modulo something | no |
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from shm import channel, impairment_layout, journal, layout, link_layout, offload_layout, wire_layout
from shm.intrinsics import add64, load64
from shm.layout import CLIENTS, IDLE_PASS, TIME_UNIT_NS, Layout
from vre.memory.address_space import view
from workers.core.clock import RATE_BITS
from workers.datapath import held, neighbour_table
from workers.element import load

KINDS = {
    layout.HEADER: {"still": "magic version kind size base count"},
    layout.SLOT: {"stamp": "time", "still": "small large length offset"},
    layout.RING: {
        "count": "head tail next_head seen_tail full giants next_tail seen_head",
        "still": "slots notes mask capacity pool tags killed",
    },
    layout.NOTE: {"still": "dst net mac entry vlan paint type param_off fix_src device stripped"},
    layout.CORE: {
        "ticks": "since line_due now next_poll epoch_ticks",
        "ns": "clock_ns clock_base served_ns now_served window_ns",
        "count": "decisions busy_ticks idle_ticks slow_ticks slices preemptions rebases roster seen_roster heartbeat "
        "restarts",
        "pass": "least_pass",
        "still": "stage task swap_a swap_b swap_first undo_count undo spare spare_used pool line_part slice_ticks "
        "slice_cpu_ns clients client_count passes recorder discipline by_memory line_ticks sample turn_ticks poll_ticks "
        "spin_ticks preempt_ticks ns_per_tick stop dilated virtual turn_cost controller journal incarnation line_pace "
        "tick_rate pid left standby",
    },
    layout.UNDO: {"still": "word before"},
    layout.DECISION: {"still": "now task pass ticks packets"},
    layout.CLIENT: {
        "count": "used_ticks used_lines turns joins domu_ns debt paid rebases window_used window_joins backlogged_ns "
        "contested_ns contested_used contested_due",
        "pass": "own_pass",
        "still": "stride tasks last router wanted most window_turn contested_step",
    },
    layout.TASK: {
        "count": "killed used_ticks used_lines packets turns empty_turns slow_ticks samples",
        "still": "function block input inject punt polled quantum client slot next enabled lines model_ticks number "
        "runnable cost sample_in outliers",
    },
    layout.CONTROLLER: {"ticks": "free", "count": "lines", "still": "part line_ticks"},
    wire_layout.SOURCE: {
        "ns": "start_ns",
        "count": "sent base placed bytes giants",
        "still": "ring full tag frames count limit part part_back credit clock interval period_ns burst next done gate "
        "paused impairment claim",
    },
    wire_layout.FRAME: {"still": "address length time_ns"},
    wire_layout.SINK: {"still": "ring counts clock capture cable line impairment device"},
    wire_layout.LINK: {"ns": "free", "still": "byte_time part"},
    wire_layout.TALLY: {
        "count": "packets bytes latency_count latency_sum unclaimed link_down link_full link_refused buckets",
        "still": "latency_max stray",
    },
    wire_layout.CAPTURE: {
        "count": "frames lost written",
        "still": "buffer size interface epoch_ns filled next_filled emptied hand error pid stop",
    },
    wire_layout.CABLE: {"still": "claims"},
    wire_layout.CLAIM: {"still": "mac vlan ring queue router serial"},
    wire_layout.CLAIMS: {"still": "first count"},
    wire_layout.CLASSIFIER: {"count": "unclaimed", "still": "ring claims"},
    wire_layout.WIRE: {
        "ticks": "epoch_ticks",
        "ns": "last_ns paced_ns",
        "count": "loops restarts",
        "still": "stop gate source_count incarnation pid sources left standby sinks sink_count devices device_count cores "
        "core_count ns_per_tick tick_rate virtual finished patience journal links link_count stage undo_count undo filled_count "
        "filled emptied captured impaired link_state",
    },
    impairment_layout.IMPAIRMENT: {
        "still": "seed salt clock claims capture device states settings state open line count"
    },
    impairment_layout.LINK_SETTINGS: {
        "still": "line limit delay jitter table correlation loss loss_correlation recovery loss_good loss_bad duplicate "
        "duplicate_correlation reorder reorder_correlation gap corrupt corrupt_correlation byte_time burst_ns overhead",
    },
    impairment_layout.LINK_STATE: {
        "ns": "free",
        "count": "batch order frames bytes lost over_limit duplicated reordered corrupted delayed arrived arrived_bytes "
        "unclaimed passed",
        "still": "sample losing duplicating reordering corrupting bad part stray",
    },
    impairment_layout.DELAY_LINE: {"still": "capacity keys entries buffers"},
    impairment_layout.KEY: {"ns": "due", "count": "order", "still": "entry"},
    impairment_layout.WAITING: {"ns": "due", "count": "order left", "still": "length claim serial"},
    link_layout.DEVICE: {
        "ns": "retry_ns stalled_ns",
        "count": "overrun received received_bytes unclaimed cut completed refusals",
        # Positions in rings of the operating system, and words of its system calls, begin at 0.
        "still": "rx tx rx_fd tx_fd claims counts gate timed longest state scratch merge queues queue_count buffer buffer_size stray "
        "impairment batch batch_ns offered settled places place_mask chunks messages vectors producer consumer "
        "filled descriptors completion_producer "
        "rx_producer rx_consumer rx_descriptors fill_producer fill_entries rx_mask rx_next rx_given "
        "completion_consumer completions error",
    },
    link_layout.QUEUE: {
        "ns": "looked_ns",
        "still": "fd ring frame_size frame_mask claim next given statistics statistics_size",
    },
    link_layout.PLACE: {"stamp": "time left", "still": "length router busy"},
    offload_layout.VNET: {"still": "flags gso_type header_size gso_size sum_start sum_offset"},
    offload_layout.MERGE: {"still": "buffer length net payload segment count next open"},
    link_layout.MESSAGE: {"still": "name name_size vector vector_count control control_size flags sent"},
    link_layout.VECTOR: {"still": "start length"},
    wire_layout.WIRE_UNDO: {"still": "at size before"},
    channel.CHANNEL: {
        "count": "head next_head freed next_freed tail next_tail faults lost",
        "still": "gifts verdict kept table notes free down up open incarnation owner down_fd up_fd",
    },
    channel.DOWN: {"count": "head"},
    channel.UP: {"count": "head taken", "still": "asleep"},
    journal.JOURNAL: {"count": "head dropped tail", "still": "text size dropped_by"},
    held.QUEUE: {"still": "first last count"},
    held.LINK: {"still": "next before queue"},
    neighbour_table.ENTRY: {"ns": "fresh_until valid_until", "still": "address mac"},
    neighbour_table.NOTES: {"ns": "asked learnt", "still": "first last count owed next_owed"},
    neighbour_table.POLLS: {"count": "head tail", "still": "addresses"},
    neighbour_table.COMMANDS: {"count": "head tail", "still": "words"},
}
#: Fields of elements' states: a name means the same in all of them, but where the class is named, too.
STATES = {
    "count": "made drops count byte_count queries responses punted",
    "ns": "due_ns now_ns next_ns filled_ns",
    "still": "ip eth broadcast table notes polls timeout_ns poll_ns entry_packet_capacity hold links lost commands "
    "owed_first owed_last cursor offset checksum hashes bad good bad_count good_count length color nodes active "
    "multicast hops chunks first last src dst addr ring mac device vlan type code mtu pmtu set_fix_anno identification "
    "honor_df myaddr others other_count frame size limit stop area mask seed maxlength contents label capacity "
    "highwater interval due_part output ports router burst channel free rounds addresses address_count rate tokens",
}
STILL_HERE = {("ARPResponder", "count")}


@dataclass(frozen=True)
class Shift:
    """How far on numbers are: `ticks` a multiple of 2**32, `count` one of every ring's slots; `up`: the host, too."""

    ticks: int = 0
    ns: int = 0
    count: int = 0
    passes: int = 0
    up: int = 0

    @classmethod
    def of(cls, ticks, rate, **others):
        """Return a shift of time by about so many ticks: a whole number of ns, and of stamps' units."""
        ticks = ticks >> RATE_BITS + 6 << RATE_BITS + 6
        return cls(ticks, (ticks >> RATE_BITS) * rate, **others)


def unclassified():
    """Return the fields that no kind names, and the names that no field has."""
    found = set()
    for module in (
        layout,
        link_layout,
        offload_layout,
        wire_layout,
        impairment_layout,
        channel,
        journal,
        held,
        neighbour_table,
    ):
        found |= {f"{one.name}.*" for one in vars(module).values() if isinstance(one, Layout) and one not in KINDS}
    for one, kinds in KINDS.items():
        named = " ".join(kinds.values()).split()
        found |= {f"{one.name}.{name}" for name in set(named) ^ set(one.fields)}
        assert len(named) == len(set(named)), one.name
    known = set(" ".join(STATES.values()).split())
    for name, cls in load().items():
        if cls.__module__.startswith("workers."):
            found |= {f"{name}.{field}" for field in cls.layout().fields if field not in known}
    return sorted(found)


def records(box):
    """Yield (layout, address, how many) of every record of a platform whose numbers move."""
    builder, links, manifest = box.parts.runtime.builder, box.parts.runtime.links, box.parts.runtime.manifest
    for core in builder.cores:
        yield layout.CORE, core.address, 1
        yield journal.JOURNAL, load64(core.address + layout.CORE["journal"]), 1
    for memory in builder.routers.values():
        yield layout.CLIENT, memory.clients, box.model.places
        yield from ((layout.TASK, task, 1) for task in memory.program.tasks)
        yield from ((wire_layout.TALLY, tally, 1) for tally in memory.tallies.values())
        for found in memory.program.channels.values():
            yield channel.CHANNEL, found, 1
            yield channel.DOWN, load64(found + channel.CHANNEL["down"]), 1
            yield channel.UP, load64(found + channel.CHANNEL["up"]), 1
    for plan in rings(box):
        yield layout.RING, plan.address, 1
        yield layout.SLOT, plan.slots, plan.count
    wire = manifest.wire
    yield wire_layout.WIRE, wire.address, 1
    yield journal.JOURNAL, load64(wire.address + wire_layout.WIRE["journal"]), 1
    yield layout.CONTROLLER, wire.controller, 1
    yield from ((wire_layout.SOURCE, source.address, 1) for source in wire.sources)
    yield from ((wire_layout.LINK, address, 1) for address in links.speeds.values())
    for key, line in links.impaired.lines.items():
        state = load64(links.impaired.records[key] + impairment_layout.IMPAIRMENT["state"])
        yield impairment_layout.LINK_STATE, state, 1
        yield impairment_layout.KEY, line.keys, line.capacity
        yield impairment_layout.WAITING, line.entries, line.capacity
    for state, node, _ in elements(box):
        if node.cls.__name__ == "ARPQuerier":
            for name, one, count in (
                ("table", neighbour_table.ENTRY, neighbour_table.SLOTS),
                ("notes", neighbour_table.NOTES, neighbour_table.SLOTS),
                ("polls", neighbour_table.POLLS, 1),
                ("commands", neighbour_table.COMMANDS, 1),
            ):
                yield one, int(state[name]), count


def rings(box):
    """Return the plans of all rings of a platform."""
    routers = box.parts.runtime.builder.routers.values()
    inside = [ring for memory in routers for ring in [*memory.rx.values(), *memory.program.rings]]
    return inside + [ring for port in box.parts.runtime.builder.ports.values() for ring in port.tx.values()]


def elements(box):
    """Yield the state, the node and the class's name of every element."""
    for memory in box.parts.runtime.builder.routers.values():
        for node, where in zip(memory.program.graph.nodes, memory.program.elements, strict=True):
            yield view(where["state"], node.cls.layout().dtype)[0], node, node.cls.__name__


def fields(box):
    """Yield (kind, array, field) for everything that moves."""
    for one, address, count in records(box):
        found = view(address, one.dtype, count)
        for kind, names in KINDS[one].items():
            for name in names.split() if kind != "still" else ():
                yield kind, found, name
    for state, _, cls in elements(box):
        for kind, names in STATES.items():
            for name in names.split() if kind != "still" else ():
                if name in state.dtype.names and (cls, name) not in STILL_HERE:
                    yield kind, state.reshape(1), name


def shift(box, by, sign=1):
    """Let all numbers of a platform in virtual time be far on; `sign` -1: back again."""
    whole = {"ticks": by.ticks + by.up, "ns": by.ns, "count": by.count}
    for kind, found, name in fields(box):
        column = found[name]
        if kind == "stamp":
            found[name] = [later(int(time), sign * by.ns) for time in column]
        elif kind in whole:
            amount = by.up if name == "epoch_ticks" else whole[kind]
            moved = column >= _FIRST.get(name, column.min())
            found[name] = column + sign * amount * moved
        else:
            found[name] = column + sign * by.passes
    for core in box.parts.runtime.builder.cores:
        for at in range(core.passes, core.passes + 8 * CLIENTS, 8):
            if load64(at) != IDLE_PASS:
                add64(at, sign * by.passes)
    for memory in box.parts.runtime.builder.routers.values():
        for found in memory.program.channels.values():
            # The stamp of a packet that is lent is in the upper half of a word.
            stamps = view(load64(found + channel.CHANNEL["table"]), "u4", 2 * channel.SLOTS)[1::2]
            stamps[:] = [later(int(time), sign * by.ns) for time in stamps]
    box.parts.runtime.engine._ticks += sign * (by.ticks + by.up)


def later(stamp, ns):
    """Return a stamp as it is so many ns later."""
    return (stamp + ns // TIME_UNIT_NS) & 0xFFFFFFFF if stamp else 0


#: Times that are less than this as long as there is none.
_FIRST = {"order": 1, "left": 1, "due": 1, "start_ns": 0, "fresh_until": 1, "valid_until": 1, "asked": 1, "learnt": 1}


def snapshot(box):
    """Return everything that moves but passes, whose zero is arbitrary, and stamps' rounding."""
    return {
        (number, kind, name): found[name].tolist()
        for number, (kind, found, name) in zip(itertools.count(), fields(box), strict=False)
        if kind in ("ticks", "ns", "count") and name not in ("rebases", "since", "now_ns")
    }
