# SPDX-License-Identifier: MIT
"""How a domU is forked: the memory, socket and log that it gets, and the message that asks the zygote for it."""

from __future__ import annotations

import contextlib
import os
import socket
from collections import deque
from collections.abc import Callable

from shm.memfd import renew
from vre.domu.log import Log
from vre.domu.process import DomuProcess
from workers.domu.spec import DomuSpec


def fork(
    domu: DomuProcess,
    spec: DomuSpec,
    renewed: Callable[[], None],
    send: Callable[[DomuSpec, list[int]], None],
) -> None:
    """Give a domU fresh memory, and have it forked.

    Parameters
    ----------
    domu : DomuProcess
        Gets its ends of the control channel and the log.
    spec : DomuSpec
    renewed : callable
        Called when its channels have other memory: workers must map it before it is ready.
    send : callable
        Sends the zygote a message with descriptors.

    Raises
    ------
    OSError, PlatformError
    """
    with contextlib.ExitStack() as theirs:
        control, its_control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        domu.control = control
        theirs.callback(its_control.close)
        control.setblocking(False)
        log, its_log = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        domu.log = Log(log)
        theirs.callback(os.close, its_log)
        os.set_blocking(its_log, True)
        memory: list[int] = []
        # What has been made is closed if the next cannot be.
        theirs.callback(lambda: deque(map(os.close, memory), maxlen=0))
        for channel in domu.channels:
            memory += renew(channel)
        memory += [domu.image.copy()] if domu.image else []
        renewed()
        send(spec, [its_control.fileno(), its_log, *memory])
        domu.asked = True
