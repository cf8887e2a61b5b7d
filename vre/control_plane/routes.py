# SPDX-License-Identifier: MIT
"""A router's routes on their way from its reader to its forwarding table, a bounded part of them at each look.

The reader is trusted to describe what the namespace has; what that says is not. A route counts only if its next hops
leave by this router's ports, and their gateways are on the networks of these.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Network

import numpy as np

from shm.intrinsics import acquire64, load64, release64, store64
from shm.route_layout import (
    BEGIN,
    CHANGE,
    DISCARD,
    END,
    FEED,
    HOP_GATEWAY,
    KEY_BITS,
    MOST_PATHS,
    PATH,
    PATHS,
    REMOVE,
    SET,
)
from vre.memory.address_space import view
from workers.datapath.fib import NOWHERE, Fib, FibError, Retired
from workers.datapath.fib_bulk import Hop, Words, remove_routes, set_routes

#: Changes that are applied together: some milliseconds where each needs a chunk of its own, one else.
_BATCH = 1024


@dataclass(frozen=True)
class Exit:
    """An output of a lookup element, behind which is one of the router's ports, and the networks there."""

    output: int
    networks: tuple[IPv4Network, ...]

    def reaches(self, gateway: int) -> bool:
        """Return whether a gateway is on one of the networks."""
        return any(int(net.network_address) == gateway & int(net.netmask) for net in self.networks)


@dataclass
class Counts:
    """What has become of the changes of a router's routes.

    `refused` are routes with a next hop that this router does not have.
    """

    applied: int = 0
    refused: int = 0


