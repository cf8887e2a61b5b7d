# SPDX-License-Identifier: MIT
"""The zygote: the warmed, single-threaded process that workers and wires are forked from.

It maps the memory and compiles everything once; a worker forked from it runs 3 ms later. It speaks lines of
JSON over a socket pair with the platform, in both directions:

| from the platform | answer |
| --- | --- |
| `{"start": manifest file}` | `{"progress": text}` ..., `{"ns_per_tick": n}`, `{"ready": true}` or `{"failed": text}` |
| `{"core": n, "cpu": c}` / `{"wire": 0, "cpu": c}` | `{"forked": pid, "core": n}` or `{"forked": pid, "wire": 0}` |
| | `{"exited": pid, "status": s}` whenever a child ends |
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from workers.core import Worker, shape_of
from workers.process import attach_all, follow_parent, settle_in
from workers.recorder import run_wire_process


class Zygote:
    """State of the zygote process."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self._unread = b""
        self.manifest: dict[str, Any] = {}
        self.code: dict[str, list[Any]] = {}
        self.workers: list[Worker] = []
        self.kernels: dict[str, Any] = {}
        self.children: set[int] = set()

    def say(self, **message: Any) -> None:
        """Send one message."""
        self.channel.sendall(json.dumps(message).encode() + b"\n")

    def loop(self) -> None:
        """Serve the platform until it closes the channel."""
        wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_write)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        # The platform decides when to end; a Ctrl-C of the terminal is not for us.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        while True:
            ready, _, _ = select.select([self.channel.fileno(), wake_read], [], [])
            if wake_read in ready:
                os.read(wake_read, 512)
                self._reap()
            if self.channel.fileno() in ready:
                data = self.channel.recv(65536)
                if not data:
                    return
                *lines, self._unread = (self._unread + data).split(b"\n")
                for line in lines:
                    self._obey(json.loads(line))

    def _reap(self) -> None:
        while self.children:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self.children.discard(pid)
            self.say(exited=pid, status=os.waitstatus_to_exitcode(status))

    def _obey(self, message: dict[str, Any]) -> None:
        if "start" in message:
            try:
                self._start(Path(message["start"]))
            except Exception as error:  # told to the platform, which ends with it
                traceback.print_exc()
                self.say(failed=f"{type(error).__name__}: {error}")
            else:
                self.say(ready=True)
        elif "core" in message:
            self._fork("core", message["core"], message["cpu"])
        elif "wire" in message:
            self._fork("wire", message["wire"], message["cpu"])

    def _start(self, manifest: Path) -> None:
        self.say(progress="loading the compiler")
        from workers import loop, wire
        from workers.clock import calibrate, install, read_ticks
        from workers.compiler import compile_kernel, compile_shape, warm

        self.manifest = json.loads(manifest.read_text())
        attach_all(self.manifest)
        functions: dict[str, Callable[..., Any]] = {"ticks": read_ticks, "slice": loop.run_slice, "wire": wire.run_wire}
        shapes = {router["name"]: shape_of(router) for router in self.manifest["routers"]}
        by_key = {shape.key(): shape for shape in shapes.values()}
        jobs: dict[str, tuple[str, Callable[[], object]]] = {}
        for name, shape in shapes.items():
            jobs.setdefault(f"shape-{shape.key()}", (f"router {name}", partial(compile_shape, shape)))
        for name, function in functions.items():
            jobs[f"kernel-{name}"] = (f"the {name} loop", partial(compile_kernel, function))
        warm(jobs, lambda text: self.say(progress=text))
        self.say(progress="loading compiled code")
        self.kernels = {name: compile_kernel(function) for name, function in functions.items()}
        known = {key: compile_shape(shape) for key, shape in by_key.items()}
        self.code = {name: known[shape.key()] for name, shape in shapes.items()}
        calibration = calibrate(self.kernels["ticks"])
        install(self.manifest, calibration)
        self.say(ns_per_tick=calibration.ns_per_tick)
        self.workers = [
            Worker(self.manifest, number, self.code, self.kernels["slice"], self.kernels["ticks"])
            for number in range(len(self.manifest["cores"]))
        ]
        # What is alive now never dies: no collection in a child shall copy its pages to find that out.
        gc.collect()
        gc.freeze()

    def _fork(self, kind: str, number: int, cpu: int | None) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid:
            self.children.add(pid)
            self.say(forked=pid, **{kind: number})
            return
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self.channel.close()
            follow_parent(parent)
            self._child(kind, number, cpu)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    def _child(self, kind: str, number: int, cpu: int | None) -> None:
        settle_in(f"vre-{kind}-{number}", cpu, self.manifest)
        if kind == "core":
            self.workers[number].run()
        else:
            run_wire_process(self.manifest, self.kernels["wire"], self.kernels["ticks"])


def main() -> None:
    """Serve the platform on the socket whose descriptor is the first argument."""
    follow_parent(int(sys.argv[2]))
    Zygote(socket.socket(fileno=int(sys.argv[1]))).loop()


if __name__ == "__main__":
    main()
