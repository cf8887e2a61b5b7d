# SPDX-License-Identifier: MIT
"""The processes that write captures: nothing but its own capture ends with one."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable

from shm.intrinsics import load64, store64
from shm.manifest import CurrentManifest
from shm.wire_layout import CAPTURE
from vre.config.captures import KILLED, finish
from vre.errors import PlatformError
from workers.zygote.messages import Fork

#: How long capture writers may take to write what waits.
_FLUSH_S = 2.0


class CaptureWriters:
    """The writer of each capture of a wire.

    Parameters
    ----------
    manifest : CurrentManifest
        Says where the captures are.
    send : callable
        Asks the zygote for a process.
    """

    def __init__(self, manifest: CurrentManifest, send: Callable[[Fork], None]) -> None:
        self._manifest, self._send = manifest, send
        #: The number of its capture, by its pid.
        self._writers: dict[int, int] = {}

    @property
    def _captures(self) -> list[int]:
        return [capture.address for capture in self._manifest.now.wire.captures]

    def start(self, cpu: int | None) -> None:
        """Ask for all of them; they keep off the processor `cpu`."""
        for number in range(len(self._captures)):
            self._send(Fork("capture", number, cpu))

    def forked(self, pid: int, number: int) -> None:
        """Take note of one that has been forked."""
        self._writers[pid] = number

    def ended(self, pid: int, status: int) -> bool:
        """Take note that a process has ended; return whether it was a writer.

        If nothing asked it to end, its capture ends, and nothing else.
        """
        number = self._writers.pop(pid, None)
        if number is None:
            return False
        address = self._captures[number]
        if status and not load64(address + CAPTURE["error"]) and not load64(address + CAPTURE["stop"]):
            store64(address + CAPTURE["error"], KILLED)
        return True

    def finish(self, tend: Callable[[float], None]) -> None:
        """Let the capture writers flush for a bounded time, which `tend` lets pass; count the rest as lost."""
        captures = self._captures
        for address in captures:
            store64(address + CAPTURE["stop"], 1)
        end = time.monotonic() + _FLUSH_S
        with contextlib.suppress(PlatformError):
            while self._writers and time.monotonic() < end:
                tend(0.005)
        for pid in self._writers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        # One that hangs in the kernel ends later, and does not change the account before it ends.
        for address in captures:
            finish(address)
