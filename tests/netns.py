# SPDX-License-Identifier: MIT
"""Network namespaces for tests: without a name, so that nothing is left; skipped where this user may make none."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from workers.control.namespace import make_namespace


def require(*programs):
    """Skip a test that needs programs which are not installed."""
    for program in programs:
        if shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin") is None:
            pytest.skip(f"needs the program '{program}'")


class Namespace:
    """A network namespace that lives until it is closed."""

    def __init__(self):
        try:
            self.fd = make_namespace()
        except OSError as error:
            pytest.skip(f"this user may make no network namespace: {error}")

    def run(self, *command, text=None, check=True):
        """Run a program in it; return what it prints."""
        told = ["nsenter", f"--net=/proc/{os.getpid()}/fd/{self.fd}", *command]
        done = subprocess.run(told, input=text, capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise AssertionError(f"{command}: {done.stderr}")
        return done.stdout

    def ip(self, *lines):
        """Carry out commands of ip(8), all at once."""
        self.run("ip", "-batch", "-", text="\n".join(lines) + "\n")

    def close(self):
        """Let it go, with all that is in it."""
        os.close(self.fd)


@pytest.fixture
def namespaces():
    """Make namespaces."""
    require("ip", "nsenter")
    made = []

    def make():
        made.append(Namespace())
        return made[-1]

    yield make
    for one in made:
        one.close()
