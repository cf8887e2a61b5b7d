# SPDX-License-Identifier: MIT
"""A line protocol over a socket that any number of clients may use or abuse: the server never blocks on one.

| bound | what follows |
| --- | --- |
| CLIENTS connections | the longest idle one is closed for the next |
| LONGEST bytes without the end of a line | the connection ends |
| HELD bytes read or to be sent, in all | the connection with most of them is closed |
| PATIENCE_S with half a line sent, or an answer not read | the connection ends |
| BATCH lines, or BUSY_S, per poll | the others wait for the next poll, each client in turn |

One line of each client is answered at a time: until its answer has been read no more is read from it, so further
lines stay in its own socket.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

#: Most clients at once.
CLIENTS = 64
#: Longest line in bytes, several times a configuration's text.
LONGEST = 1 << 22
#: Bytes that are buffered for all clients together.
HELD = 1 << 26
#: How long a client may stop in the middle of a line or an answer.
PATIENCE_S = 10.0
#: Lines that are answered per poll; time after which no further one is begun.
BATCH, BUSY_S = 32, 0.005
#: Bytes that are read from a client at once.
_READ = 1 << 16
#: Longest path of a socket, in bytes (sun_path, less the NUL).
_LONGEST_PATH = 107


@dataclass
class _Client:
    """One connection. `since` is its last activity, `searched` how far there is no end of a line.

    `busy`: one of its lines is being answered. That may take long, and others are served meanwhile.
    """

    since: float
    unread: bytearray = field(default_factory=bytearray)
    unsent: bytearray = field(default_factory=bytearray)
    searched: int = 0
    ended: bool = False
    busy: bool = False

    @property
    def held(self) -> int:
        return len(self.unread) + len(self.unsent)


class Connections:
    """A listening socket and its clients.

    Parameters
    ----------
    path : Path
        Where it listens.
    answer : callable
        Takes a line, returns the answer, both without the end of line.
    clock : callable
        Seconds.
    """

    def __init__(
        self, path: Path, answer: Callable[[bytes], bytes], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path, self._answer, self._clock = path, answer, clock
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        with reachable(path) as address:
            self._listener.bind(address)
        self._listener.listen()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        #: The longest idle, or last served, client is first.
        self._clients: OrderedDict[socket.socket, _Client] = OrderedDict()

    def serve(self) -> None:
        """Read what has come, answer some of it, send what can be sent, without blocking."""
        now = self._clock()
        for key, events in self._selector.select(0):
            if key.fileobj is self._listener:
                self._accept(now)
            elif key.fileobj in self._clients:
                if events & selectors.EVENT_WRITE:
                    self._send(key.fileobj, now)  # type: ignore[arg-type]
                if events & selectors.EVENT_READ:
                    self._read(key.fileobj, now)  # type: ignore[arg-type]
        self._answer_some(now)
        self._lose_patience(now)

    def _accept(self, now: float) -> None:
        for _ in range(CLIENTS):
            try:
                client, _ = self._listener.accept()
            except OSError:  # the client has given up, or this process has no descriptor left: try later
                return
            client.setblocking(False)
            if len(self._clients) == CLIENTS:
                self._drop(min(self._clients, key=lambda c: (self._clients[c].busy, self._clients[c].since)))
            self._clients[client] = _Client(now)
            self._watch(client)

    def _watch(self, client: socket.socket) -> None:
        """Poll for what a client may do next: read its answer, or else send a line."""
        state = self._clients[client]
        reads = not state.ended and not state.unsent and state.searched == len(state.unread)
        wanted = (selectors.EVENT_READ if reads else 0) | (selectors.EVENT_WRITE if state.unsent else 0)
        known = client in self._selector.get_map()
        if known and not wanted:
            self._selector.unregister(client)
        elif known:
            self._selector.modify(client, wanted)
        elif wanted:
            self._selector.register(client, wanted)

    def _read(self, client: socket.socket, now: float) -> None:
        state = self._clients[client]
        try:
            data = client.recv(_READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        state.ended = not data
        state.since = now
        state.unread += data
        state.searched = self._end_of_line(state)
        over = state.ended and not state.busy
        if state.searched == len(state.unread) and (over or len(state.unread) > LONGEST):
            self._drop(client)
            return
        self._watch(client)

    @staticmethod
    def _end_of_line(state: _Client) -> int:
        """Return the end of the first line, or the length of the data if there is none."""
        found = state.unread.find(b"\n", state.searched)
        return len(state.unread) if found < 0 else found

    def _answer_some(self, now: float) -> None:
        end = self._clock() + BUSY_S
        for _ in range(BATCH):
            ready = (c for c, s in self._clients.items() if not s.unsent and not s.busy and s.searched < len(s.unread))
            client = next(ready, None)
            if client is None or self._clock() > end:
                return
            state = self._clients[client]
            line = bytes(state.unread[: state.searched])
            del state.unread[: state.searched + 1]
            state.searched = 0
            state.searched = self._end_of_line(state)
            self._clients.move_to_end(client)
            state.busy = True
            answer = self._answer(line) + b"\n"
            state.busy, state.since = False, self._clock()
            # It may have closed while others were served.
            if client in self._clients:
                state.unsent += answer
                self._send(client, now)

    def _send(self, client: socket.socket, now: float) -> None:
        state = self._clients[client]
        try:
            sent = client.send(state.unsent)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._drop(client)
            return
        if sent:
            state.since = now
        del state.unsent[:sent]
        if state.ended and not state.unsent and state.searched == len(state.unread):
            self._drop(client)
            return
        self._watch(client)

    def _lose_patience(self, now: float) -> None:
        for client, state in list(self._clients.items()):
            stuck = state.held and not state.busy and (state.unsent or state.searched == len(state.unread))
            if stuck and now - state.since > PATIENCE_S:
                self._drop(client)
        while sum(state.held for state in self._clients.values()) > HELD:
            self._drop(max(self._clients, key=lambda c: self._clients[c].held))

    def _drop(self, client: socket.socket) -> None:
        if client in self._selector.get_map():
            self._selector.unregister(client)
        del self._clients[client]
        client.close()

    def close(self) -> None:
        """Stop serving."""
        for client in list(self._clients):
            self._drop(client)
        self._selector.close()
        self._listener.close()
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()


@contextlib.contextmanager
def reachable(path: Path) -> Iterator[str]:
    """Yield an address for the socket at `path` that is short enough, however long the path is."""
    if len(os.fsencode(path)) <= _LONGEST_PATH:
        yield str(path)
        return
    if len(os.fsencode(path.name)) > _LONGEST_PATH - 32:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), str(path))
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
