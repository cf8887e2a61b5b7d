# SPDX-License-Identifier: MIT
"""The zygote: the warmed, single-threaded process that workers and wires are forked from.

It maps the memory and compiles everything once; a worker forked from it runs 3 ms later. What it is told and answers
stands in :mod:`workers.zygote.messages`. What it forks are the platform's children, not its own: they outlive it.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shm.manifest import Manifest
from shm.segment import Segment, attach_only
from workers.control.process import run_control
from workers.core.worker import Worker
from workers.process import follow_parent, fork_sibling, settle_in, take_processor, wakings
from workers.wire.capture_writer import run_writer
from workers.wire.process import run_wire_process
from workers.zygote import messages
from workers.zygote.stdio import speak_into

#: Compiling while packets flow takes what time the workers leave, and little more.
_COMPILER_NICE = 10


class Zygote:
    """State of the zygote process."""

    #: As it has been read last; not there before it is told to start.
    manifest: Manifest

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self._unread = b""
        self.segments: dict[str, Segment] = {}
        self.workers: list[Worker] = []
        #: A workers.zygote.kernels.Code, once Numba is there.
        self.code: Any = None
        self._compiling = 0
        self._processors = os.sched_getaffinity(0)

    def say(self, message: messages.FromZygote) -> None:
        """Send one message."""
        self.channel.sendall(messages.FROM_ZYGOTE.write(message) + b"\n")

    def loop(self) -> None:
        """Serve the platform until it closes the channel."""
        for ended, told in wakings(self.channel):
            if ended:
                self._reap()
            if told:
                data = self.channel.recv(65536)
                if not data:
                    return
                *lines, self._unread = (self._unread + data).split(b"\n")
                for line in lines:
                    self._obey(messages.TO_ZYGOTE.read(line))

    def _reap(self) -> None:
        if self._compiling and os.waitpid(self._compiling, os.WNOHANG)[0]:
            self._compiling = 0
            self._answer(self._load)

    def _obey(self, message: messages.ToZygote) -> None:
        match message:
            case messages.Start():
                self._answer(lambda: self._start(message), message.again)
            case messages.Change(manifest):
                self._change(Path(manifest))
            case messages.Fork():
                self._fork(message)

    def _answer(self, work: Callable[[], None], again: bool = False) -> None:
        try:
            work()
        except Exception as error:  # told to the platform, which decides
            with contextlib.suppress(OSError):  # earlier output may not have been read
                traceback.print_exc()
            self.say(messages.Failed(f"{type(error).__name__}: {error}"))
        else:
            self.say(messages.Ready(again))

    def _tell(self, text: str) -> None:
        self.say(messages.Progress(text))

    def _start(self, asked: messages.Start) -> None:
        self._tell("loading the compiler")
        from workers.core.clock import calibrate, install
        from workers.zygote.kernels import Code

        self.code = Code("wire", "slice", "ticks")
        self._read(Path(asked.manifest))
        self.code.warm(self.manifest, self._tell)
        self._tell("loading compiled code")
        self.code.load(self.manifest)
        if not asked.again:
            calibration = calibrate(self.code.kernels["ticks"])
            self.manifest = install(self.manifest, calibration)
            self.say(messages.Calibrated(calibration.ns_per_tick))
        self._load()
        # What is alive now never dies: no collection in a child shall copy its pages to find that out.
        gc.collect()
        gc.freeze()
        # From now on what the zygote does shall hold up the wire rather than a core: a wire catches up.
        take_processor(asked.cpu)

    def _read(self, manifest: Path) -> None:
        """Read the manifest; map what is new, and unmap what is gone."""
        # Configurations that are about to run are got ready with those that do.
        self.manifest = Manifest.from_json(manifest.read_text()).with_upcoming()
        attach_only(self.segments, self.manifest.segments)

    def _load(self) -> None:
        """Load from the cache what workers and wire run, and make the workers."""
        self.code.load(self.manifest)
        self.code.install(self.manifest)
        kernels = self.code.kernels
        self.workers = [
            Worker(self.manifest, number, kernels["slice"], kernels["ticks"])
            for number in range(len(self.manifest.cores))
        ]

    def _change(self, manifest: Path) -> None:
        """Get ready for another manifest. Compiling is left to a child: workers may have to be replaced meanwhile."""
        try:
            self._read(manifest)
        except Exception as error:
            self.say(messages.Failed(f"{type(error).__name__}: {error}"))
            return
        parent = os.getpid()
        try:
            self._compiling = os.fork()
        except OSError as error:
            self.say(messages.Failed(f"no process to compile in: {error.strerror}"))
            return
        if self._compiling == 0:
            try:
                self._leave_zygote(parent, channel=True)
                os.nice(_COMPILER_NICE)
                os.sched_setaffinity(0, self._processors)
                self.code.warm(self.manifest, self._tell)
            finally:
                os._exit(0)

    def _leave_zygote(self, parent: int, channel: bool = False) -> None:
        """Be a child: no longer woken by children's ends, and gone when the zygote is."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if not channel:
            self.channel.close()
        follow_parent(parent)

    def _fork(self, asked: messages.Fork) -> None:
        platform = os.getppid()
        told, tell = os.pipe2(os.O_CLOEXEC)
        try:
            pid = fork_sibling()
        except OSError as error:
            self.say(messages.Unforked(str(error.strerror), asked))
            pid = -1
        if pid:
            os.close(told)
            if pid > 0:
                self.say(messages.Forked(pid, asked))
                os.write(tell, b"!")
            os.close(tell)
            return
        status = 1
        try:
            os.close(tell)
            # If the zygote ends before it reports this child to the platform, the child must not remain.
            if not os.read(told, 1):
                os._exit(0)
            os.close(told)
            self._leave_zygote(platform)
            self._be(asked)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    def _be(self, asked: messages.Fork) -> None:
        """Be what was asked for, until its end."""
        kind, place, manifest, kernels = asked.kind, asked.place, self.manifest, self.code.kernels
        if kind == "capture":
            os.sched_setaffinity(0, self._processors)
            run_writer(manifest.wire.captures[place], place, asked.cpu)
            return
        if kind == "control":
            os.sched_setaffinity(0, self._processors)
            run_control(manifest.controls[place], kernels["routes"], kernels["pump"])
            return
        settle_in(f"vre-{kind}-{place}", manifest.segments, asked.gently)
        speak_into((manifest.cores[place] if kind == "core" else manifest.wire).journal)
        if kind == "core":
            self.workers[place].run(asked.number, asked.cpu)
        else:
            nic = self.workers[-1] if manifest.cores[-1].nic else None
            run_wire_process(manifest, kernels["wire"], kernels["ticks"], asked.number, asked.cpu, nic)


def main() -> None:
    """Serve the platform on the socket whose descriptor is the first argument."""
    follow_parent(int(sys.argv[2]))
    # A platform that ends without a look at what it was told resets the channel: it needs no zygote any more.
    with contextlib.suppress(ConnectionError):
        Zygote(socket.socket(fileno=int(sys.argv[1]))).loop()


if __name__ == "__main__":
    main()
