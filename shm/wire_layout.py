# SPDX-License-Identifier: MIT
"""Records of what is outside the box: links, the wire that serves them, and the routers' claims to frames.

As in :mod:`shm.layout`, each field has one writer.
"""

from __future__ import annotations

from shm.layout import APART, CLIENTS, LINE, Layout

#: A stream of frames from a link to one RX ring, in a wire process.
SOURCE = Layout(
    "source",
    {
        "ring": "i8",  # set once: RX ring; 0 for frames no router claims
        "full": "i8",  # set once: address of the count of frames without room
        "tag": "i8",  # set once: what to tag slots of a shared ring with, the router's index
        "frames": "i8",  # set once: address of FRAME entries
        "count": "i8",  # set once: entries
        "limit": "i8",  # set once: frames to send in all, -1 without end
        "part": "i8",  # supervisor: its share of a shared ring's room, PART_BITS after the point; 0: all
        "part_back": "i8",  # supervisor: the same when sources are served from the last to the first
        "credit": "i8",  # what is left of its share, less than a frame
        "clock": "i8",  # supervisor: address of its core's clock_ns if paced by it, else 0
        # supervisor, while paused: ns between frames, SOURCE_INTERVAL_BITS after the point; 0: as fast as they are
        # taken; -1: as recorded
        "interval": "i8",
        "period_ns": "i8",  # set once: as recorded: length of one round
        "burst": "i8",  # set once: frames sent together
        "start_ns": "i8",  # clock when the stream began, -1 before
        "sent": "i8",  # frames offered so far
        "base": "i8",  # frames offered before `start_ns`
        "placed": "i8",  # frames put into the ring
        "bytes": "i8",
        "giants": "i8",  # frames that no buffer holds
        "next": "i8",  # index of the next frame in the schedule
        "done": "i8",
        "gate": "i8",  # set once: address of a word that must be 1 before it starts
        "paused": "i8",  # supervisor: 1 if it alone is to pause
        "impairment": "i8",  # supervisor: address of the IMPAIRMENT of the link into its port, 0: none
        "claim": "i8",  # set once: address of the CLAIM that its frames are for
    },
    size=2 * APART,
)
SOURCE_INTERVAL_BITS = 16
PART_BITS = 16

#: One frame of a source's schedule.
FRAME = Layout("frame", {"address": "i8", "length": "i8", "time_ns": "i8"}, size=24)

#: A TX ring's far end, in a wire process.
SINK = Layout(
    "sink",
    {
        "ring": "i8",  # set once: TX ring
        "counts": "i8",  # set once: address of a table of TALLY addresses by router index
        "clock": "i8",  # set once: address of the sending core's clock_ns, or 0
        "capture": "i8",  # set once: address of a CAPTURE, or 0
        "cable": "i8",  # set once: address of a CABLE, or 0
        "line": "i8",  # set once: address of the port's LINK if it has one, else 0
        "impairment": "i8",  # supervisor: address of the IMPAIRMENT of the link out of the port, 0: none
        "device": "i8",  # set once: address of a DEVICE, see shm.link_layout, or 0
    },
    size=LINE,
)

#: A link of finite speed: both directions of a port each have one.
LINK = Layout(
    "link",
    {
        "byte_time": "i8",  # set once: time a byte takes on the wire, in 1 / 2**LINK_BITS ns
        "free": "i8",  # clock in ns when the frame being sent is through
        "part": "i8",  # the fraction of that, in the unit of byte_time
    },
    size=LINE,
)
LINK_BITS = 16
#: Bytes that a frame takes on the wire besides its own, check sequence included: preamble and gap (IEEE 802.3).
FRAME_EXTRA = 20
#: Bytes of a frame's check sequence, which buffers do not hold, and of the smallest frame with it.
FCS, SMALLEST = 4, 64

#: What one router sent through one port. Written by the wire.
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
        "stray": "i8",  # cable: destination MAC of the last of them, as an integer
        "link_down": "i8",  # device: frames that it did not take, being down or gone
        "link_full": "i8",  # device: frames that it had no room for
        "link_refused": "i8",  # device: frames that it cannot carry: longer than its MTU allows, or without a header
        "buckets": (f"{TALLY_BUCKETS}*i8", 2 * LINE),
    },
)

