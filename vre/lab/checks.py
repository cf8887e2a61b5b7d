# SPDX-License-Identifier: MIT
"""A lab's checks: commands in its hosts, each tried until it does what is expected, or its time is up."""

from __future__ import annotations

import os
import select
import signal
import time
from dataclasses import dataclass
from typing import NoReturn

from vre.lab.directory import State
from vre.lab.entering import in_host
from vre.lab.topology import Check, Lab

_SHELL = "/bin/sh"
#: Bytes of a command's output that are looked at, and kept: the last ones.
_KEPT = 1 << 16
#: Between two tries.
_AGAIN_S = 0.5


@dataclass(frozen=True)
class Outcome:
    """What came of a check: whether it holds, after how many tries, and the last try's status and output."""

    check: Check
    holds: bool
    tries: int
    status: int
    output: str

    def why(self) -> str:
        """Return why it does not hold, in one line."""
        if self.status != self.check.status:
            return f"status {self.status}, not {self.check.status}"
        return f"it does not print '{self.check.output}'"


def run_check(lab: Lab, state: State, check: Check) -> Outcome:
    """Run a check of a lab that runs. Raises PlatformError if its host cannot be entered."""
    end, tries = time.monotonic() + check.within_s, 0
    while True:
        tries += 1
        status, output = _attempt(state, lab.namespace(check.host), check.command, end - time.monotonic())
        holds = status == check.status and check.output in output
        if holds or time.monotonic() + _AGAIN_S > end:
            return Outcome(check, holds, tries, status, output)
        time.sleep(_AGAIN_S)


def _attempt(state: State, namespace: str, command: str, seconds: float) -> tuple[int, str]:
    """Return a command's status and output; it is killed when its time is up."""
    ours, theirs = os.pipe()
    child = os.fork()  # the namespaces that it enters are not left again
    if child == 0:
        status = 1
        try:
            os.setsid()
            os.close(ours)
            status = in_host(state, namespace, lambda: _shell(command, theirs))
        finally:
            os._exit(status)
    os.close(theirs)
    try:
        output = _read(ours, time.monotonic() + seconds)
    finally:
        os.close(ours)
    end = time.monotonic() + max(seconds, 1.0)
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < end:
        time.sleep(0.01)
    if ended == (0, 0):
        os.killpg(child, signal.SIGKILL)
        ended = os.waitpid(child, 0)
    status = os.waitstatus_to_exitcode(ended[1])
    return (status if status >= 0 else 128 - status), output


def _read(pipe: int, end: float) -> str:
    """Return what comes out of a pipe until it is closed, or until `end`."""
    kept = b""
    while (left := end - time.monotonic()) > 0 and select.select([pipe], [], [], left)[0]:
        data = os.read(pipe, _KEPT)
        if not data:
            break
        kept = (kept + data)[-_KEPT:]
    return kept.decode(errors="replace")


def _shell(command: str, output: int) -> NoReturn:
    null = os.open(os.devnull, os.O_RDONLY)
    for fd, target in ((null, 0), (output, 1), (output, 2)):
        os.dup2(fd, target)
    os.execv(_SHELL, [_SHELL, "-c", command])
