# SPDX-License-Identifier: MIT
"""Records of links to the world: interfaces of the operating system at the far ends of ports.

As in :mod:`shm.layout`, each field has one writer: the wire, unless another is named. The platform opens the
descriptors and fills in a DEVICE; each wire inherits the descriptors, maps the operating system's rings at the same
addresses, and goes on at the positions where the one before was.

A frame on its way out is copied into a *place*, of which a device has a power of two. The counts `filled`, `offered`
and `settled` say how many places have been filled, handed to the operating system, and accounted for; none is ahead of
the one before.
"""

from __future__ import annotations

from shm.layout import APART, Layout

#: How frames come from a device, and how they leave it: DEVICE.rx and DEVICE.tx.
PACKET_RING, XDP_RING, MESSAGES, TAP, SUPER_FRAMES = 1, 2, 3, 4, 5
#: What the platform knows of a device: DEVICE.state.
UP, DOWN, GONE = 0, 1, 2

DEVICE = Layout(
    "device",
    {
        "rx": ("i8", 0),  # supervisor: how frames come
        "tx": "i8",  # supervisor: how they leave
        "rx_fd": "i8",  # supervisor
        "tx_fd": "i8",  # supervisor
        "claims": "i8",  # set once: address of the port's CLAIMS
        "counts": "i8",  # set once: address of a table of TALLY addresses by router index
        "gate": "i8",  # set once: address of a word that is 0 while no traffic is let in
        "timed": "i8",  # set once: latencies are told: cores have no clocks of their own
        "longest": "i8",  # supervisor: bytes of the longest frame that it takes
        "overrun": "i8",  # supervisor: frames for which the ring of the first of its queues had no room
        "state": "i8",  # supervisor
        "scratch": "i8",  # set once: address of a VNET header and a frame, where super-frames are cut, else 0
        "merge": "i8",  # set once: address of a MERGE, where frames are merged, else 0
        # Reception.
        "queues": ("i8", APART),  # set once: address of its QUEUEs
        "queue_count": "i8",  # set once
        "buffer": "i8",  # set once: TAP: address of what a frame is read into
        "buffer_size": "i8",  # set once
        "rx_producer": "i8",  # set once: AF_XDP: addresses of the words and entries of its RX ring and fill ring
        "rx_consumer": "i8",
        "rx_descriptors": "i8",
        "fill_producer": "i8",
        "fill_entries": "i8",
        "rx_mask": "i8",  # set once: entries of both, less one
        "rx_next": "i8",  # frames taken from the RX ring, and of these, given back to the kernel
        "rx_given": "i8",
        "received": "i8",  # frames that came, all together
        "received_bytes": "i8",
        "unclaimed": "i8",  # of these, frames that no router claims
        "stray": "i8",  # destination MAC of the last of them, as an integer
        "cut": "i8",  # super-frames that came, and were cut into these frames
        "completed": "i8",  # of these, frames that came with a checksum to be completed
        "impairment": "i8",  # supervisor: address of the IMPAIRMENT of frames that come, 0: none
        "batch": "i8",  # the LINK_STATE of its batch while frames are received, else 0
        "batch_ns": "i8",  # on the link's clock
        # Transmission.
        "filled": ("i8", 3 * APART),
        "offered": "i8",
        "settled": "i8",
        "places": "i8",  # set once: address of the PLACEs
        "place_mask": "i8",  # set once: how many there are, less one
        "chunks": "i8",  # set once: address of their bytes, CHUNK each
        "messages": "i8",  # set once: addresses of a MESSAGE and a VECTOR for each
        "vectors": "i8",
        "producer": "i8",  # set once: addresses in an AF_XDP socket's TX ring and completion ring
        "consumer": "i8",
        "descriptors": "i8",
        "completion_producer": "i8",
        "completion_consumer": "i8",
        "completions": "i8",
        "error": ("i8", 4 * APART),  # errno of its refusal while it is down or gone, 0 while it takes frames
        "refusals": "i8",  # how many times it has begun to refuse frames
        "retry_ns": "i8",  # wall clock when it is tried again
        "stalled_ns": "i8",  # wall clock when it began to take nothing, 0 while it takes frames
    },
    size=5 * APART,
)

#: A packet socket and its ring, which the kernel fills: one for each router that claims a MAC, as a NIC with VMDq has,
#: behind one for all other frames.
QUEUE = Layout(
    "queue",
    {
        "fd": ("i8", 0),  # set once
        "ring": "i8",  # set once: address of the ring
        "frame_size": "i8",  # set once: bytes from one frame of it to the next
        "frame_mask": "i8",  # set once: frames in it, a power of two, less one
        "claim": "i8",  # set once: address of the CLAIM whose frames these are, 0: all others
        "next": ("i8", APART),  # frames taken from the ring
        "given": "i8",  # frames given back to it, once the wire has committed what it has taken
        "looked_ns": "i8",  # wall clock when the kernel was asked what had no room
        "statistics": "i8",  # what it said: `struct tpacket_stats`
        "statistics_size": "i8",
    },
    size=2 * APART,
)

#: Bytes of a frame in a place: the chunk of an AF_XDP socket.
CHUNK_BITS = 11
CHUNK = 1 << CHUNK_BITS
#: Places of a device, and entries of an AF_XDP socket's rings.
PLACES = 256
#: Frames that may wait in an AF_XDP socket's RX ring.
XDP_FRAMES = 512

#: What is known of a frame in a place.
PLACE = Layout(
    "place",
    {
        "length": "u4",
        "router": "u4",
        "time": "u4",  # when it came, in units of TIME_UNIT_NS, 0 if that is not known
        "left": "u4",  # when its port was through with it, in the same units
        "busy": "i8",  # the operating system may still read it
    },
    size=24,
)

#: What sendmmsg(2) takes for a frame, set once but for the length: a `struct mmsghdr`, and its `struct iovec`.
MESSAGE = Layout(
    "message",
    {
        "name": "i8",
        "name_size": "i8",
        "vector": "i8",
        "vector_count": "i8",
        "control": "i8",
        "control_size": "i8",
        "flags": "i8",
        "sent": "i8",
    },
    size=64,
)
VECTOR = Layout("vector", {"start": "i8", "length": "i8"}, size=16)