@dataclass
class RouteFeed:
    """Takes changes out of a FEED and applies them to a forwarding table.

    Parameters
    ----------
    feed : int
        Address of the FEED.
    exits : dict of int to Exit
        By the number of the interface in the router's namespace.
    fib : Fib
    base : list of (address, length, gateway, output)
        The routes of the configuration: each is back when that of the control plane for the same prefix is gone.
    beats : callable
        Returns how many slices each of the router's cores has finished: after the next one it has left what it read.
    nudge : callable
        Wakes cores that idle.

    Attributes
    ----------
    waiting : dict of int to int
        Routes that the table has had no room for, by key.
    """

    feed: int
    exits: dict[int, Exit]
    fib: Fib
    base: list[tuple[int, int, int, int]] = field(default_factory=list)
    beats: Callable[[], list[int]] = list
    nudge: Callable[[], None] = lambda: None
    counts: Counts = field(default_factory=Counts)
    waiting: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._size = load64(self.feed + FEED["size"])
        self._ring: Words = view(load64(self.feed + FEED["changes"]), "i8", self._size * 4).reshape(self._size, 4)
        self._base = {(address, length): (gateway, output) for address, length, gateway, output in self.base}
        self._known: dict[int, Hop | None] = {}
        self._groups: dict[int, list[int]] = {}
        #: Prefixes that were set since a whole table began; None when none is on its way.
        self._seen: set[int] | None = None
        self._gone: Iterator[Words] = iter(())
        #: What the table can use again when the readers' beats are not what they were.
        self._retired: tuple[Retired, list[int]] | None = None

    def want_all(self) -> None:
        """Ask the reader for the whole table, for a forwarding table that has none of it, or an unknown part."""
        store64(self.feed + FEED["wanted"], load64(self.feed + FEED["wanted"]) + 1)

    def look(self, seconds: float) -> bool:
        """Apply changes for about so long; return whether there are more."""
        end = time.perf_counter() + seconds
        self.fib.await_readers = _not_now
        self._recycle()
        while time.perf_counter() < end:
            gone = next(self._gone, None)
            if gone is not None:
                self._remove(gone)
            elif not self._take():
                return False
        return True

    def _recycle(self) -> None:
        """Let the table use again what no reader can be in; then set the routes that there was no room for."""
        if self._retired is None:
            retired = self.fib.retire()
            if retired.chunks or retired.hops:
                self._retired = retired, self.beats()
                self.nudge()
            return
        retired, before = self._retired
        if all(now != then for now, then in zip(self.beats(), before, strict=True)):
            self.fib.reuse(retired)
            self._retired = None
            again, self.waiting = self.waiting, {}
            for at in range(0, len(again), _BATCH):
                part = np.array(list(again.items())[at : at + _BATCH], np.int64)
                self._set(part[:, 0], part[:, 1])

    def _take(self) -> bool:
        """Apply the next changes of one kind, in order; return whether there were any."""
        tail = load64(self.feed + FEED["tail"])
        # Pairs with the reader's release: the rows are there. No more than there can be, whatever it says.
        count = min(acquire64(self.feed + FEED["head"]) - tail, self._size, _BATCH)
        if count <= 0:
            return False
        rows = self._ring[np.arange(tail, tail + count) & self._size - 1]
        same = rows[:, 0] == rows[0, 0]
        rows = rows if same.all() else rows[: int(same.argmin())]
        kind = int(rows[0, 0])
        if kind == SET:
            self._set(rows[:, 1], rows[:, 2])
        elif kind == REMOVE:
            self._remove(rows[:, 1])
        elif kind == PATH:
            for _, group, hop, _ in rows.tolist():
                self._groups.setdefault(group, []).append(hop)
        elif kind == BEGIN:
            self._seen = set()
            self._known.clear()
            self._groups.clear()
        elif kind == END and self._seen is not None:
            self._gone = self._not_seen(self._seen)
            self._seen = None
        release64(self.feed + FEED["tail"], tail + len(rows))
        return True

    def _set(self, keys: Words, hops: Words) -> None:
        keys, first = np.unique(keys[::-1], return_index=True)  # of two changes of one prefix the later counts
        hops = hops[::-1][first]
        if self._seen is not None:
            self._seen.update(keys.tolist())
        different, which = np.unique(hops, return_inverse=True)
        known = [self._hop(hop) for hop in different.tolist()]
        good = np.array([hop is not None for hop in known], bool)[which] & (keys & (1 << KEY_BITS) - 1 <= 32)
        self.counts.refused += int((~good).sum())
        self._remove(keys[~good])
        keys, hops, which = keys[good], hops[good], which[good]
        addresses, lengths = _prefixes(keys)
        failed = set_routes(self.fib, addresses, lengths, [hop or (0, NOWHERE) for hop in known], which)
        self.waiting.update(zip(keys[failed].tolist(), hops[failed].tolist()))
        self.counts.applied += len(addresses) - len(failed)

    def _remove(self, keys: Words) -> None:
        for key in keys.tolist() if self.waiting else ():
            self.waiting.pop(key, None)
        addresses, lengths = _prefixes(np.unique(keys))
        kept = np.array([pair not in self._base for pair in zip(addresses.tolist(), lengths.tolist())], bool)
        self.counts.applied += remove_routes(self.fib, addresses[kept], lengths[kept])
        for pair in zip(addresses[~kept].tolist(), lengths[~kept].tolist()):
            self.fib.add(*pair, *self._base[pair])

    def _hop(self, hop: int) -> Hop | None:
        """Return a next hop as the forwarding table has it, None if this router has no such."""
        if hop & PATHS:
            members = [self._single(one) for one in self._groups.get(hop & ~PATHS, ())[:MOST_PATHS]]
            if not members or None in members:
                return None
            try:
                return self.fib.group(tuple(one for one in members if one))
            except FibError:
                return members[0]
        if hop & DISCARD:
            return 0, NOWHERE
        if hop not in self._known:
            self._known[hop] = self._single(hop)
        return self._known[hop]

    def _single(self, hop: int) -> Hop | None:
        port, gateway = self.exits.get(hop & 0xFFFF), hop >> HOP_GATEWAY & 0xFFFFFFFF
        if port is None or (gateway and not port.reaches(gateway)):
            return None
        return gateway, port.output

    def _not_seen(self, seen: set[int]) -> Iterator[Words]:
        """Yield the prefixes of the table, some at a time, that a whole table did not have."""
        for length, level in enumerate(self.fib.routes):
            addresses = list(level)
            for at in range(0, len(addresses), _BATCH):
                keys = [address << KEY_BITS | length for address in addresses[at : at + _BATCH]]
                yield np.array([key for key in keys if key not in seen], np.int64)


def _not_now() -> None:
    raise FibError("its room is freed in a moment")


def _prefixes(keys: Words) -> tuple[Words, Words]:
    """Return addresses, host bits 0, and lengths."""
    lengths = keys & (1 << KEY_BITS) - 1
    return keys >> KEY_BITS & (0xFFFFFFFF << np.minimum(32 - lengths, 32)) & 0xFFFFFFFF, lengths


def prepare(feed: int, changes: int, size: int, most: int) -> None:
    """Write the first values of a FEED whose ring of `size` CHANGEs is at `changes`."""
    record = view(feed, FEED.dtype)[0]
    record["changes"], record["size"], record["most"], record["wanted"] = changes, size, most, 1
    assert CHANGE.size == 32
