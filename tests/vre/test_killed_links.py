# SPDX-License-Identifier: MIT
"""A wire that serves interfaces is killed while hosts ping each other: the next one goes on with the same ones."""

from __future__ import annotations

import os
import signal
import subprocess

from tests.vre.platforms import wait_for
from tests.vre.test_links import Network, need


def test_pings_go_on_and_the_account_is_exact_when_the_wire_is_killed():
    need("ping")
    with Network() as net:
        engine = net.box.parts.runtime.engine
        with net.hosts[0].start("ping -c 60 -i 0.05 -W 5 10.2.0.2", stdout=subprocess.PIPE) as ping:
            for _ in range(5):
                before, victim = net.router.stats().forwarded, engine.wire_holder()
                wait_for(net.box, lambda before=before: net.router.stats().forwarded > before + 4)
                os.kill(victim, signal.SIGKILL)
                wait_for(net.box, lambda victim=victim: engine.wire_holder() not in (0, victim))
            wait_for(net.box, lambda: ping.poll() is not None, 60)
            received = int(ping.stdout.read().split(" packets transmitted, ")[1].split()[0])
        # Only what a call brought that was cut off can be lost.
        assert 50 <= received <= 60
        net.settle()
