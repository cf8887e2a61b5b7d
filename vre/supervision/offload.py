# SPDX-License-Identifier: MIT
"""Work on untrusted texts and files, done in a forked process while the platform goes on.

A configuration may be long, name files on a dead server, or be crafted to take minutes and gigabytes to read. The
forked process has limited time and memory; it returns its result, or the errors that it found.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import resource
import signal
import time
import warnings
from collections.abc import Callable
from typing import Any, NoReturn, ParamSpec, TypeVar

from vre.errors import ConfigError, PlatformError, Problem
from workers.process import follow_parent
from workers.sandbox.jail import footprint

P = ParamSpec("P")
T = TypeVar("T")

#: What the process may use: processor time, memory besides what it has; how long it is waited for; most it hands back.
_CPU_S, _MEMORY, _WAIT_S, _ANSWER = 30, 2 << 30, 60.0, 256 << 20
_NICE = 5
_LOOK_S = 0.002
#: Errors that are raised here as they were there, by what :func:`_outcome` calls them.
_ERRORS: dict[str, Callable[[Any], Exception]] = {
    "config": ConfigError,
    "value": ValueError,
    "platform": PlatformError,
}


def apart(what: str, wait: Callable[[float], None], function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call `function` in a forked process; return a copy of its result.

    Parameters
    ----------
    what : str
        What it does, as in "reading lab.toml".
    wait : callable
        Lets the given seconds pass; called repeatedly meanwhile.
    function : callable
    args, kwargs
        Of the function.

    Raises
    ------
    ConfigError, ValueError
        As `function` does.
    PlatformError
        As `function` does; or it took too much time or memory, or ended.
    RuntimeError
        It failed in another way.
    """
    told, pid = _fork(lambda: function(*args, **kwargs))
    try:
        said = _hear(told, wait)
    finally:
        os.close(told)
        status = _end(pid)
    if said is None:
        raise PlatformError(f"{what} was given up after {_WAIT_S:g} s")
    if not said:
        raise PlatformError(f"{what} took too much time or memory (status {status})")
    kind, value = pickle.loads(said)
    if kind == "failed":
        raise RuntimeError(f"{what} failed: {value}")
    if kind in _ERRORS:
        raise _ERRORS[kind](value)
    result: T = value
    return result


def _fork(function: Callable[[], Any]) -> tuple[int, int]:
    """Return the end of a pipe that a forked process writes the outcome of `function` to, and its pid."""
    told, tell = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(told, False)
    parent = os.getpid()
    with warnings.catch_warnings():
        # Other threads are not in the child, and it does not need them.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        _work(tell, parent, function)
    os.close(tell)
    return told, pid


def _hear(told: int, wait: Callable[[float], None]) -> bytes | None:
    """Return what the process writes until it closes the pipe; None if that takes too long."""
    said, end = bytearray(), time.monotonic() + _WAIT_S
    while time.monotonic() < end and len(said) < _ANSWER:
        try:
            data = os.read(told, 1 << 20)
        except BlockingIOError:
            wait(_LOOK_S)
            continue
        if not data:
            return bytes(said)
        said += data
    return None


def _end(pid: int) -> int:
    """Kill the process, if it lives; return its status. One that hangs in the kernel is abandoned."""
    os.kill(pid, signal.SIGKILL)
    for _ in range(100):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.0005)
    return 0


def _work(tell: int, parent: int, function: Callable[[], Any]) -> NoReturn:
    """Run in the child: call the function, write the result, exit."""
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        follow_parent(parent)
        os.nice(_NICE)
        mapped, _ = footprint()
        most = mapped + _MEMORY
        for kind, limit in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_CPU, _CPU_S), (resource.RLIMIT_AS, most)):
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(kind, (limit, limit))
        said = _outcome(function)
        while said:
            said = said[os.write(tell, said) :]
    finally:
        os._exit(0)


def _outcome(function: Callable[[], Any]) -> bytes:
    try:
        return pickle.dumps(("done", function()))
    except ConfigError as error:
        return pickle.dumps(("config", [Problem(p.where, p.message, p.text) for p in error.problems]))
    except ValueError as error:
        return pickle.dumps(("value", str(error)))
    except MemoryError:
        return b""
    except PlatformError as error:
        return pickle.dumps(("platform", str(error)))
    except Exception as error:  # passed on by its type
        return pickle.dumps(("failed", f"{type(error).__name__}: {error}"))
