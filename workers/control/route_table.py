# SPDX-License-Identifier: MIT
"""A router's routes as its kernel has them, against those that the platform has been told.

Arrays sorted by key: a million routes are compared in a fraction of a second. What a notification says is noted apart,
until the next whole table, which is right whatever the notifications were.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from shm.route_layout import CHANGE, DISCARD, HOP_WEIGHT, MOST_PATHS, PATH, PATHS, REMOVE, ROUTE, SET

Words = npt.NDArray[np.int64]
#: Of a single next hop the weight says nothing.
_UNWEIGHTED = (1 << HOP_WEIGHT) - 1


class Groups:
    """The sets of next hops that routes spread their packets over; each has a number that stays."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}
        self.members: list[Words] = []

    def number(self, hops: Words) -> int:
        """Return the number of a set of hops, in ascending order whatever that is in."""
        hops = np.sort(hops)
        key = hops.tobytes()
        found = self._numbers.get(key)
        if found is None:
            found = self._numbers[key] = len(self.members)
            self.members.append(spread(hops))
        return found


def spread(hops: Words) -> Words:
    """Return hops without weights, each as often as its weight is, at most MOST_PATHS in all (RFC 2992)."""
    weights = (hops >> HOP_WEIGHT & 0xFF) + 1
    hops, weights = (hops & _UNWEIGHTED)[:MOST_PATHS], weights[:MOST_PATHS]
    divisor = int(np.gcd.reduce(weights))
    weights = weights // divisor
    if weights.sum() > MOST_PATHS:
        weights = np.maximum(1, weights * (MOST_PATHS - len(hops)) // weights.sum())
    return np.repeat(hops, weights)


class RouteTable:
    """What has been told, and what is to be told next.

    Parameters
    ----------
    most : int
        Most routes that the router may have; those with the highest addresses are left out.

    Attributes
    ----------
    beyond : int
        Routes that were left out when the whole table was read last.
    """

    def __init__(self, most: int) -> None:
        self._most, self.beyond = most, 0
        self._keys: Words = np.empty(0, np.int64)
        self._metrics: Words = np.empty(0, np.int64)
        self._hops: Words = np.empty(0, np.int64)
        #: Changes since the table was read: key to (metric, hop), None for a route that has gone.
        self._since: dict[int, tuple[int, int] | None] = {}
        self._groups, self._told_groups = Groups(), 0

    def __len__(self) -> int:
        return len(self._keys)

    def forget(self) -> None:
        """Take note that the platform knows nothing any more: all is to be told anew."""
        self._keys = self._metrics = self._hops = np.empty(0, np.int64)
        self._since.clear()
        self._told_groups = 0

    def best(self, routes: Any, paths: Words) -> tuple[Words, Words, Words]:
        """Return keys, metrics and hops of the routes in a dump, of each prefix the one of least metric.

        Parameters
        ----------
        routes : record array of ROUTE
        paths : array of int64
            The lists that hops with PATHS point into.
        """
        order = np.lexsort((routes["metric"], routes["key"]))
        keys = routes["key"][order]
        first = np.ones(len(keys), bool)
        first[1:] = keys[1:] != keys[:-1]
        order = order[first]
        keys, metrics, hops = (routes[name][order] for name in ("key", "metric", "hop"))
        for i in np.flatnonzero(hops & PATHS):
            at = int(hops[i]) & ~PATHS
            hops[i] = PATHS | self._groups.number(paths[at + 1 : at + 1 + int(paths[at])])
        single = hops & (PATHS | DISCARD) == 0
        hops[single] &= _UNWEIGHTED
        self.beyond = max(0, len(keys) - self._most)
        return keys[: self._most], metrics[: self._most], hops[: self._most]

    def compare(self, routes: Any, paths: Words, removing: bool = True) -> Words:
        """Take a whole table; return the changes that lead to it, one row of CHANGE each.

        If not `removing`, routes that have gone are kept, until a later table says so again.
        """
        self._settle()
        keys, metrics, hops = self.best(routes, paths)
        at = np.searchsorted(self._keys, keys)
        there = np.zeros(len(keys), bool)
        inside = at < len(self._keys)
        there[inside] = self._keys[at[inside]] == keys[inside]
        same = there.copy()
        same[there] = self._hops[at[there]] == hops[there]
        kept = np.zeros(len(self._keys), bool)
        kept[at[there]] = True
        gone = self._keys[~kept]
        changes = [rows(SET, keys[~same], hops[~same])]
        if removing:
            changes.append(rows(REMOVE, gone, 0))
            self._keys, self._metrics, self._hops = keys, metrics, hops
        else:
            # What has gone is worse than whatever comes.
            worst = np.full(len(gone), 1 << 32, np.int64)
            self._take(np.concatenate((keys, gone)), np.concatenate((metrics, worst)), hops, self._hops[~kept])
        return np.concatenate((self._new_groups(), *changes))

    def _take(self, keys: Words, metrics: Words, *hops: Words) -> None:
        order = np.argsort(keys, kind="stable")
        self._keys, self._metrics, self._hops = keys[order], metrics[order], np.concatenate(hops)[order]

    def notice(self, routes: Any, paths: Words, removing: bool = True) -> Words:
        """Take what notifications say; return the changes that probably follow. The next whole table corrects them."""
        changed: dict[int, int] = {}
        for key, metric, hop, gone in routes[["key", "metric", "hop", "gone"]].tolist():
            before = self._known(key)
            if gone:
                if before and before[0] == metric and removing:
                    self._since[key], changed[key] = None, -1
                continue
            if before is None or metric <= before[0]:
                if hop & PATHS:
                    at = hop & ~PATHS
                    hop = PATHS | self._groups.number(paths[at + 1 : at + 1 + int(paths[at])])
                elif not hop & DISCARD:
                    hop &= _UNWEIGHTED
                if before is None and len(self._keys) + len(self._since) >= self._most:
                    continue
                self._since[key] = (metric, hop)
                changed[key] = hop
        told = np.array(list(changed.items()), np.int64).reshape(-1, 2)
        gone_now = told[:, 1] < 0
        sets = rows(SET, told[~gone_now, 0], told[~gone_now, 1])
        return np.concatenate((self._new_groups(), sets, rows(REMOVE, told[gone_now, 0], 0)))

    def _known(self, key: int) -> tuple[int, int] | None:
        """Return metric and hop of a route that has been told, None if there is none."""
        if key in self._since:
            return self._since[key]
        at = int(np.searchsorted(self._keys, key))
        if at < len(self._keys) and self._keys[at] == key:
            return int(self._metrics[at]), int(self._hops[at])
        return None

    def _settle(self) -> None:
        """Put what was noted apart into the arrays."""
        if not self._since:
            return
        touched = np.array(sorted(self._since), np.int64)
        rest = ~np.isin(self._keys, touched)
        news = [(key, *value) for key, value in self._since.items() if value]
        keys, metrics, hops = np.array(news, np.int64).reshape(-1, 3).T
        self._take(
            np.concatenate((self._keys[rest], keys)),
            np.concatenate((self._metrics[rest], metrics)),
            self._hops[rest],
            hops,
        )
        self._since.clear()

    def _new_groups(self) -> Words:
        """Return the rows that tell of groups which have not been told."""
        told = [rows(PATH, np.empty(0, np.int64), 0)]
        for number in range(self._told_groups, len(self._groups.members)):
            members = self._groups.members[number]
            told.append(rows(PATH, np.full(len(members), number), members, np.arange(len(members) - 1, -1, -1)))
        self._told_groups = len(self._groups.members)
        return np.concatenate(told)


def rows(kind: int, keys: Words, hops: Words | int, more: Words | int = 0) -> Words:
    """Return rows of CHANGE, as (count, 4) words."""
    made = np.zeros((len(keys), CHANGE.size // 8), np.int64)
    made[:, 0], made[:, 1], made[:, 2], made[:, 3] = kind, keys, hops, more
    return made


def records(words: Words, count: int) -> Any:
    """Return the first `count` ROUTEs in an array of words."""
    return words[: count * ROUTE.size // 8].view(ROUTE.dtype)
