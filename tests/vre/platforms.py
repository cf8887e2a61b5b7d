# SPDX-License-Identifier: MIT
"""Whole platforms for tests: made small, awaited by what they have done, and held to their accounts."""

from __future__ import annotations

import os
import time

import pytest

import vre

#: Marks a test that lets untrusted code run: it is skipped if this host gives no strict jail.
needs_jail = pytest.mark.usefixtures("strict_jail")
#: The body of an element that passes every packet on.
PASS = "def push(self, packet):\n    pass"


def assert_accounts(box):
    """Every packet of every router is accounted for: injected = forwarded + dropped by reason + in flight."""
    for stats in box.reader.routers():
        assert stats.balance == 0 and stats.injected > 0, stats
        assert stats.injected == stats.forwarded + sum(stats.dropped.values()) + stats.in_flight


def wait_for(box, condition, seconds=200):
    """Tend a platform until something is so; `seconds` only ends what would never be."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        box.tend(0.01)
    assert condition(), list(box.events)[-5:]


def wait_for_packets(box, more, *routers):
    """Tend a platform until each router has forwarded `more` packets than it has now."""
    before = [router.stats().forwarded for router in routers]
    wait_for(box, lambda: all(r.stats().forwarded >= b + more for r, b in zip(routers, before, strict=True)))


def element(folder, body, name="X", imports=""):
    """Write an element's file; return how a configuration names it."""
    file = folder / "el.py"
    lines = "\n".join(f"    {line}" for line in body.split("\n"))
    file.write_text(f"import ctypes, os, sys, threading, time\n{imports}\n\nclass {name}:\n{lines}\n")
    return f"Untrusted({file}:{name})"


def platform(rate=20_000, **settings):
    """Return a platform of one core whose port eth0 has traffic."""
    box = vre.Platform(cores=1, name=f"domus{os.getpid()}", **settings)
    box.nic("eth0", link=vre.Generator(rate=rate))
    box.nic("eth1")
    return box


def forward(element_text):
    """Return a graph of one element between two ports."""
    return f"FromDevice(eth0) -> u :: {element_text} -> ToDevice(eth1);"
