# SPDX-License-Identifier: MIT
"""Many changes of a forwarding table at once: 1 us each instead of 20, a million routes in seconds.

What :class:`workers.datapath.fib.Fib` does route by route is done here for all prefixes of one length together. They do
not overlap, so it does not matter in which order; readers find the old or the new answer of each, as there. Prefixes of
at most 16 bits are few, and those that longer ones are below are fewer: they are left to the Fib.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from workers.datapath.fib import BELOW, CHUNK, Fib, FibError

Words = npt.NDArray[np.int64]
Hop = tuple[int, int]


def set_routes(fib: Fib, addresses: Words, lengths: Words, hops: list[Hop], which: Words) -> list[int]:
    """Add or replace routes, of which no two have the same prefix.

    Parameters
    ----------
    fib : Fib
    addresses, lengths : array of int64
        Their prefixes, host bits 0.
    hops : list of (gateway, output)
        Different next hops.
    which : array of int64
        The index in `hops` of each route's.

    Returns
    -------
    list of int
        The indices of routes that there was no room for.
    """
    failed: list[int] = []
    for length in np.unique(lengths):
        chosen = np.flatnonzero(lengths == length)
        slow = chosen if length <= 16 else _set(fib, int(length), chosen, addresses, hops, which)
        for i in slow.tolist():
            try:
                fib.add(int(addresses[i]), int(length), *hops[which[i]])
            except FibError:
                failed.append(i)
    return failed


def remove_routes(fib: Fib, addresses: Words, lengths: Words) -> int:
    """Remove routes, of which no two have the same prefix; return how many of them were there."""
    removed = 0
    for length in np.unique(lengths)[::-1].tolist():
        level = fib.routes[length]
        there = np.array([a for a in addresses[lengths == length].tolist() if a in level], np.int64)
        removed += len(there)
        for address in (there if length <= 16 else _remove(fib, length, there)).tolist():
            fib.remove(address, length)
    return removed


class _Cells:
    """The entries, in chunks that are there, under prefixes of one length."""

    def __init__(self, fib: Fib, length: int, addresses: Words) -> None:
        self._entries, self._marks = fib._chunks.reshape(-1), fib._chunk_length.reshape(-1)
        self.second = fib._first[addresses >> 16] & CHUNK - 1
        self.third: Words | None = None
        start = self.second * 256 + (addresses >> 8 & 255)
        if length > 24:
            self.third = self._entries[start].astype(np.int64) & CHUNK - 1
            start = self.third * 256 + (addresses & 255)
        self._at = start[:, None] + np.arange(1 << ((24 if length <= 24 else 32) - length))
        #: Of each prefix, whether there is a chunk under one of its entries.
        self.deep: npt.NDArray[np.bool_] = (self._marks[self._at] == BELOW).any(axis=1)

    def keep(self, chosen: npt.NDArray[np.bool_]) -> None:
        """Keep the entries of some of the prefixes only."""
        self._at, self.second = self._at[chosen], self.second[chosen]
        self.third = None if self.third is None else self.third[chosen]

    def paint(self, values: Words, marks: Words, above: int) -> None:
        """Set the entries whose own prefix is not longer: mark at most `above`."""
        ours = self._marks[self._at] <= above
        at = self._at[ours]
        self._entries[at] = np.broadcast_to(values[:, None], ours.shape)[ours]
        self._marks[at] = np.broadcast_to(marks[:, None], ours.shape)[ours]


def _make_chunks(fib: Fib, length: int, addresses: Words) -> bool:
    """Make the chunks that prefixes need; return False, and make none, if there is no room for all of them."""
    first = np.unique(addresses >> 16)
    seconds = first[fib._first[first] & CHUNK == 0]
    thirds = np.unique(addresses >> 8) if length > 24 else seconds[:0]
    above = fib._first[thirds >> 8]
    entries = fib._chunks[np.where(above & CHUNK, above & CHUNK - 1, 0), thirds & 255]
    thirds = thirds[(above & CHUNK == 0) | (entries & CHUNK == 0)]
    lacking = len(seconds) + len(thirds)
    if len(fib._free) < lacking:
        fib._reclaim()
    if len(fib._free) < lacking:
        return False
    for at in seconds.tolist():
        fib._second(at)
    for at in thirds.tolist():
        fib._third(int(fib._first[at >> 8]) & CHUNK - 1, at & 255)
    return True


def _set(fib: Fib, length: int, chosen: Words, addresses: Words, hops: list[Hop], which: Words) -> Words:
    """Set the routes of one length whose indices are `chosen`; return those that must be set one by one."""
    used = np.unique(which[chosen])
    numbers = np.zeros(len(hops), np.int64)
    if not _make_chunks(fib, length, addresses[chosen]) or not _hold(fib, hops, used, numbers):
        return chosen
    cells = _Cells(fib, length, addresses[chosen])
    slow, chosen = chosen[cells.deep], chosen[~cells.deep]
    cells.keep(~cells.deep)
    prefixes, marks = addresses[chosen], np.full(len(chosen), length + 1)
    cells.paint(numbers[which[chosen]] + 1, marks, length + 1)
    level, told = fib.routes[length], prefixes.tolist()
    before = [level.get(address) for address in told]
    level.update(zip(told, [hops[i] for i in which[chosen].tolist()], strict=True))
    counts = np.bincount(which[chosen], minlength=len(hops))
    for i in used.tolist():
        fib._hop_needed[numbers[i]] += int(counts[i])
    fresh = np.array([hop is None for hop in before], bool)
    np.add.at(fib._needed, cells.second[fresh], 1)
    if cells.third is not None:
        np.add.at(fib._needed, cells.third[fresh], 1)
    for hop in (*before, *(hops[i] for i in used.tolist())):
        if hop:
            fib._let_go_hop(hop)
    return slow


def _hold(fib: Fib, hops: list[Hop], used: Words, numbers: Words) -> bool:
    """Note the numbers of the next hops `used`, as needed by one route more each; return False if one has no room."""
    held: list[Hop] = []
    try:
        for i in used.tolist():
            numbers[i] = fib._hop(*hops[i])
            held.append(hops[i])
    except FibError:
        for hop in held:
            fib._let_go_hop(hop)
        return False
    return True


def _remove(fib: Fib, length: int, addresses: Words) -> Words:
    """Remove routes of one length that are there; return those that must be removed one by one."""
    cells = _Cells(fib, length, addresses)
    slow, prefixes = addresses[cells.deep], addresses[~cells.deep]
    cells.keep(~cells.deep)
    level = fib.routes[length]
    gone = [level.pop(address) for address in prefixes.tolist()]
    values, marks = _covering(fib, length, prefixes)
    cells.paint(values, marks, length + 1)
    if cells.third is not None:
        _give_back(fib, cells.third, prefixes >> 8, second=False)
    _give_back(fib, cells.second, prefixes >> 16, second=True)
    for hop in gone:
        fib._let_go_hop(hop)
    return slow


def _covering(fib: Fib, length: int, addresses: Words) -> tuple[Words, Words]:
    """Return the answers of the next shorter prefixes in chunks, and their marks; 0 where there is none."""
    values, marks = np.zeros(len(addresses), np.int64), np.zeros(len(addresses), np.int64)
    for shorter in range(17, length):
        level = fib.routes[shorter]
        if level:
            masked = addresses & (0xFFFFFFFF << 32 - shorter & 0xFFFFFFFF)
            for i, hop in enumerate(map(level.get, masked.tolist())):
                if hop:
                    values[i], marks[i] = fib._hop_of[hop] + 1, shorter + 1
    return values, marks


def _give_back(fib: Fib, chunks: Words, at: Words, second: bool) -> None:
    """Count chunks as needed by one route less each; take those that none needs out of the trie (see Fib.remove)."""
    np.subtract.at(fib._needed, chunks, 1)
    empty, where = np.unique(chunks, return_index=True)
    unused = fib._needed[empty] == 0
    for chunk, place in zip(empty[unused].tolist(), at[where[unused]].tolist(), strict=True):
        if second:
            short = int(fib._first[place]) >> 32
            fib._first[place] = short << 32 | short
        else:
            above = int(fib._first[place >> 8]) & CHUNK - 1, place & 255
            fib._chunks[above], fib._chunk_length[above] = fib._chunks[chunk, 0], fib._chunk_length[chunk, 0]
        fib._left.append(chunk)
