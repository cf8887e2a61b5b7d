# SPDX-License-Identifier: MIT
"""A command in a host of a lab that runs: with the caller's terminal, folder and environment, and its status."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from vre.errors import PlatformError
from vre.lab import kernel, namespaces
from vre.lab.directory import State

#: What a shell says of a command that is not there, and of one that cannot be run.
_NOT_FOUND, _NOT_RUN = 127, 126
#: Signals of the terminal go to the command as well, and it decides what they mean.
_LEFT_TO_IT = (signal.SIGINT, signal.SIGQUIT)
_PASSED_ON = (signal.SIGTERM, signal.SIGHUP)
_PR_SET_PDEATHSIG = 1


def run_in_host(state: State, namespace: str, command: Sequence[str]) -> int:
    """Run a command in a host; return its exit status, 128 + the signal's number if a signal has ended it.

    Raises PlatformError if the host cannot be entered.
    """
    return in_host(state, namespace, lambda: _become(command))


def run_shell(state: State, namespace: str) -> int:
    """Run the user's shell in a host, as :func:`run_in_host` does."""
    if not os.isatty(0):
        return run_in_host(state, namespace, _shell())
    # A shell gives the terminal back to the group that had it: one that it can name in its PID namespace.
    status = in_host(state, namespace, lambda: _lead(_shell()))
    _take_terminal(os.getpgrp())
    return status


def _lead(command: Sequence[str]) -> NoReturn:
    """Be another program, with a process group of its own that has the terminal."""
    os.setpgid(0, 0)
    _take_terminal(os.getpid())
    _become(command)


def _take_terminal(group: int) -> None:
    """Let a process group have the terminal, also if that is in the background so far."""
    before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.tcsetpgrp(0, group)
    signal.signal(signal.SIGTTOU, before)


def in_host(state: State, namespace: str, become: Callable[[], NoReturn]) -> int:
    """Run a child process in a host, which `become`s what it is to be; return its exit status."""
    folder = os.getcwd()
    _enter(state, namespace)
    with contextlib.suppress(OSError):
        os.chdir(folder)
    child = os.fork()
    if child == 0:
        try:
            # In the PID namespace that it is in, its parent is not seen.
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            for number in (*_PASSED_ON, *_LEFT_TO_IT, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            if state.rootless:
                kernel.keep_capabilities()
            become()
        finally:
            os._exit(_NOT_RUN)
    return _wait(child)


def _enter(state: State, namespace: str) -> None:
    """Enter the namespaces of a host; the next child is in its PID namespace. Raises PlatformError."""
    kinds = {"user": kernel.NEWUSER} if state.rootless else {}
    kinds |= {"mnt": kernel.NEWNS, "pid": kernel.NEWPID}
    try:
        with kernel.opened(*(f"/proc/{state.init}/ns/{kind}" for kind in kinds)) as found:
            for fd, kind in zip(found, kinds.values(), strict=True):
                kernel.setns(fd, kind)
        with kernel.opened(namespaces.place(namespace)) as (network,):
            kernel.setns(network, kernel.NEWNET)
    except OSError as error:
        raise PlatformError(f"the host cannot be entered: {error.strerror} ({error.filename})") from None


def _wait(child: int) -> int:
    for number in _LEFT_TO_IT:
        signal.signal(number, signal.SIG_IGN)
    for number in _PASSED_ON:
        signal.signal(number, lambda number, _: os.kill(child, number))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status if status >= 0 else 128 - status


def _become(command: Sequence[str]) -> NoReturn:
    """Be another program."""
    try:
        os.execvp(command[0], list(command))
    except FileNotFoundError:
        os.write(2, f"error: there is no program '{command[0]}'\n".encode())
        os._exit(_NOT_FOUND)
    except OSError as error:
        os.write(2, f"error: cannot run {command[0]}: {error.strerror}\n".encode())
        os._exit(_NOT_RUN)


def _shell() -> list[str]:
    """Return the user's shell."""
    named = os.environ.get("SHELL", "")
    return [named if named and Path(named).exists() else "/bin/sh"]
