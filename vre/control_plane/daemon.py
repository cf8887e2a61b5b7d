# SPDX-License-Identifier: MIT
"""A router's routing daemon: started in its namespace, listened to, and started again by the domUs' restart policy."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from shm.escape import escape
from vre.config.control import PROGRAMS, find_program
from vre.config.model import Router
from vre.control_plane.generated import GENERATED
from vre.domu.policy import DIED, DUE, QUARANTINED, READY, RUNNING, STARTING, STOP, Policy
from vre.errors import ConfigError, PlatformError, Problem

#: How long it must have run to count as started.
_STARTED_S = 2.0
#: What is read of its output at one look, and what is shown of it, in bytes a line and lines in all.
_OUTPUT, _LINE, _LINES = 4096, 300, 200
_CHECK_S = 30.0
#: Where the launcher puts the configuration.
_INSIDE = ("/run/bird/bird.conf", "/etc/frr/frr.conf")


class Daemon:
    """One router's routing daemon.

    Parameters
    ----------
    router : Router
        With a control plane that is not static.
    ports : dict of str to tuple of str
        The names of its interfaces, each with its addresses.
    namespace : int
        The descriptor of its network namespace.
    report : callable
        Told of events.
    """

    def __init__(
        self, router: Router, ports: dict[str, tuple[str, ...]], namespace: int, report: Callable[[str], None]
    ) -> None:
        assert router.control
        self.router, self._control, self._namespace, self._report = router, router.control, namespace, report
        self._config = router.control.config
        if self._config is None:
            self._config = GENERATED[router.control.kind](ports)
        self._process: subprocess.Popen[bytes] | None = None
        self._policy = Policy()
        self._since = 0.0
        self._begun, self._shown = b"", 0
        #: Called when it has ended, and when it has been started again.
        self.on_end: Callable[[], None] = lambda: None
        self.on_start: Callable[[], None] = lambda: None

    @property
    def state(self) -> str:
        """Its state, as of a domU (:mod:`vre.domu.policy`)."""
        return self._policy.state

    @property
    def pid(self) -> int:
        """The process that has started it, 0 for none."""
        return self._process.pid if self._process else 0

    @property
    def restarts(self) -> int:
        """How often it has been started again."""
        return self._policy.restarts

    def check(self) -> None:
        """Let the daemon itself check its configuration, in its jail. Raises ConfigError with what it says."""
        process = self._launch(check=True)
        try:
            said, _ = process.communicate(timeout=_CHECK_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise PlatformError(f"router '{self.router.name}': its daemon did not check its configuration") from None
        if process.returncode == 0:
            return
        text = said.decode(errors="replace").strip() or f"exit status {process.returncode}"
        for inside in _INSIDE:
            text = text.replace(inside, self._control.config_file or "the generated configuration")
        lines = [escape(line[:_LINE]) for line in text.splitlines()[:10]]
        raise ConfigError([Problem(None, f"routers.{self.router.name}.domu.control: {'; '.join(lines)}")])

    def _launch(self, check: bool = False) -> subprocess.Popen[bytes]:
        asked = {
            "parent": os.getpid(),
            "namespace": self._namespace,
            "kind": self._control.kind,
            "programs": [find_program(program) for program in PROGRAMS[self._control.kind][0]],
            "config": self._config,
            "name": self._control.config_file,
            "memory": self.router.domu.memory,
            "check": check,
        }
        package = str(Path(__file__).resolve().parents[2])
        return subprocess.Popen(
            [sys.executable, "-m", "workers.control.launch", json.dumps(asked)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(self._namespace,),
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": package, "PYTHONDONTWRITEBYTECODE": "1"},
            start_new_session=True,
        )

    def start(self, now: float) -> None:
        """Start it; if that fails, it has died. Its state says whether it may be."""
        try:
            self._process = self._launch()
        except OSError as error:
            self._report(f"router {self.router.name}: its daemon cannot be started: {error.strerror}")
            self._policy.on(DIED, now)
            self._since = now
            return
        assert self._process.stdout
        os.set_blocking(self._process.stdout.fileno(), False)
        self._since, self._begun, self._shown = now, b"", 0
        self.on_start()

    def look(self, now: float) -> None:
        """Listen to it, and start it again if it has ended and that is due. Never waits."""
        if self._process:
            self._listen()
            status = self._process.poll()
            if status is not None:
                self._ended(status, now)
            elif self.state == STARTING and now - self._since > _STARTED_S:
                self._policy.on(READY, now)
        elif self.state == QUARANTINED and now >= self._policy.until:
            self._policy.on(DUE, now)
            self.start(now)
        elif self.state == STARTING and now - self._since > _STARTED_S / 4:
            self.start(now)

    def _ended(self, status: int, now: float) -> None:
        self._listen()
        assert self._process and self._process.stdout
        self._process.stdout.close()
        self._process = None
        self._policy.on(DIED, now)
        later = "it is started again"
        if self.state == QUARANTINED:
            later = f"it is started again in {self._policy.until - now:.0f} s"
        self._report(f"router {self.router.name}: its routing daemon has ended (status {status}); {later}")
        self._since = now
        self.on_end()

    def _listen(self) -> None:
        assert self._process and self._process.stdout
        with contextlib.suppress(BlockingIOError):
            self._begun += os.read(self._process.stdout.fileno(), _OUTPUT)
        *lines, self._begun = self._begun[-4 * _OUTPUT :].split(b"\n")
        for line in lines:
            self._shown += 1
            if self._shown <= _LINES:
                self._report(f"router {self.router.name}: {escape(line[:_LINE].decode(errors='replace'))}")

    def end(self) -> None:
        """Kill it."""
        if self.state in (STARTING, RUNNING, QUARANTINED):
            self._policy.on(STOP, 0.0)
        if self._process:
            self._process.kill()
            # The first process of its namespace dies with the launcher, and all others with that.
            self._process.wait()
            assert self._process.stdout
            self._process.stdout.close()
            self._process = None
