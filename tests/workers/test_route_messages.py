# SPDX-License-Identifier: MIT
"""Routes out of netlink messages: what they say is taken, what they claim is not believed."""

from __future__ import annotations

import ctypes
import struct

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shm.route_layout import DISCARD, HOP_GATEWAY, HOP_WEIGHT, KEY_BITS, PARSED, PATHS, ROUTE
from workers.control.route_messages import parse_messages
from workers.control.route_table import records

NEW, GONE, LINK = 24, 25, 17


def attribute(kind, value):
    data = value if isinstance(value, bytes) else struct.pack("I", value)
    return struct.pack("HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def network(text):
    return bytes(int(part) for part in text.split("."))


def message(prefix, *attributes, kind=NEW, sequence=0, type_=1, table=254, flags=0, family=2):
    address, length = prefix.split("/")
    body = struct.pack("BBBBBBBBI", family, int(length), 0, 0, table, 4, 0, type_, flags)
    body += attribute(1, network(address)) + b"".join(attributes)
    return struct.pack("IHHII", 16 + len(body), kind, 0, sequence, 0) + body


def parse(data, sequence=0, behind=b"\xff" * 64, room=64):
    """Parse a buffer with something behind it; return what is found."""
    memory = ctypes.create_string_buffer(data + behind, len(data) + len(behind))
    routes, paths = np.zeros(room * 4, np.int64), np.zeros(room * 2, np.int64)
    parsed = np.zeros(1, PARSED.dtype)
    state = parsed[0]
    state["routes"], state["room"], state["table"], state["sequence"] = routes.ctypes.data, room, 254, sequence
    state["paths"], state["path_room"] = paths.ctypes.data, len(paths)
    parse_messages(parsed.ctypes.data, ctypes.addressof(memory), len(data))
    assert ROUTE.size == 32
    return state, records(routes, int(state["count"])).tolist(), paths


def key(text, length):
    return int.from_bytes(network(text), "big") << KEY_BITS | length


def hop(gateway, port, weight=1):
    return weight - 1 << HOP_WEIGHT | int.from_bytes(network(gateway), "big") << HOP_GATEWAY | port


def test_routes_are_taken_and_others_tables_are_not():
    next_hops = b"".join(
        struct.pack("HBBi", 16, flags, weight - 1, port) + attribute(5, network(gateway))
        for gateway, port, weight, flags in (("10.0.0.2", 3, 1, 0), ("10.0.1.2", 4, 2, 0), ("10.0.2.2", 5, 1, 16))
    )
    data = b"".join(
        (
            message("10.1.2.0/24", attribute(5, network("10.0.0.2")), attribute(4, 3), attribute(6, 20)),
            message("10.0.0.7/24", attribute(4, 3)),
            message("10.2.0.0/16", attribute(9, next_hops)),
            message("10.3.0.0/16", type_=6),
            message("10.4.0.0/16", attribute(4, 3), table=255),
            message("10.5.0.0/16", attribute(4, 3), attribute(15, 1000), table=252),
            message("10.6.0.0/16", attribute(4, 3), flags=16),
            message("10.7.0.0/16", attribute(18, b"\x0a\x00" + bytes(16)), attribute(4, 3)),
            message("10.8.0.0/16", attribute(4, 3), kind=GONE),
            message("10.9.0.0/16", attribute(4, 3), family=10),
            struct.pack("IHHII", 32, LINK, 0, 0, 0) + bytes(16),
        )
    )
    state, routes, paths = parse(data)
    assert routes == [
        (key("10.1.2.0", 24), 20, hop("10.0.0.2", 3), 0),
        (key("10.0.0.0", 24), 0, hop("0.0.0.0", 3), 0),
        (key("10.2.0.0", 16), 0, PATHS, 0),
        (key("10.3.0.0", 16), 0, DISCARD, 0),
        (key("10.8.0.0", 16), 0, hop("0.0.0.0", 3), 1),
    ]
    assert paths[:3].tolist() == [2, hop("10.0.0.2", 3), hop("10.0.1.2", 4, 2)]
    assert (state["relinked"], state["unsupported"], state["malformed"]) == (1, 1, 0)


def test_the_end_of_a_dump_and_its_errors_are_its_own():
    done, error = (
        struct.pack("IHHIIi", 20, kind, flags, 7, 0, code) for kind, flags, code in ((3, 0, 0), (2, 0, -105))
    )
    assert parse(done, sequence=8)[0]["done"] == 0
    assert parse(done, sequence=7)[0]["done"] == 1
    state, _, _ = parse(error, sequence=7)
    assert (state["done"], state["error"]) == (1, -105)
    interrupted = message("10.0.0.0/8", attribute(4, 3), sequence=7)
    state, _, _ = parse(interrupted[:6] + b"\x10\x00" + interrupted[8:], sequence=7)
    assert state["interrupted"] == 1


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_nothing_is_read_beyond_the_buffer(data):
    whole = message("10.1.2.0/24", attribute(5, network("10.0.0.2")), attribute(4, 3))
    inner = struct.pack("HBBi", 16, 0, 0, 3) + attribute(5, network("10.0.0.2"))
    whole += message("10.2.0.0/16", attribute(9, inner * 2))
    changed = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for at in data.draw(st.lists(st.integers(0, max(0, len(changed) - 1)), max_size=6)):
        if changed:
            changed[at] = data.draw(st.integers(0, 255))
    # What is behind the end makes no difference, so it has not been looked at.
    one = parse(bytes(changed), behind=b"\x00" * 256)
    other = parse(bytes(changed), behind=bytes(range(1, 256)) + b"\x08")
    assert one[1] == other[1] and one[2].tolist() == other[2].tolist()
    names = [name for name in PARSED.fields if name not in ("routes", "paths")]
    assert [one[0][name] for name in names] == [other[0][name] for name in names]
