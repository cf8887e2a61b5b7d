# SPDX-License-Identifier: MIT
"""The forwarding table: longest prefix match in a 16-8-8 trie.

One table serves every lookup element. The reader makes one to three loads; the writer keeps the routes
(the RIB) to itself and changes the trie so that a reader always finds either the old answer or the new
one: a chunk is complete before the word that points to it is stored.

Layout of the area, in 32-bit words::

    0                     65,536 first-level entries of 64 bits, by the upper 16 bits of the address
    131072                chunks of 256 entries, by the third byte, then by the fourth
    131072 + 256*chunks   next hops: (gateway, output) pairs, then those that groups consist of

An entry is 0 for no route, `CHUNK | n` for chunk n, else one plus the number of a next hop. A first-level
entry has one in its lower half, and in its upper half the answer of the longest prefix of at most 16 bits. Chunks know
only of longer ones; where a chunk says 0, that answer is it. So what a change touches is bounded, however many routes
there are: a short prefix is in no chunk, and a longer one in at most 129.

A next hop whose output has the bit GROUP is several: its gateway says at which pair they begin, the lower half of its
output how many they are. Packets are spread over them by their flow (RFC 2992).

A chunk, or next hop, that no route needs any more is taken out of the trie at once; it is used again only after all
readers have finished what they were in, for one of them may just have read the word that led to it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from shm.intrinsics import acquire64, kernel, load32, load64, unlikely
from shm.route_layout import MOST_PATHS

FIRST = 1 << 16
#: Where the chunks begin, in words.
_CHUNKS = 2 * FIRST
CHUNK = 1 << 31
_LOWER = 0xFFFFFFFF
#: Different (gateway, output) pairs that a table holds.
HOPS = 4096
#: Different sets of next hops that a table holds.
GROUPS = 256
#: In an output: the next hop is a group. All bits: the route leads nowhere (RFC 1812, section 5.2.4.3).
GROUP, NOWHERE = 1 << 31, 0xFFFFFFFF
#: Marks an entry that leads to a chunk: longer than any prefix.
BELOW = 255


class FibError(ValueError):
    """A route that cannot be added, removed or found."""


def table_bytes(chunks: int) -> int:
    """Return the size of a table with room for `chunks` chunks."""
    return hops_at(chunks) + 8 * (HOPS + GROUPS * MOST_PATHS)


def hops_at(chunks: int) -> int:
    """Return where the next hops of such a table begin, in bytes."""
    return 4 * (_CHUNKS + 256 * chunks)


@kernel
def _in_chunk(table, first, address):
    """Return the answer of the chunks under a first-level entry, 0 if no prefix longer than 16 bits matches."""
    entry = load32(table + (_CHUNKS + (first & CHUNK - 1) * 256 + (address >> 8 & 255)) * 4)
    if entry & CHUNK:
        entry = load32(table + (_CHUNKS + (entry & ~CHUNK) * 256 + (address & 255)) * 4)
    return entry


@kernel
def lookup(table, address):
    """Return one plus the next hop's number for `address` (network order as integer), 0 for no route."""
    place = table + (address >> 16) * 8
    first = load64(place)
    if first & CHUNK == 0:
        return first & _LOWER
    entry = _in_chunk(table, first, address)
    if entry == 0:
        # A longer prefix may have gone after a short one came, since the entry was read: then both are read again.
        again = acquire64(place)
        entry = again >> 32
        if unlikely(again != first):
            longer = _in_chunk(table, again, address) if again & CHUNK else 0
            if longer:
                entry = longer
    return entry


@kernel
def member(hops, hop, flow):
    """Return the address of the next hop, of the group at `hop`, for a flow: a hash of 16 bits."""
    # Each has an equal part of the hash's range, so few flows move when one comes or goes (RFC 2992).
    at = load32(hop) + (flow * (load32(hop + 4) & 0xFFFF) >> 16)
    return hops + at * 8


