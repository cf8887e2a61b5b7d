# SPDX-License-Identifier: MIT
"""A process group and its zygote if the system has no room for one more process."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from types import SimpleNamespace

import pytest

from shm.intrinsics import store64
from shm.layout import CORE
from shm.manifest import CurrentManifest
from shm.wire_layout import WIRE
from vre.supervision.cpus import Plan
from vre.supervision.processes import ProcessGroup
from vre.supervision.stderr import StandardError
from vre.supervision.zygote_process import ZygoteProcess
from workers.zygote.messages import TO_ZYGOTE, Fork
from workers.zygote.workers import Zygote


@pytest.fixture
def pair():
    """Return a process group of one core, its events, and its zygote, both in this process."""
    core, wire = ctypes.create_string_buffer(CORE.size), ctypes.create_string_buffer(WIRE.size)
    manifest = SimpleNamespace(
        cores=[SimpleNamespace(address=ctypes.addressof(core), nic=False)],
        wire=SimpleNamespace(address=ctypes.addressof(wire)),
        routers=[],
    )
    events = []
    group = ProcessGroup(CurrentManifest(manifest), Plan((None,), None, False, ""), events.append, events.append)
    ours, theirs = socket.socketpair()
    overheard = StandardError(events.append)
    overheard.started()
    group.link.attach(ZygoteProcess(None, ours, overheard))
    yield group, events, Zygote(theirs), ctypes.addressof(core)
    overheard.close()
    ours.close()
    theirs.close()


def obey(zygote):
    """Let the zygote do what it is asked for."""
    for line in zygote.channel.recv(65536).splitlines():
        zygote._obey(TO_ZYGOTE.read(line))


def tend_until(group, done):
    """Let time pass until something is so."""
    for _ in range(1000):
        if done():
            return
        group.tend(0.01)
    raise AssertionError


def no_room(*_):
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def test_a_process_that_cannot_be_forked_is_asked_for_again(pair, monkeypatch):
    group, events, zygote, core = pair
    store64(core + CORE["incarnation"], 4)
    with monkeypatch.context() as patch:
        patch.setattr("workers.zygote.workers.fork_sibling", no_room)
        group.standbys.fork(0)
        for _ in range(3):
            obey(zygote)
            tend_until(group, lambda: group.standbys.unforked)
            tend_until(group, lambda: not group.standbys.unforked)
    assert len(events) == 1 and "retrying" in events[0]
    assert TO_ZYGOTE.read(zygote.channel.recv(65536)) == Fork("core", 0, None, 5, gently=True)


def test_one_whose_turn_is_over_is_not(pair, monkeypatch):
    group, _, zygote, core = pair
    with monkeypatch.context() as patch:
        patch.setattr("workers.zygote.workers.fork_sibling", no_room)
        group.standbys.fork(0)
        obey(zygote)
        tend_until(group, lambda: group.standbys.unforked)
    store64(core + CORE["incarnation"], 9)
    tend_until(group, lambda: not group.standbys.unforked)
    zygote.channel.setblocking(False)
    with pytest.raises(BlockingIOError):
        zygote.channel.recv(1)
