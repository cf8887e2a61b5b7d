# SPDX-License-Identifier: MIT
"""What the author of an element needs, trusted or not: `from vre.element import Element, Argument, DROP, be16`.

An element is a class with a declaration (its ports, arguments and state) and one of three functions:

| function | runs | where |
| --- | --- | --- |
| `process(state, packet)` | compiled, for each packet | in dom0, where it is trusted; in the domU, where not |
| `push(self, packet)` | in the interpreter, for each packet: :class:`workers.domu.packets.Packet` | in the domU |
| `batch(self, packets)` | in the interpreter, for many packets: :class:`workers.domu.packets.Packets` | in the domU |
"""

from shm.intrinsics import (
    be16,
    be32,
    load8,
    load16,
    load32,
    load64,
    put_be16,
    put_be32,
    store8,
    store16,
    store32,
    store64,
)
from workers.arguments import (
    REQUIRED,
    Argument,
    between,
    boolean,
    data,
    ether,
    integer,
    ip,
    prefix,
    rate,
    seconds,
    string,
)
from workers.datapath.packet import DROP
from workers.element import Element

__all__ = [
    "DROP",
    "REQUIRED",
    "Argument",
    "Element",
    "be16",
    "be32",
    "between",
    "boolean",
    "data",
    "ether",
    "integer",
    "ip",
    "load8",
    "load16",
    "load32",
    "load64",
    "prefix",
    "put_be16",
    "put_be32",
    "rate",
    "seconds",
    "store8",
    "store16",
    "store32",
    "store64",
    "string",
]
