# SPDX-License-Identifier: MIT
"""The platform's end of the domU zygote: starts it, sends messages with descriptors, reads its answers."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator

from vre.errors import PlatformError
from vre.supervision.zygote_process import start_zygote
from workers.domu.spec import DomuSpec
from workers.zygote.domu_messages import FROM_ZYGOTE, TO_ZYGOTE, FromZygote, Ready
from workers.zygote.domus import DESCRIPTORS, MESSAGE

#: Environment variables that the zygote needs; domUs get none of them.
_KEEP = ("PATH", "PYTHONPATH", "VRE_CACHE", "XDG_CACHE_HOME", "VRE_NAMESPACES", "HOME", "LANG")
#: Keep the zygote single-threaded: other threads would be missing in its children.
_ALONE = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS")
_START_S = 60.0


class DomuZygote:
    """Starts the zygote, which then warms up; `say` is given what it writes to its standard error."""

    def __init__(self, say: Callable[[str], None]) -> None:
        environment = {k: v for k, v in os.environ.items() if k in _KEEP} | dict.fromkeys(_ALONE, "1")
        self._zygote = start_zygote("workers.zygote.domus", socket.SOCK_SEQPACKET, say, environment)
        self._channel = self._zygote.channel
        self._channel.setblocking(False)
        self._overdue = time.monotonic() + _START_S
        #: "own", or from "bubblewrap"; "" until it is ready.
        self.namespaces = ""

    def await_ready(self, tier: str, wait: Callable[[float], None] = time.sleep) -> None:
        """Call `wait` until it is ready. Raises as :meth:`ready` does."""
        while not self.ready(tier):
            wait(0.005)

    def ready(self, tier: str) -> bool:
        """Return whether it is ready. Raises PlatformError if it ended, or the host lacks what `tier` needs."""
        if self.namespaces:
            return True
        answer: FromZygote | None = None
        try:
            answer = FROM_ZYGOTE.read(self._channel.recv(MESSAGE))
        except BlockingIOError:
            if time.monotonic() < self._overdue:
                return False
        except (OSError, ValueError):
            pass
        if not isinstance(answer, Ready):
            raise PlatformError("the domU zygote does not start")
        if not answer.filter and tier != "unsafe":
            raise PlatformError(
                "this host cannot filter system calls, so untrusted elements cannot be jailed: install libseccomp "
                "(Debian: libseccomp2), or trust them with --unsafe-trust-elements"
            )
        self.namespaces = answer.namespaces
        return True

    def send(self, spec: DomuSpec, descriptors: list[int]) -> None:
        """Ask for a domU. Raises PlatformError if the request is too large: too many elements or channels."""
        data = TO_ZYGOTE.write(spec)
        if len(data) > MESSAGE or len(descriptors) > DESCRIPTORS:
            raise PlatformError(
                f"it needs {len(data)} bytes of description and {len(descriptors)} descriptors: too many"
            )
        try:
            socket.send_fds(self._channel, [data], descriptors)
        except BlockingIOError:
            raise PlatformError("the domU zygote takes no more messages now") from None
        except (BrokenPipeError, ConnectionError):
            pass  # a zygote that has ended shows when its channel is next read

    def messages(self) -> Iterator[FromZygote]:
        """Yield its messages since the last call. Raises PlatformError if it has ended."""
        self._zygote.overheard.look()
        while True:
            try:
                data = self._channel.recv(MESSAGE)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                raise PlatformError("the domU zygote has ended")
            yield FROM_ZYGOTE.read(data)

    def end(self) -> None:
        """Kill it; its domUs end with it."""
        self._zygote.end()
