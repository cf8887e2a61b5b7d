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

A chunk, or next hop, that no route needs any more is taken out of the trie at once; it is used again only after all
readers have finished what they were in, for one of them may just have read the word that led to it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

from shm.intrinsics import kernel, load32

FIRST = 1 << 16
CHUNK = 1 << 31
#: Different (gateway, output) pairs that a table holds.
HOPS = 4096
#: Marks an entry that leads to a chunk: longer than any prefix.
_BELOW = 255
#: Chunks whose entries are set together: some hundred kilobytes.
_AT_ONCE = 64


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

    Attributes
    ----------
    await_readers : callable
        Returns when every reader has finished what it was in when this was called. Raises where that cannot be waited
        for. It is called only where there is no room but what has been given back.
    """

    def __init__(self, address: int, chunks: int) -> None:
        import ctypes

        import numpy as np

        words: Any = (ctypes.c_char * table_bytes(chunks)).from_address(int(address))
        whole = np.frombuffer(words, dtype=np.uint32)
        self._first = whole[:FIRST]
        self._chunks = whole[FIRST : FIRST + 256 * chunks].reshape(chunks, 256)
        self._hops = whole[FIRST + 256 * chunks :].reshape(HOPS, 2)
        # Length of the prefix that each entry comes from, plus one; 0 for no route, _BELOW where a chunk is below.
        self._first_length = np.zeros(FIRST, dtype=np.uint8)
        self._chunk_length = np.zeros((chunks, 256), dtype=np.uint8)
        # Chunks, and next hops, by how many routes need them.
        self._needed = [0] * chunks
        self._hop_needed = [0] * HOPS
        self._free = list(range(chunks - 1, -1, -1))
        self._free_hops = list(range(HOPS - 1, -1, -1))
        # Out of the trie, but a reader may still be there.
        self._left: list[int] = []
        self._left_hops: set[int] = set()
        self._hop_of: dict[tuple[int, int], int] = {}
        self._lock = threading.Lock()
        self.await_readers: Callable[[], object] = lambda: None
        #: Prefix length to {address: (gateway, output)}.
        self.routes: list[dict[int, tuple[int, int]]] = [{} for _ in range(33)]

    def __len__(self) -> int:
        return sum(len(level) for level in self.routes)

    def load(self, routes: Iterable[tuple[int, int, int, int]]) -> None:
        """Add many `(address, length, gateway, output)` routes, short prefixes first; later ones win."""
        for address, length, gateway, output in sorted(routes, key=lambda route: route[1]):
            self.add(address, length, gateway, output)

    def add(self, address: int, length: int, gateway: int, output: int) -> None:
        """Add or replace a route. Raises FibError where the table is full; nothing has changed then."""
        address &= _mask(length)
        before = self.routes[length].get(address)
        if before == (gateway, output):
            return
        self._make_room(address, length)
        number = self._hop(gateway, output)
        self._paint(address, length, number + 1, length + 1, length + 1)
        self.routes[length][address] = (gateway, output)
        if before:
            self._let_go_hop(before)
        elif length > 16:
            for chunk, _, _, _ in self._under(address, length):
                self._needed[chunk] += 1

    def remove(self, address: int, length: int) -> None:
        """Remove a route; the next shorter one takes its place. Raises FibError where there is none."""
        address &= _mask(length)
        if address not in self.routes[length]:
            raise FibError("no such route")
        gone = self.routes[length].pop(address)
        value = mark = 0
        for shorter in range(length - 1, -1, -1):
            route = self.routes[shorter].get(address & _mask(shorter))
            if route:
                value, mark = self._hop_of[route] + 1, shorter + 1
                break
        self._paint(address, length, value, mark, length + 1)
        for chunk, row, lengths, at in reversed(self._under(address, length)):
            self._needed[chunk] -= 1
            if self._needed[chunk] == 0:
                # No route ends below: all its entries are alike, and the one above says the same.
                row[at], lengths[at] = self._chunks[chunk, 0], self._chunk_length[chunk, 0]
                self._left.append(chunk)
        self._let_go_hop(gone)

    def _under(self, address: int, length: int) -> list[tuple[int, Any, Any, int]]:
        """Return the chunks that a prefix is in, each with the row, its lengths and the place that lead to it."""
        found: list[tuple[int, Any, Any, int]] = []
        row, lengths = self._first, self._first_length
        for longer, at in ((16, address >> 16), (24, address >> 8 & 255)):
            if length > longer:
                chunk = int(row[at]) & ~CHUNK
                found.append((chunk, row, lengths, at))
                row, lengths = self._chunks[chunk], self._chunk_length[chunk]
        return found

    def find(self, address: int) -> tuple[int, int] | None:
        """Return (gateway, output) for an address from the routes, not from the trie."""
        for length in range(32, -1, -1):
            route = self.routes[length].get(address & _mask(length))
            if route:
                return route
        return None

    def _make_room(self, address: int, length: int) -> None:
        """See to it that there is room for the chunks of a prefix. Raises FibError."""
        entry = int(self._first[address >> 16])
        lacking = int(length > 16 and not entry & CHUNK)
        if length > 24 and (lacking or not int(self._chunks[entry & ~CHUNK, address >> 8 & 255]) & CHUNK):
            lacking += 1
        if len(self._free) < lacking:
            self._reclaim()
        if len(self._free) < lacking:
            raise FibError("the table is full: raise its CAPACITY")

    def _reclaim(self) -> None:
        """Take back what no reader can be at any more."""
        if self._left or self._left_hops:
            self.await_readers()
            self._free += self._left
            for number in self._left_hops:
                # It may be needed again.
                if self._hop_needed[number] == 0:
                    del self._hop_of[int(self._hops[number, 0]), int(self._hops[number, 1])]
                    self._free_hops.append(number)
            self._left, self._left_hops = [], set()

    def _hop(self, gateway: int, output: int) -> int:
        """Return the number of a next hop that one more route needs. Raises FibError."""
        number = self._hop_of.get((gateway, output))
        if number is None:
            if not self._free_hops:
                self._reclaim()
            if not self._free_hops:
                raise FibError(f"more than {HOPS} different next hops")
            number = self._hop_of[gateway, output] = self._free_hops.pop()
            self._hops[number] = gateway, output
            self._publish()
        self._hop_needed[number] += 1
        return number

    def _let_go_hop(self, hop: tuple[int, int]) -> None:
        number = self._hop_of[hop]
        self._hop_needed[number] -= 1
        if self._hop_needed[number] == 0:
            self._left_hops.add(number)

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
        number = self._free.pop()
        self._chunks[number] = entry
        self._chunk_length[number] = lengths[at]
        self._publish()
        row[at], lengths[at] = CHUNK | number, _BELOW
        return number

    def _span(self, row: Any, lengths: Any, low: int, high: int, value: int, mark: int, above: int) -> None:
        if high - low == 1 and lengths[low] != _BELOW:
            if lengths[low] <= above:
                row[low], lengths[low] = value, mark
            return
        part, marks = row[low:high], lengths[low:high]
        below = part[marks == _BELOW] & 0x7FFFFFFF
        ours = marks <= above
        part[ours] = value
        marks[ours] = mark
        for first in range(0, len(below), _AT_ONCE):
            self._span_all(below[first : first + _AT_ONCE], value, mark, above)

    def _span_all(self, chunks: Any, value: int, mark: int, above: int) -> None:
        """Set the entries of whole chunks, and of those below them."""
        marks = self._chunk_length[chunks]
        which, places = (marks == _BELOW).nonzero()
        below = self._chunks[chunks[which], places] & 0x7FFFFFFF
        which, places = (marks <= above).nonzero()
        self._chunks[chunks[which], places] = value
        self._chunk_length[chunks[which], places] = mark
        for first in range(0, len(below), _AT_ONCE):
            self._span_all(below[first : first + _AT_ONCE], value, mark, above)


def chunks_for(routes: Iterable[tuple[int, int]]) -> int:
    """Return how many chunks these (address, length) prefixes take."""
    routes = list(routes)
    second = {address >> 16 for address, length in routes if length > 16}
    third = {address >> 8 for address, length in routes if length > 24}
    return len(second) + len(third)


def _mask(length: int) -> int:
    return 0xFFFFFFFF << (32 - length) & 0xFFFFFFFF
