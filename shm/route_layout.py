# SPDX-License-Identifier: MIT
"""What the reader of a router's routes shares with the platform, and with the kernel that parses netlink messages.

A *hop* is a word: weight, less one, in bits 48 to 55; gateway in bits 16 to 47, 0 for none; interface in bits 0 to 15.
With the bit PATHS its lower half is the number of a group of hops; with DISCARD it is a route that leads nowhere. A
*key* is a prefix as a word: its address above bit 6, its length below.
"""

from __future__ import annotations

from shm.layout import APART, Layout

PATHS, DISCARD = 1 << 60, 1 << 61
HOP_WEIGHT, HOP_GATEWAY = 48, 16
#: Bits of a key that hold the prefix length.
KEY_BITS = 6
#: Most next hops of one route, as weights are counted: what a forwarding table keeps for a group.
MOST_PATHS = 16

#: A route as a netlink message has it.
ROUTE = Layout("route", {"key": "i8", "metric": "i8", "hop": "i8", "gone": "i8"}, size=32)

#: What the parser is given and what it has found; one process has it.
PARSED = Layout(
    "parsed",
    {
        "routes": "i8",  # address of its ROUTEs
        "room": "i8",  # how many of them there are
        "count": "i8",
        "paths": "i8",  # address of the hops of routes with several, one i8 each: their number, then they
        "path_room": "i8",
        "path_count": "i8",
        "table": "i8",  # the number of the kernel's routing table that is read
        "sequence": "i8",  # of the dump that is read; 0: notifications are
        "done": "i8",  # the dump is complete
        "interrupted": "i8",  # the table has changed while it was dumped
        "error": "i8",  # what the kernel answered instead, -errno
        "full": "i8",  # there was no room for a route, or its hops
        "relinked": "i8",  # a notification of links or addresses, which does not tell what routes went with them
        "malformed": "i8",  # messages, or attributes, that do not fit what they are in
        "unsupported": "i8",  # routes that this forwarding table cannot have: a gateway of another family
    },
)

#: One change of a router's routes, told to the platform.
CHANGE = Layout("change", {"kind": "i8", "key": "i8", "hop": "i8", "more": "i8"}, size=32)
#: A route is set or removed; one hop of the group `key` follows, of which `more` are to come; a whole table begins, and
#: ends: what has not been set in between is gone.
SET, REMOVE, PATH, BEGIN, END = 1, 2, 3, 4, 5

#: A ring of CHANGEs from a router's reader to the platform.
FEED = Layout(
    "feed",
    {
        "stop": ("i8", 0),  # platform: the reader is to end
        "wanted": "i8",  # platform: counts how often it has asked for the whole table
        "hold_until_ns": "i8",  # platform: the monotonic clock up to which no route is removed
        "tail": ("i8", APART),  # platform: changes taken
        "head": ("i8", 2 * APART),  # reader: changes told
        "told": "i8",  # reader: the platform's `wanted` when it last told the whole table
        "pid": "i8",  # reader
        "dumps": "i8",  # reader: tables read
        "again": "i8",  # reader: tables that changed while they were read, and were read again
        "lost": "i8",  # reader: times that the kernel had no room for notifications
        "routes": "i8",  # reader: routes in the table
        "beyond": "i8",  # reader: routes beyond the most that a router may have
        "malformed": "i8",  # reader
        "unsupported": "i8",  # reader
        "error": "i8",  # reader: errno of what keeps it from reading
        "changes": ("i8", 3 * APART),  # set once: address of the ring
        "size": "i8",  # set once: CHANGEs in it, a power of two
        "most": "i8",  # set once: most routes that the router may have
    },
    size=4 * APART,
)

#: One TAP of a control plane; those of a PUMP lie in a row.
PUMP_PORT = Layout(
    "pump_port",
    {
        "up": "i8",  # set once: ring of frames for the TAP
        "down": "i8",  # set once: the router's RX ring
        "tap": "i8",  # pump: its descriptor of the TAP
        "sent": "i8",  # pump: frames written to the TAP
        "refused": "i8",  # pump: frames that the TAP did not take
        "received": "i8",  # pump: frames read from it, for which there was room
    },
    size=64,
)

#: What moves frames between a router and the TAPs of its control plane.
PUMP = Layout(
    "pump",
    {
        "stop": ("i8", 0),  # platform: the process is to end
        "ports": "i8",  # set once: address of its PUMP_PORTs
        "count": "i8",  # set once
        "buffer": "i8",  # set once: room for a frame
        "epoll": ("i8", APART),  # pump: descriptor of the epoll instance of all TAPs
        "idle": "i8",  # pump: rounds in a row that have moved nothing
        "rounds": "i8",  # pump
        "events": "8*i8",  # pump: what epoll returns
    },
    size=3 * APART,
)
