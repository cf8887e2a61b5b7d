# SPDX-License-Identifier: MIT
"""Starts zygotes: with a socket to the platform, captured output, and a process group of their own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from vre.supervision.stderr import StandardError


@dataclass
class ZygoteProcess:
    """A running zygote."""

    process: subprocess.Popen[bytes]
    channel: socket.socket
    overheard: StandardError

    def end(self) -> int:
        """Kill it if it runs; return its status."""
        self.process.kill()
        status = self.process.wait()
        self.channel.close()
        self.overheard.close()
        return status


def start_zygote(
    module: str,
    kind: socket.SocketKind,
    say: Callable[[str], None],
    environment: Mapping[str, str] | None = None,
    descriptors: Sequence[int] = (),
) -> ZygoteProcess:
    """Start a zygote, which gets its socket's descriptor and the platform's process id as arguments.

    Parameters
    ----------
    module : str
        The module that it runs.
    kind : socket.SocketKind
        Of the socket between it and the platform.
    say : callable
        Given each line that it writes to its standard output or error.
    environment : mapping, optional
        Its environment [the platform's].
    descriptors : sequence of int
        Other descriptors that it inherits.

    Raises
    ------
    OSError
        No process or no descriptor is left.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    overheard = StandardError(say)
    try:
        # -I would hide the packages of a checkout; no site customisation is wanted either way.
        process = subprocess.Popen(
            [sys.executable, "-m", module, str(theirs.fileno()), str(os.getpid())],
            pass_fds=[theirs.fileno(), *descriptors],
            stdin=subprocess.DEVNULL,
            stdout=overheard.far_end,
            stderr=overheard.far_end,
            env=environment,
            # A group of its own: signals to the platform's group end nothing but the platform, which ends the others.
            process_group=0,
        )
    except BaseException:
        ours.close()
        overheard.started()
        overheard.close()
        raise
    finally:
        theirs.close()
    overheard.started()
    return ZygoteProcess(process, ours, overheard)
