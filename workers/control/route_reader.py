# SPDX-License-Identifier: MIT
"""The process that reads the routes of one router's namespace and tells the platform what has changed.

It subscribes, then reads the whole table. A notification is only a hint: what it says is told at once, and the table
is read again soon after, since the kernel does not tell of routes that went with a link or an address (rtnetlink(7)).
"""

from __future__ import annotations

import ctypes
import os
import select
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from shm.intrinsics import acquire64, fence, load64, release64, store64
from shm.route_layout import BEGIN, CHANGE, END, FEED
from workers.control.netlink import Netlink, Parsed
from workers.control.route_table import RouteTable, Words, rows

#: How long after a notification the table is read again; but for at most a fifth of the time.
_SOON_S, _DUTY = 0.05, 5
#: How often the table is read without one.
_REGULARLY_S = 30.0
#: How often the platform's words are looked at, and how long to wait for it while the ring is full.
_LOOK_S, _FULL_S = 0.1, 0.002


class Ended(Exception):
    """The platform has asked the reader to end."""


class RouteReader:
    """Reads one namespace's routes into a FEED.

    Parameters
    ----------
    feed : int
        Address of the FEED.
    parse : callable
        :func:`workers.control.route_messages.parse_messages`, compiled or not.
    """

    def __init__(self, feed: int, parse: Callable[[int, int, int], int]) -> None:
        self._feed = feed
        self._size, most = load64(feed + FEED["size"]), load64(feed + FEED["most"])
        memory: Any = (ctypes.c_int64 * (self._size * 4)).from_address(load64(feed + FEED["changes"]))
        self._ring: Words = np.frombuffer(memory, np.int64).reshape(self._size, 4)
        assert CHANGE.size == 32
        self._table, self._parsed = RouteTable(most), Parsed(parse)
        self._netlink = Netlink(self._parsed, most)
        #: When the table is to be read next.
        self._due = 0.0
        #: When it was read last, and how long that took: a table that changes all the time is not read all the time.
        self._read_at = self._read_for = 0.0
        #: Nothing has been told since the platform asked for all.
        self._fresh = False

    def run(self) -> None:
        """Tell routes until the platform ends this, or the namespace cannot be read."""
        store64(self._feed + FEED["pid"], os.getpid())
        poll = select.poll()
        poll.register(self._netlink.events, select.POLLIN)
        try:
            while True:
                self._look()
                now = time.monotonic()
                if now >= self._due:
                    self._read_table()
                    continue
                if poll.poll(1e3 * min(_LOOK_S, self._due - now)):
                    self._hear()
        except Ended:
            pass
        except OSError as error:
            store64(self._feed + FEED["error"], error.errno or 5)
        finally:
            self._netlink.close()

    def _look(self) -> None:
        """Do what the platform asks for."""
        if acquire64(self._feed + FEED["stop"]):
            raise Ended
        wanted = acquire64(self._feed + FEED["wanted"])
        if wanted != load64(self._feed + FEED["told"]):
            store64(self._feed + FEED["told"], wanted)
            self._table.forget()
            self._fresh, self._due = True, 0.0

    def _removing(self) -> bool:
        return time.monotonic_ns() >= acquire64(self._feed + FEED["hold_until_ns"])

    def _read_table(self) -> None:
        """Read the whole table and tell the difference."""
        begun = time.monotonic()
        # What is notified from here on is not necessarily in the table that is read.
        self._due = begun + _REGULARLY_S
        again = self._netlink.dump()
        removing = self._removing()
        # While routes are held, those of before are not swept either: the whole table is told when they are not.
        whole = self._fresh and removing
        if whole:
            self._table.forget()
        if not removing:
            self._due = begun + _DUTY * max(_LOOK_S, time.monotonic() - begun)
        changes = self._table.compare(self._parsed.routes, self._parsed.paths, removing)
        self._note("dumps", 1)
        self._note("again", again)
        store64(self._feed + FEED["routes"], len(self._table))
        store64(self._feed + FEED["beyond"], self._table.beyond)
        if whole:
            self._fresh = False
            changes = np.concatenate((_mark(BEGIN), changes, _mark(END)))
        self._read_at, self._read_for = begun, time.monotonic() - begun
        self._tell(changes)

    def _hear(self) -> None:
        """Tell what notifications say, and have the table read soon."""
        whole = self._netlink.notifications()
        state = self._parsed.state
        if not whole:
            self._note("lost", 1)
        if len(self._parsed.routes):
            self._tell(self._table.notice(self._parsed.routes, self._parsed.paths, self._removing()))
        # What went with a link or was lost is in the table only: read it at once, unless that was done just now.
        soon = 0.0 if state["relinked"] or not whole else _SOON_S
        self._due = min(self._due, max(time.monotonic() + soon, self._read_at + _DUTY * self._read_for))

    def _note(self, name: str, count: int) -> None:
        store64(self._feed + FEED[name], load64(self._feed + FEED[name]) + count)

    def _tell(self, changes: Words) -> None:
        """Put changes into the ring, as the platform takes them. Raises Ended."""
        for name in ("malformed", "unsupported"):
            store64(self._feed + FEED[name], int(self._parsed.state[name]))
        head = load64(self._feed + FEED["head"])
        while len(changes):
            room = self._size - (head - acquire64(self._feed + FEED["tail"]))
            if room == 0:
                if acquire64(self._feed + FEED["stop"]):
                    raise Ended
                time.sleep(_FULL_S)
                continue
            part, changes = changes[:room], changes[room:]
            self._ring[np.arange(head, head + len(part)) & self._size - 1] = part
            head += len(part)
            # Pairs with the platform's acquire of `head`: the rows are there before it.
            fence()
            release64(self._feed + FEED["head"], head)


def _mark(kind: int) -> Words:
    return rows(kind, np.zeros(1, np.int64), 0)
