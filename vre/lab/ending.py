# SPDX-License-Identifier: MIT
"""Ending a lab from another process."""

from __future__ import annotations

import contextlib
import os
import signal
import time

from vre.errors import PlatformError
from vre.lab.directory import LabDirectory, State, sweep

#: How long a lab has to end when it is asked to; after a kill, which leaves nothing to wait for.
_END_S, _KILLED_S = 25.0, 2.0


def end(directory: LabDirectory, state: State) -> None:
    """End a lab that runs, and wait until all that it made is gone. Raises PlatformError."""
    for number, seconds in ((signal.SIGTERM, _END_S), (signal.SIGKILL, _KILLED_S)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(state.pid, number)
        until = time.monotonic() + seconds
        while directory.alive() and time.monotonic() < until:
            time.sleep(0.02)
        if not directory.alive():
            sweep()
            return
    raise PlatformError(f"lab '{directory.name}' does not end: its process is {state.pid}")
