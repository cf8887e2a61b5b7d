# SPDX-License-Identifier: MIT
"""Route sockets (rtnetlink(7)) of one network namespace: a subscription, and dumps of the table."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from shm.route_layout import PARSED, ROUTE
from workers.control.route_table import Words, records

_RTM_GETROUTE, _REQUEST, _DUMP = 26, 0x1, 0x300
#: RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE: what may change routes.
_GROUPS = 0x1 | 0x10 | 0x40
_MAIN = 254
_SO_RCVBUFFORCE = 33
#: Room for notifications in the kernel; without the capability for that, what its limit allows.
_BUFFER = 16 << 20
#: More than the kernel puts into one answer to a dump, 32 KiB.
_PART = 1 << 16
#: How often a table that changes while it is read is read again; then what has been read is taken, and more comes.
_ATTEMPTS = 3
#: Routes that there is room for at first.
_FIRST_ROOM = 1 << 12


class Parsed:
    """Memory that routes are parsed into, by the compiled `parse` or its twin."""

    def __init__(self, parse: Callable[[int, int, int], int]) -> None:
        self._parse = parse
        self._record = np.zeros(1, PARSED.dtype)
        self.state: Any = self._record[0]
        self.state["table"] = _MAIN
        self.view = bytearray(_PART)
        self._buffer = np.frombuffer(self.view, np.uint8)
        self._grow(_FIRST_ROOM)

    def _grow(self, room: int) -> None:
        self._routes = np.zeros(room * ROUTE.size // 8, np.int64)
        self.paths: Words = np.zeros(2 * room, np.int64)
        self.state["routes"], self.state["room"] = self._routes.ctypes.data, room
        self.state["paths"], self.state["path_room"] = self.paths.ctypes.data, len(self.paths)

    def begin(self, sequence: int) -> None:
        """Forget what was found; `sequence` is the dump's that is to be parsed, 0 for notifications."""
        for name in ("count", "path_count", "done", "interrupted", "error", "full", "relinked"):
            self.state[name] = 0
        self.state["sequence"] = sequence

    def take(self, size: int) -> None:
        """Parse the first `size` bytes of the buffer."""
        self._parse(self._record.ctypes.data, self._buffer.ctypes.data, size)

    def double(self) -> None:
        """Make more room; what was found is forgotten."""
        self._grow(2 * int(self.state["room"]))

    @property
    def routes(self) -> Any:
        """The ROUTEs found."""
        return records(self._routes, int(self.state["count"]))


class Netlink:
    """The route sockets of the namespace that the calling thread is in; they stay in it. Raises OSError."""

    def __init__(self, parsed: Parsed, most: int) -> None:
        self.parsed, self._most = parsed, most
        self._sequence = 0
        #: Notifications; the dump has a socket of its own, so that neither is lost in the other.
        self.events = self._open(_GROUPS)
        self._asking = self._open(0)
        self._asking.settimeout(5.0)

    @staticmethod
    def _open(groups: int) -> socket.socket:
        made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        for option in (_SO_RCVBUFFORCE, socket.SO_RCVBUF):
            with contextlib.suppress(PermissionError):
                made.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
                break
        made.bind((0, groups))
        return made

    def close(self) -> None:
        """Close both sockets."""
        self.events.close()
        self._asking.close()

    def dump(self) -> int:
        """Read the whole table into `parsed`; return how often it had to be read again. Raises OSError."""
        again = 0
        while True:
            self._read_table()
            state = self.parsed.state
            if state["error"]:
                raise OSError(-int(state["error"]), os.strerror(-int(state["error"])))
            if state["full"] and state["room"] < 2 * self._most:
                self.parsed.double()
            elif state["interrupted"] and again < _ATTEMPTS:
                again += 1
            else:
                return again

    def _read_table(self) -> None:
        self._sequence = self._sequence % 0x7FFFFFFF + 1
        self.parsed.begin(self._sequence)
        body = struct.pack("BBBBBBBBI", socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)
        header = struct.pack("IHHII", 16 + len(body), _RTM_GETROUTE, _REQUEST | _DUMP, self._sequence, 0)
        self._asking.send(header + body)
        while not self.parsed.state["done"]:
            self.parsed.take(self._asking.recv_into(self.parsed.view))

    def notifications(self) -> bool:
        """Parse the notifications that wait, into `parsed`; return False if the kernel had no room for all of them."""
        self.parsed.begin(0)
        for _ in range(64):
            try:
                size = self.events.recv_into(self.parsed.view, 0, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    return False
                raise
            self.parsed.take(size)
        return not self.parsed.state["full"]