#: A capture being written: a ring of bytes, pcapng blocks, from the wire to its writer (workers.wire.capture_writer).
#: `filled` and `emptied` are one word each, so that both halves are of the same moment: frames modulo 2**31 in the
#: upper half, bytes modulo 2**32 in the lower one.
CAPTURE = Layout(
    "capture",
    {
        "buffer": ("i8", 0),  # set once: address of the bytes
        "size": "i8",  # set once: how many, a power of two
        "interface": "i8",  # set once
        "epoch_ns": "i8",  # set once
        "filled": "i8",  # wire: what it has put in
        "frames": "i8",  # wire: frames it has put in
        "lost": "i8",  # wire: frames for which there was no room
        "next_filled": "i8",  # wire: what it has put in, published as `filled` at its next commit
        "emptied": ("i8", APART),  # writer: what it has taken out
        "hand": "i8",  # writer: frames that it has taken out and is writing
        "written": "i8",  # writer: frames that are in the file
        "error": "i8",  # writer: errno of what has ended the capture, 0 while it goes on
        "pid": "i8",  # writer
        "stop": ("i8", 2 * APART),  # supervisor: the writer is to end when all is written
    },
    size=3 * APART,
)
CAPTURE_FRAMES = (1 << 31) - 1

#: The far end of a link between two routers' ports.
CABLE = Layout("cable", {"claims": "i8"}, size=LINE)
#: A router's claim at a port: its MAC (as an integer), its VLAN (-1: any), its RX ring; on a port with a
#: single queue also that queue, and the router's index; a number that no other claim at the port has or had.
CLAIM = Layout(
    "claim", {"mac": "i8", "vlan": "i8", "ring": "i8", "queue": "i8", "router": "i8", "serial": "i8"}, size=48
)
#: All claims at a port: `count` entries at `first`. The supervisor adds and removes them.
CLAIMS = Layout("claims", {"first": "i8", "count": "i8"}, size=LINE)

#: A port with a single queue: the state of its classifier task.
CLASSIFIER = Layout(
    "classifier",
    {
        "ring": "i8",  # set once: the port's RX ring
        "claims": "i8",  # set once: address of the port's CLAIMS
        "unclaimed": "i8",  # frames that no router claims
    },
    size=LINE,
)

#: A wire process.
WIRE = Layout(
    "wire",
    {
        "stop": ("i8", 0),  # supervisor
        "gate": "i8",  # supervisor: 1 when traffic may start
        "source_count": "i8",  # supervisor
        "incarnation": "i8",  # supervisor: number of the process that is to be the wire
        "restarts": "i8",  # supervisor: wires that died and were replaced
        "pid": ("i8", APART),
        "sources": "i8",  # set once: address of a table of SOURCE addresses
        "left": "i8",  # number of the last process that handed the wire over
        "standby": "i8",  # number of the process that is ready to take it over
        "sinks": "i8",
        "sink_count": "i8",
        "devices": "i8",  # set once: address of a table of DEVICE addresses
        "device_count": "i8",  # set once
        "cores": "i8",  # set once: addresses of the cores that are served, one i8 each
        "core_count": "i8",
        "epoch_ticks": "i8",
        "ns_per_tick": "f8",
        "tick_rate": "i8",  # the same, as workers.core.clock.to_ns takes it
        "loops": "i8",
        "last_ns": "i8",  # wall clock of the round before
        "virtual": "i8",  # set once: time is logical, and a round is for the time it is told
        "finished": "i8",  # all finite sources are done
        "patience": "i8",  # rounds in a row that may move nothing before the interpreter runs
        "journal": "i8",  # set once: address of its JOURNAL, see shm.journal
        "links": "i8",  # set once: address of a table of IMPAIRMENT addresses
        "link_count": "i8",  # supervisor
        "paced_ns": "i8",  # dilated: the clock of the core that is furthest ahead, which due times on links are of
        # What a kill interrupts: see workers.datapath.wire_transaction. Also written by what recovers it.
        "stage": ("i8", 3 * APART),  # COMMITTING while a transaction is being published, else IDLE
        "undo_count": "i8",  # entries in the undo log
        "filled_count": "i8",  # rings with slots that are filled and not published
        "emptied": "i8",  # TX ring whose slots are claimed, 0 for none
        "captured": "i8",  # CAPTURE with blocks that are not published, 0 for none
        "impaired": "i8",  # IMPAIRMENT whose batch has not taken effect, 0 for none
        "link_state": "i8",  # its LINK_STATE that is to be in force
        "undo": "i8",  # set once: address of the undo log, of WIRE_UNDO_ENTRIES
        "filled": "i8",  # set once: address of a table of those rings, of WIRE_RINGS
    },
    size=4 * APART,
)
#: Most rings that one transaction fills: those of a port; and what it changes besides, in pieces of some words.
WIRE_RINGS, WIRE_UNDO_ENTRIES = CLIENTS, 4096
#: What some words held before a transaction.
WIRE_UNDO = Layout("wire_undo", {"at": "i8", "size": "i8", "before": "8*i8"})
