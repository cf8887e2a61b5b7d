# SPDX-License-Identifier: MIT
"""Hosts for tests: a network namespace each, held by a process that ends with the test's."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from functools import cache

import pytest

from workers.process import follow_parent


@cache
def why_no_hosts():
    """Return why this user can make no network namespaces and interfaces here, "" where it can."""
    for program in ("unshare", "nsenter", "ip"):
        if not shutil.which(program):
            return f"'{program}' is not installed (packages util-linux, iproute2)"
    command = ["unshare", "-n", "sh", "-c", "ip link add name va type veth peer name vb && ip link set va up"]
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"no namespaces or interfaces can be made: {tried.stderr.strip()}" if tried.returncode else ""


def need(*programs):
    """Skip the test where hosts cannot be made, or a program is not installed."""
    if why := why_no_hosts():
        pytest.skip(f"needs hosts in namespaces: {why}")
    missing = [program for program in programs if not shutil.which(program)]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: not installed")


class Host:
    """A host: its namespace can be named by `netns`; it ends with `end`."""

    def __init__(self):
        parent = os.getpid()
        self._process = subprocess.Popen(
            ["unshare", "-n", "sleep", "infinity"], preexec_fn=lambda: follow_parent(parent), stdin=subprocess.DEVNULL
        )
        self.pid = self._process.pid
        self.netns = f"/proc/{self.pid}/ns/net"
        own = os.stat("/proc/self/ns/net").st_ino
        while os.stat(self.netns).st_ino == own:
            assert self._process.poll() is None
            time.sleep(0.001)
        self.run("ip link set lo up")

    def start(self, command, **settings):
        """Start a command there."""
        words = command.split() if isinstance(command, str) else command
        return subprocess.Popen(["nsenter", f"--net={self.netns}", *words], text=True, **settings)

    def run(self, command, check=True):
        """Run a command there; return what it wrote."""
        with self.start(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            said = process.communicate(timeout=60)[0]
        assert process.returncode == 0 or not check, (command, said)
        return said

    def address(self, device, address, gateway=None):
        """Give an interface an address, and the host its default route."""
        self.run(f"ip addr add {address} dev {device}")
        self.run(f"ip link set {device} up")
        if gateway:
            self.run(f"ip route add default via {gateway}")

    def end(self):
        """End it; its interfaces go with it."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
