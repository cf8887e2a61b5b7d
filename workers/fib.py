# SPDX-License-Identifier: MIT
"""The forwarding table: longest prefix match in a 16-8-8 trie.

One table serves every lookup element. The reader makes one to three loads; the writer keeps the routes
(the RIB) to itself and changes the trie so that a reader always finds either the old answer or the new
one: a chunk is complete before the word that points to it is stored.

Layout of the area, in 32-bit words::

    0                    65,536 first-level entries, by the upper 16 bits of the address
    65536                chunks of 256 entries, by the third byte, then by the fourth
    65536 + 256*chunks   next hops: (gateway, output) pairs

An entry is 0 for no route, `CHUNK | n` for chunk n, else one plus the number of a next hop.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from shm.memory import kernel, load32

FIRST = 1 << 16
CHUNK = 1 << 31
#: Different (gateway, output) pairs that a table holds.
HOPS = 4096


class FibError(ValueError):
    """A route that cannot be added, removed or found."""


def table_bytes(chunks: int) -> int:
    """Return the size of a table with room for `chunks` chunks."""
    return 4 * (FIRST + 256 * chunks + 2 * HOPS)


@kernel
def lookup(table, address):
    """Return one plus the next hop's number for `address` (network order as integer), 0 for no route."""
    entry = load32(table + (address >> 16) * 4)
    if entry & CHUNK:
        entry = load32(table + (FIRST + (entry & ~CHUNK) * 256 + (address >> 8 & 255)) * 4)
        if entry & CHUNK:
            entry = load32(table + (FIRST + (entry & ~CHUNK) * 256 + (address & 255)) * 4)
    return entry


class Fib:
    """The one writer of a table.

    Parameters
    ----------
    address : int
        Where the table is.
    chunks : int
        Chunks it has room for.

    Notes
    -----
    A chunk, once made, stays: a reader may be following the pointer to it at any time.
    """

    def __init__(self, address: int, chunks: int) -> None:
        import ctypes

        import numpy as np

        words: Any = (ctypes.c_char * table_bytes(chunks)).from_address(int(address))
        whole = np.frombuffer(words, dtype=np.uint32)
        self._first = whole[:FIRST]
        self._chunks = whole[FIRST : FIRST + 256 * chunks].reshape(chunks, 256)
        self._hops = whole[FIRST + 256 * chunks :].reshape(HOPS, 2)
        # Length of the prefix that each entry comes from, plus one; 0 for no route.
        self._first_length = np.zeros(FIRST, dtype=np.uint8)
        self._chunk_length = np.zeros((chunks, 256), dtype=np.uint8)
        self._free = list(range(chunks - 1, -1, -1))
        self._hop_of: dict[tuple[int, int], int] = {}
        self._lock = threading.Lock()
        #: Prefix length to {address: (gateway, output)}.
        self.routes: list[dict[int, tuple[int, int]]] = [{} for _ in range(33)]

    def __len__(self) -> int:
        return sum(len(level) for level in self.routes)

    def load(self, routes: Iterable[tuple[int, int, int, int]]) -> None:
        """Add many `(address, length, gateway, output)` routes, short prefixes first; later ones win."""
        for address, length, gateway, output in sorted(routes, key=lambda route: route[1]):
            self.add(address, length, gateway, output)

    def add(self, address: int, length: int, gateway: int, output: int) -> None:
        """Add or replace a route. Raises FibError where the table is full."""
        address &= _mask(length)
        value = self._hop(gateway, output) + 1
        self._paint(address, length, value, length + 1, length + 1)
        self.routes[length][address] = (gateway, output)

    def remove(self, address: int, length: int) -> None:
        """Remove a route; the next shorter one takes its place. Raises FibError where there is none."""
        address &= _mask(length)
        if address not in self.routes[length]:
            raise FibError("no such route")
        del self.routes[length][address]
        value = mark = 0
        for shorter in range(length - 1, -1, -1):
            route = self.routes[shorter].get(address & _mask(shorter))
            if route:
                value, mark = self._hop(*route) + 1, shorter + 1
                break
        self._paint(address, length, value, mark, length + 1)

    def find(self, address: int) -> tuple[int, int] | None:
        """Return (gateway, output) for an address from the routes, not from the trie."""
        for length in range(32, -1, -1):
            route = self.routes[length].get(address & _mask(length))
            if route:
                return route
        return None

    def _hop(self, gateway: int, output: int) -> int:
        number = self._hop_of.get((gateway, output))
        if number is None:
            if len(self._hop_of) == HOPS:
                raise FibError(f"more than {HOPS} different next hops")
            number = self._hop_of[gateway, output] = len(self._hop_of)
            self._hops[number] = gateway, output
            self._publish()
        return number

    def _publish(self) -> None:
        # Two rounds order the stores before them against the stores after them on any processor: the
        # first unlock is a release, the second lock an acquire of the same word.
        for _ in range(2):
            with self._lock:
                pass

    def _paint(self, address: int, length: int, value: int, mark: int, above: int) -> None:
        """Set the entries under a prefix whose own prefix is not longer: mark at most `above`."""
        low = address >> 16
        if length <= 16:
            self._span(self._first, self._first_length, low, low + (1 << (16 - length)), value, mark, above)
            return
        second = self._descend(self._first, self._first_length, low)
        low = address >> 8 & 255
        if length <= 24:
            row, lengths = self._chunks[second], self._chunk_length[second]
            self._span(row, lengths, low, low + (1 << (24 - length)), value, mark, above)
            return
        third = self._descend(self._chunks[second], self._chunk_length[second], low)
        low = address & 255
        row, lengths = self._chunks[third], self._chunk_length[third]
        self._span(row, lengths, low, low + (1 << (32 - length)), value, mark, above)

    def _descend(self, row: Any, lengths: Any, at: int) -> int:
        """Return the chunk under an entry, made from the entry's answer where there is none yet."""
        entry = int(row[at])
        if entry & CHUNK:
            return entry & ~CHUNK
        if not self._free:
            raise FibError("the table is full: raise its CAPACITY")
        number = self._free.pop()
        self._chunks[number] = entry
        self._chunk_length[number] = lengths[at]
        self._publish()
        row[at] = CHUNK | number
        return number

    def _span(self, row: Any, lengths: Any, low: int, high: int, value: int, mark: int, above: int) -> None:
        if high - low == 1 and not row[low] & CHUNK:
            if lengths[low] <= above:
                row[low] = value
                lengths[low] = mark
            return
        part, marks = row[low:high], lengths[low:high]
        chunk = (part & CHUNK) != 0
        for number in part[chunk] & 0x7FFFFFFF:
            self._span(self._chunks[number], self._chunk_length[number], 0, 256, value, mark, above)
        ours = ~chunk & (marks <= above)
        part[ours] = value
        marks[ours] = mark


def chunks_for(routes: Iterable[tuple[int, int]]) -> int:
    """Return how many chunks these (address, length) prefixes take."""
    routes = list(routes)
    second = {address >> 16 for address, length in routes if length > 16}
    third = {address >> 8 for address, length in routes if length > 24}
    return len(second) + len(third)


def _mask(length: int) -> int:
    return 0xFFFFFFFF << (32 - length) & 0xFFFFFFFF
