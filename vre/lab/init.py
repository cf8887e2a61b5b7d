# SPDX-License-Identifier: MIT
"""The first process of a lab's PID namespace: all that runs in the hosts ends with it, and it ends with the lab.

Between it and the lab's process there is a monitor, since a process cannot enter a PID namespace itself. What they tell
each other is JSON over a SEQPACKET socket:

| from the lab | answer |
| --- | --- |
| | `{"pid": P}` at its start, or `{"error": text}` |
| `{"run": [[namespace, command], ...]}` | `{"ended": command, "namespace": name, "status": status}` when one ends |
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vre.errors import PlatformError
from vre.lab import kernel, namespaces
from workers.process import follow_parent, leave_signals, take_name, wakings

_LONGEST = 1 << 16
_SHELL = "/bin/sh"
#: Signals that an init ignores, and that programs get as they are by default.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD)


class Init:
    """The lab's end. Raises PlatformError if the host gives no PID namespace.

    Parameters
    ----------
    log : Path
        Gets what the commands print.
    """

    def __init__(self, log: Path) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        parent = os.getpid()
        self._monitor = os.fork()
        if self._monitor == 0:
            self._channel.close()
            try:
                _monitor(parent, theirs, log)
            finally:
                os._exit(1)
        theirs.close()
        said = json.loads(self._channel.recv(_LONGEST) or b'{"error": "it has ended"}')
        if "error" in said:
            self.end()
            raise PlatformError(f"a lab needs a PID namespace of its own: {said['error']}")
        self.pid: int = said["pid"]
        self._channel.setblocking(False)

    def run(self, commands: Sequence[tuple[str, str]]) -> None:
        """Start commands, each in a namespace. Raises OSError if there are too many."""
        for command in commands:
            self._channel.send(json.dumps({"run": [command]}).encode())

    def ended(self) -> Iterator[dict[str, Any]]:
        """Yield the commands that have ended since the last call."""
        with contextlib.suppress(BlockingIOError):
            while said := self._channel.recv(_LONGEST):
                yield json.loads(said)

    def end(self) -> None:
        """Kill all that runs in the hosts, and wait for it."""
        self._channel.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._monitor, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._monitor, 0)


def _monitor(parent: int, channel: socket.socket, log: Path) -> None:
    """Be the process around the PID namespace: end when the lab does."""
    follow_parent(parent)
    leave_signals()
    take_name("vre-lab")
    # A pipe that the lab has as its output shall end when it lets go of it.
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    try:
        kernel.unshare(kernel.NEWPID | kernel.NEWNS)
        kernel.leave_mounts()
        pid = os.fork()
        if pid == 0:
            try:
                _init(channel, log)
            finally:
                os._exit(1)
    except OSError as error:
        channel.send(json.dumps({"error": f"{error.strerror} ({error.filename})"}).encode())
        os._exit(1)
    os.waitpid(pid, 0)
    os._exit(0)


def _init(channel: socket.socket, log: Path) -> None:
    """Be the first process of the PID namespace: run commands, and reap what ends."""
    follow_parent(os.getppid())
    take_name("vre-lab-init")
    try:
        outside = int(os.readlink("/proc/self"))  # before it is this namespace's /proc
        kernel.mount_proc()
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        channel.send(json.dumps({"error": f"{error.strerror} ({error.filename})"}).encode())
        return
    channel.send(json.dumps({"pid": outside}).encode())
    running: dict[int, tuple[str, str]] = {}
    for ended, told in wakings(channel):
        if ended:
            for pid, status in _reaped():
                if pid in running:
                    namespace, command = running.pop(pid)
                    said = {"ended": command, "namespace": namespace, "status": status}
                    with contextlib.suppress(BlockingIOError):  # a lab that does not listen is told no more
                        channel.send(json.dumps(said).encode(), socket.MSG_DONTWAIT)
        if told:
            message = channel.recv(_LONGEST)
            if not message:
                return
            for namespace, command in json.loads(message)["run"]:
                running[_start(namespace, command, output)] = (namespace, command)


def _reaped() -> Iterator[tuple[int, int]]:
    """Yield the children that have ended: process and exit status."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            yield ended[0], os.waitstatus_to_exitcode(ended[1])


def _start(namespace: str, command: str, output: int) -> int:
    """Start a command in a host, with a session of its own; return its process."""
    pid = os.fork()
    if pid:
        return pid
    try:
        signal.set_wakeup_fd(-1)
        for one in _SIGNALS:
            signal.signal(one, signal.SIG_DFL)
        os.setsid()
        with kernel.opened(namespaces.place(namespace)) as (network,):
            kernel.setns(network, kernel.NEWNET)
        null = os.open(os.devnull, os.O_RDONLY)
        for fd, target in ((null, 0), (output, 1), (output, 2)):
            os.dup2(fd, target)
        os.execv(_SHELL, [_SHELL, "-c", command])
    except OSError as error:
        os.write(output, f"{namespace}: {error}\n".encode())
    finally:
        os._exit(127)
