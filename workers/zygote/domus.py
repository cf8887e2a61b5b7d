# SPDX-License-Identifier: MIT
"""The zygote of domUs: an interpreter with nothing in it but trusted code, that jails are forked from.

NumPy and Numba take half a second to load; a domU forked from here runs its router's code some 30 ms later. The
zygote maps none of the platform's memory and knows none of its secrets. What it is told and answers stands in
:mod:`workers.zygote.domu_messages`.

Each domU has a *monitor*: the process that stays outside its PID namespace, waits for it, and ends as it did.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import io
import json
import os
import resource
import signal
import socket
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

from workers.domu.sources import Shelf, read_folder
from workers.domu.spec import Cluster, DomuSpec
from workers.process import follow_parent, sleep_precisely, wakings
from workers.sandbox import jail
from workers.sandbox.bubblewrap import join_namespaces
from workers.sandbox.folders import Readable, readable
from workers.sandbox.seccomp import SeccompError, compile_filter
from workers.zygote.domu_messages import FROM_ZYGOTE, TO_ZYGOTE, Exited, Forked, FromZygote, Ready, Unforked

#: Most bytes of a message, and descriptors that come with it.
MESSAGE, DESCRIPTORS = 128 << 10, 50
#: Descriptors that a domU begins with: control, log, and pairs of channel memory.
CONTROL, FIRST_CHANNEL = 3, 4


class Zygote:
    """State of the zygote process."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.children: set[int] = set()
        self.filter: bytes | None = None
        self.kernels: dict[str, Any] = {}
        self.code: Any = None
        self.readable = Readable((), {})
        #: Whether namespaces are taken, or had from bubblewrap.
        self.own = True
        self.holder: Any = None

    def say(self, message: FromZygote) -> None:
        """Send one message."""
        self.channel.send(FROM_ZYGOTE.write(message))

    def loop(self) -> None:
        """Serve the platform until it closes the channel."""
        from workers.domu.main import compile_crossing
        from workers.zygote.kernels import Code

        with contextlib.suppress(SeccompError):
            self.filter = compile_filter()
        self.kernels, self.code = compile_crossing(), Code("slice", "ticks", "bridge")
        self.readable = readable()
        # What bubblewrap makes for root knows no user but root, and root needs no help.
        asked = os.environ.get("VRE_NAMESPACES") == "bubblewrap"
        self.own = os.geteuid() == 0 or (not asked and jail.may_unshare())
        gc.collect()
        gc.freeze()
        self.say(Ready(self.filter is not None, "own" if self.own else "bubblewrap"))
        for ended, told in wakings(self.channel):
            if ended:
                self._reap()
            if told:
                data, descriptors, _, _ = socket.recv_fds(self.channel, MESSAGE, DESCRIPTORS)
                if not data:
                    return
                spec = TO_ZYGOTE.read(data)
                try:
                    self._start(spec, descriptors)
                except Exception as error:
                    # No process, memory or descriptor is left, or its graph cannot be loaded: that is all.
                    self.say(Unforked(spec.domu, f"{type(error).__name__}: {error}"[:2000]))
                for fd in descriptors:
                    os.close(fd)

    def _reap(self) -> None:
        while self.children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            self.children.discard(pid)
            self.say(Exited(pid, os.waitstatus_to_exitcode(status)))

    def _start(self, spec: DomuSpec, descriptors: list[int]) -> None:
        """Fork a monitor, which forks the domU, and report their process ids to the platform."""
        if spec.graph:
            from workers.domu.hosted_graph import read_manifest

            self.code.load(read_manifest(descriptors[-1], spec.graph))
        told, tell = os.pipe()
        parent = os.getpid()
        try:
            monitor = os.fork()
        except OSError:
            os.close(told)
            os.close(tell)
            raise
        if monitor == 0:
            try:
                self._monitor(spec, descriptors, parent, tell)
            except BaseException as error:
                with contextlib.suppress(OSError):
                    os.write(tell, FROM_ZYGOTE.write(Unforked(spec.domu, f"{error}", os.getpid())))
                os._exit(0 if isinstance(error, jail.JailError) else 1)
        os.close(tell)
        with os.fdopen(told, "rb") as pipe:
            answer = pipe.read()
        self.children.add(monitor)
        self.say(FROM_ZYGOTE.read(answer) if answer else Unforked(spec.domu, "it ended at once", monitor))

    def _monitor(self, spec: DomuSpec, descriptors: list[int], parent: int, tell: int) -> None:
        """Be the monitor."""
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        follow_parent(parent)
        # Its own session: the scheduler's groups, if it has them, are by session.
        os.setsid()
        os.sched_setaffinity(0, spec.cpus)
        tell = _rearrange(descriptors, tell)
        if spec.tier == "strict":
            if self.own:
                jail.unshare()
            else:
                self.holder = join_namespaces()
        main = os.fork()
        if main == 0:
            self._live(spec, len(descriptors), tell)
        os.write(tell, FROM_ZYGOTE.write(Forked(spec.domu, main, os.getpid())))
        os.closerange(0, tell + 1)
        _end_as(os.waitpid(main, 0)[1])

    def _live(self, spec: DomuSpec, count: int, tell: int) -> None:
        """Be the domU: shut the doors, then let its code in."""
        status = 1
        try:
            tier = spec.tier
            # And what the monitor has opened since.
            os.closerange(tell, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
            os.environ.clear()
            _speak_at_once()
            spec = _bring_in(spec)
            # /proc is not there later on.
            mapped = jail.footprint()
            if tier == "strict":
                jail.enter_root(spec.root, self.readable)
            jail.limit(spec.memory, *mapped)
            jail.give_up(spec.uid if tier != "unsafe" else None)
            from workers.domu import main
            from workers.sandbox import probe

            control = socket.socket(fileno=CONTROL)
            sleep_precisely()
            jail.lock(tier, self.filter, self.readable)
            if spec.probe:
                os.write(CONTROL, json.dumps({"probed": probe.run(spec.probe.fatal)}).encode())
                os._exit(0)
            # From here on it may be its code that speaks.
            os.write(CONTROL, json.dumps({"jailed": True}).encode())
            channels = range(FIRST_CHANNEL, FIRST_CHANNEL + count - 2)
            status = main.run(control, channels, spec, self.kernels, self.code)
        except BaseException as error:
            _last_words(error)
        finally:
            os._exit(status)


def _speak_at_once() -> None:
    """Keep nothing back of what is printed: a domU may end at any time, and what it said last is what matters."""
    for fd, name in ((1, "stdout"), (2, "stderr")):
        raw = io.FileIO(fd, "wb", closefd=False)
        setattr(sys, name, io.TextIOWrapper(raw, "utf-8", "backslashreplace", write_through=True))


def _bring_in(spec: DomuSpec) -> DomuSpec:
    """Get the elements' files ready to be imported; return what says where from."""
    sources = [Path(source) for source in spec.sources]
    if spec.tier == "unsafe":
        folders = [str(source.parent) for source in sources]
        sys.path[:0] = folders
    else:
        folders = [f"{jail.ELEMENT}/{i}" for i in range(len(sources))]
        shelf = {}
        for source, folder in zip(sources, folders, strict=True):
            shelf[folder], left_out = read_folder(source)
            for what in left_out:
                print(f"not taken along: {what}")
        Shelf(shelf).install()
    names = (f"{folder}/{source.name}" for source, folder in zip(sources, folders, strict=True))
    there = dict(zip(spec.sources, names, strict=True))

    def moved(clusters: tuple[Cluster, ...]) -> tuple[Cluster, ...]:
        return tuple(replace(one, sources=tuple(there[source] for source in one.sources)) for one in clusters)

    return replace(spec, clusters=moved(spec.clusters), inside=moved(spec.inside))


def _last_words(error: BaseException) -> None:
    """Tell the platform why the domU does not begin, and its log where."""
    with contextlib.suppress(BaseException):
        key = "unjailed" if isinstance(error, jail.JailError) else "failed"
        # Escaped as JSON it may be six times as long, and a message has 4 KiB.
        said = f"{type(error).__name__}: {error}"[:500] + _place(error)
        os.write(CONTROL, json.dumps({key: said}).encode())
    with contextlib.suppress(BaseException):
        traceback.print_exc()


def _place(error: BaseException) -> str:
    """Return where an exception was raised, in an element's file where that is on the way: ` (file:line)`."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if frame.filename.startswith(f"{jail.ELEMENT}/")] or frames
    return f" ({Path(inside[-1].filename).name}:{inside[-1].lineno})"[:100] if inside else ""


def _rearrange(descriptors: list[int], tell: int) -> int:
    """Put descriptors where a domU has them, and close all others; return where `tell` is then."""
    # Above all numbers that are going to be used.
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 200) for fd in (tell, *descriptors)]
    null = fcntl.fcntl(os.open(os.devnull, os.O_RDONLY), fcntl.F_DUPFD, 200)
    tell, control, log, *channels = high
    os.dup2(null, 0)
    for target in (1, 2):
        os.dup2(log, target)
    for target, fd in enumerate((control, *channels, tell), CONTROL):
        os.dup2(fd, target)
    last = CONTROL + 1 + len(channels)
    os.closerange(last + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    return last


def _end_as(status: int) -> None:
    """End as a child did."""
    if os.WIFSIGNALED(status):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        number = os.WTERMSIG(status)
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def main() -> None:
    """Serve the platform on the socket whose descriptor is the first argument."""
    follow_parent(int(sys.argv[2]))
    # A platform that ends without a look at what it was told resets the channel: it needs no zygote any more.
    with contextlib.suppress(ConnectionError):
        Zygote(socket.socket(fileno=int(sys.argv[1]))).loop()


if __name__ == "__main__":
    main()
