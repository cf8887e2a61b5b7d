# SPDX-License-Identifier: MIT
"""The platform's end of the socket to the zygote of workers, see :mod:`workers.zygote.messages`."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Sequence

from vre.supervision.zygote_process import ZygoteProcess, start_zygote
from workers.zygote import messages

#: How long the zygote may take to read what it is sent.
_SEND_S = 1.0
#: How long it may be silent when it has been asked for a process: a fork takes ms, a restart 20 s.
_DEAF_S = 60.0
_ZYGOTE = "workers.zygote.workers"


class ZygoteLink:
    """Messages to and from a zygote, and to those that follow it.

    Parameters
    ----------
    poll : select.poll
        Has the zygote's socket while there is one.
    say : callable
        Told of what a zygote writes to its standard output or error.
    """

    def __init__(self, poll: select.poll, say: Callable[[str], None]) -> None:
        self._poll, self._say = poll, say
        self.zygote: ZygoteProcess | None = None
        self._unread = b""
        #: How many requests for a process the zygote has not answered.
        self._owed = 0
        #: When its last message came.
        self._heard = 0.0
        #: The process groups of all zygotes that have been started.
        self._groups: list[int] = []

    def start(self, descriptors: Sequence[int] = ()) -> None:
        """Start a zygote, in place of a former one that has ended; it inherits `descriptors`. Raises OSError."""
        if self.zygote:
            self.zygote.end()
        zygote = start_zygote(_ZYGOTE, socket.SOCK_STREAM, self._say, descriptors=descriptors)
        self.attach(zygote)
        self._groups.append(zygote.process.pid)

    def attach(self, zygote: ZygoteProcess) -> None:
        """Speak to another zygote from now on."""
        self.zygote, self._unread, self._owed = zygote, b"", 0
        zygote.channel.settimeout(_SEND_S)
        self._poll.register(zygote.channel, select.POLLIN)

    def send(self, message: messages.ToZygote) -> None:
        """Send one message."""
        assert self.zygote
        if isinstance(message, messages.Fork):
            self._heard = self._heard if self._owed else time.monotonic()
            self._owed += 1
        # A zygote that has ended shows when its channel is next read, one that does not read by its silence.
        with contextlib.suppress(OSError):
            self.zygote.channel.sendall(messages.TO_ZYGOTE.write(message) + b"\n")

    def receive(self, ready: set[int]) -> list[messages.FromZygote] | None:
        """Return what it has said, None if it has ended; `ready` has the descriptors that can be read.

        A zygote that owes an answer and has said nothing for too long is killed.
        """
        assert self.zygote
        if self.zygote.channel.fileno() not in ready:
            if self._owed and time.monotonic() - self._heard > _DEAF_S:
                self.zygote.process.kill()
            return []
        try:
            data = self.zygote.channel.recv(65536)
        except OSError:
            data = b""
        if not data:
            return None
        self._heard = time.monotonic()
        *lines, self._unread = (self._unread + data).split(b"\n")
        received = [messages.FROM_ZYGOTE.read(line) for line in lines]
        self._owed -= sum(isinstance(message, messages.Forked | messages.Unforked) for message in received)
        return received

    def overhear(self) -> None:
        """Pass on what it has written to its standard output or error."""
        assert self.zygote
        self.zygote.overheard.look()

    def kill(self) -> None:
        """Kill the zygote: that it has ended is heard as any other end."""
        assert self.zygote
        self.zygote.process.kill()

    def detach(self) -> int:
        """Listen to the zygote, which has ended, no more; return its status."""
        assert self.zygote
        self._poll.unregister(self.zygote.channel)
        return self.zygote.process.wait()

    def end(self) -> None:
        """Kill the zygote, and what it has forked and not reported."""
        if self.zygote:
            if self.zygote.process.poll() is None:
                os.killpg(self.zygote.process.pid, signal.SIGKILL)
            self.zygote.end()
            self.zygote = None

    def reap(self, seconds: float) -> None:
        """Reap what zygotes have forked without reporting it; such a process ends at once, or has been killed.

        One that takes longer than `seconds` to end is left to the process that outlives the platform's.
        """
        end = time.monotonic() + seconds
        for group in self._groups:
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-group, os.WNOHANG) != (0, 0) or time.monotonic() < end:
                    time.sleep(0.001)