class Retired(NamedTuple):
    """Chunks and next hops that no route needs, but that a reader may still have found."""

    chunks: list[int]
    hops: set[int]


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
        Waits until every reader has finished its present slice. Raises if that is impossible now. It is called only if
        there is no room but what has been freed.
    """

    def __init__(self, address: int, chunks: int) -> None:
        import ctypes

        import numpy as np

        words: Any = (ctypes.c_char * table_bytes(chunks)).from_address(int(address))
        whole = np.frombuffer(words, dtype=np.uint32)
        self._first = whole[:_CHUNKS].view(np.int64)
        self._chunks = whole[_CHUNKS : _CHUNKS + 256 * chunks].reshape(chunks, 256)
        self._hops = whole[_CHUNKS + 256 * chunks :].reshape(HOPS + GROUPS * MOST_PATHS, 2)
        # Length of the prefix that each answer comes from, plus one; 0 for no route, BELOW if a chunk is below.
        self._short_length = np.zeros(FIRST, dtype=np.uint8)
        self._chunk_length = np.zeros((chunks, 256), dtype=np.uint8)
        # Chunks, and next hops, by how many routes need them.
        self._needed = np.zeros(chunks, np.int64)
        self._hop_needed = [0] * HOPS
        self._free = list(range(chunks - 1, -1, -1))
        self._free_hops = list(range(HOPS - 1, -1, -1))
        # Out of the trie, but a reader may still be there.
        self._left: list[int] = []
        self._left_hops: set[int] = set()
        self._hop_of: dict[tuple[int, int], int] = {}
        self._groups: dict[tuple[tuple[int, int], ...], int] = {}
        #: Groups that have been asked for, and that no route needs yet.
        self._awaited_groups: set[int] = set()
        self._free_groups = list(range(GROUPS - 1, -1, -1))
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
        """Add or replace a route. Raises FibError if the table is full; nothing has changed then."""
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
            for chunk, _ in self._under(address, length):
                self._needed[chunk] += 1

    def remove(self, address: int, length: int) -> None:
        """Remove a route; the next shorter one takes its place. Raises FibError if there is none."""
        address &= _mask(length)
        if address not in self.routes[length]:
            raise FibError("no such route")
        gone = self.routes[length].pop(address)
        value = mark = 0
        # In a chunk there is nothing of the short ones.
        for shorter in range(length - 1, 16 if length > 16 else -1, -1):
            route = self.routes[shorter].get(address & _mask(shorter))
            if route:
                value, mark = self._hop_of[route] + 1, shorter + 1
                break
        self._paint(address, length, value, mark, length + 1)
        for chunk, parent in reversed(self._under(address, length)):
            self._needed[chunk] -= 1
            if self._needed[chunk] == 0:
                # No route ends below: all its entries are alike, and what is above says the same.
                if parent is None:
                    short = int(self._first[address >> 16]) >> 32
                    self._first[address >> 16] = short << 32 | short
                else:
                    at = parent, address >> 8 & 255
                    self._chunks[at], self._chunk_length[at] = self._chunks[chunk, 0], self._chunk_length[chunk, 0]
                self._left.append(chunk)
        self._let_go_hop(gone)

    def flush(self) -> None:
        """Remove all routes, at once."""
        self._first[:] = 0
        self._short_length[:] = 0
        self._left += self._needed.nonzero()[0].tolist()
        self._left_hops.update(number for number, needed in enumerate(self._hop_needed) if needed)
        self._needed[:] = 0
        self._hop_needed = [0] * HOPS
        self.routes = [{} for _ in range(33)]

    def _under(self, address: int, length: int) -> list[tuple[int, int | None]]:
        """Return the chunks that a prefix is in, each with the chunk above it, None for the first."""
        found: list[tuple[int, int | None]] = []
        if length > 16:
            found.append((int(self._first[address >> 16]) & CHUNK - 1, None))
        if length > 24:
            second = found[0][0]
            found.append((int(self._chunks[second, address >> 8 & 255]) & ~CHUNK, second))
        return found

    def find(self, address: int) -> tuple[int, int] | None:
        """Return (gateway, output) for an address from the routes, not from the trie."""
        for length in range(32, -1, -1):
            route = self.routes[length].get(address & _mask(length))
            if route:
                return route
        return None

    def _make_room(self, address: int, length: int) -> None:
        """Ensure that there is room for the chunks of a prefix. Raises FibError."""
        entry = int(self._first[address >> 16])
        lacking = int(length > 16 and not entry & CHUNK)
        if length > 24 and (lacking or not int(self._chunks[entry & CHUNK - 1, address >> 8 & 255]) & CHUNK):
            lacking += 1
        if len(self._free) < lacking:
            self._reclaim()
        if len(self._free) < lacking:
            raise FibError("the table is full: raise its CAPACITY")

    def _reclaim(self) -> None:
        """Reclaim what no reader can be using any more, once it has waited for them."""
        if self._left or self._left_hops:
            self.await_readers()
            self.reuse(self.retire())

    def retire(self) -> Retired:
        """Return what is out of the trie, to be reused when every reader has finished its present slice."""
        # A group that has been asked for is about to be needed.
        kept = {
            n for n in self._left_hops if self._hop_needed[n] == 0 and int(self._hops[n, 0]) in self._awaited_groups
        }
        retired = Retired(self._left, self._left_hops - kept)
        self._left, self._left_hops = [], kept
        return retired

    def reuse(self, retired: Retired) -> None:
        """Free what no reader can be using any more."""
        self._free += retired.chunks
        for number in retired.hops:
            # It may be needed again.
            if self._hop_needed[number] == 0 and number not in self._left_hops:
                hop = int(self._hops[number, 0]), int(self._hops[number, 1])
                del self._hop_of[hop]
                self._free_hops.append(number)
                if hop[1] & GROUP and hop[1] != NOWHERE:
                    self._free_group((hop[0] - HOPS) // MOST_PATHS)

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
        self._awaited_groups.discard(gateway)
        return number

    def group(self, members: tuple[tuple[int, int], ...]) -> tuple[int, int]:
        """Return the next hop that spreads packets over at most MOST_PATHS others. Raises FibError."""
        number = self._groups.get(members)
        if number is None:
            if not self._free_groups:
                self._awaited_groups.clear()
                self._reclaim()
            if not self._free_groups:
                raise FibError(f"more than {GROUPS} different sets of next hops")
            number = self._groups[members] = self._free_groups.pop()
            first = HOPS + number * MOST_PATHS
            self._hops[first : first + len(members)] = members
        self._awaited_groups.add(HOPS + number * MOST_PATHS)
        return HOPS + number * MOST_PATHS, GROUP | len(members)

    def _free_group(self, number: int) -> None:
        del self._groups[next(members for members, found in self._groups.items() if found == number)]
        self._free_groups.append(number)

    def members(self, hop: tuple[int, int]) -> list[tuple[int, int]]:
        """Return what a next hop consists of: itself, if it is no group."""
        first, count = hop[0], hop[1] & 0xFFFF
        if hop[1] == NOWHERE or not hop[1] & GROUP:
            return [hop]
        return [(int(gateway), int(output)) for gateway, output in self._hops[first : first + count]]

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
        if length <= 16:
            self._paint_short(slice(address >> 16, (address >> 16) + (1 << (16 - length))), value, mark, above)
            return
        second, low = self._second(address >> 16), address >> 8 & 255
        if length <= 24:
            self._paint_chunk(second, slice(low, low + (1 << (24 - length))), value, mark, above)
            return
        third, low = self._third(second, low), address & 255
        self._paint_chunk(third, slice(low, low + (1 << (32 - length))), value, mark, above)

    def _paint_short(self, span: slice, value: int, mark: int, above: int) -> None:
        first, marks = self._first[span], self._short_length[span]
        ours = marks <= above
        lower = first[ours] & _LOWER
        lower[lower < CHUNK] = value
        first[ours] = value << 32 | lower
        marks[ours] = mark

    def _paint_chunk(self, chunk: int, span: slice, value: int, mark: int, above: int) -> None:
        row, marks = self._chunks[chunk, span], self._chunk_length[chunk, span]
        if len(row) == 1 and marks[0] != BELOW:
            if marks[0] <= above:
                row[0], marks[0] = value, mark
            return
        below = row[marks == BELOW] & (CHUNK - 1)
        ours = marks <= above
        row[ours], marks[ours] = value, mark
        if len(below):
            which, places = (self._chunk_length[below] <= above).nonzero()
            self._chunks[below[which], places] = value
            self._chunk_length[below[which], places] = mark

    def _second(self, at: int) -> int:
        """Return the chunk under a first-level entry; make an empty one if there is none."""
        entry = int(self._first[at])
        if entry & CHUNK:
            return entry & CHUNK - 1
        number = self._blank(0, 0)
        self._first[at] = entry >> 32 << 32 | CHUNK | number
        return number

    def _third(self, second: int, at: int) -> int:
        """Return the chunk under an entry of a chunk; make one from the entry's answer if there is none."""
        entry = int(self._chunks[second, at])
        if entry & CHUNK:
            return entry & ~CHUNK
        number = self._blank(entry, self._chunk_length[second, at])
        self._chunks[second, at], self._chunk_length[second, at] = CHUNK | number, BELOW
        return number

    def _blank(self, value: int, mark: int) -> int:
        """Return a free chunk, all of whose entries are `value`, before any reader can reach it."""
        number = self._free.pop()
        self._chunks[number], self._chunk_length[number] = value, mark
        self._publish()
        return number


def chunks_for(routes: Iterable[tuple[int, int]]) -> int:
    """Return how many chunks these (address, length) prefixes take."""
    routes = list(routes)
    second = {address >> 16 for address, length in routes if length > 16}
    third = {address >> 8 for address, length in routes if length > 24}
    return len(second) + len(third)


def _mask(length: int) -> int:
    return 0xFFFFFFFF << (32 - length) & 0xFFFFFFFF
