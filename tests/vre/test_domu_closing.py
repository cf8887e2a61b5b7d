# SPDX-License-Identifier: MIT
"""A domU's channels while it is closed: nothing opens them again, and every packet that it had is counted."""

from __future__ import annotations

from shm.channel import CHANNEL
from shm.intrinsics import load64
from tests.vre.platforms import assert_accounts, element, forward, needs_jail, platform, wait_for
from vre.domu.policy import MAX_RESTARTS, QUARANTINED

pytestmark = needs_jail

#: Its last words are there before its first have been read.
READY_AND_FAILED = (
    "def __init__(self):\n"
    "    time.sleep(0.1)\n"
    "    os.write(3, b'{\"ready\": true}')\n"
    '    os.write(3, b\'{"failed": "at once"}\')\n'
    "    time.sleep(100)\n"
    "def push(self, packet):\n    pass"
)


def test_a_domu_that_fails_as_it_becomes_ready_gets_no_packet(tmp_path):
    with platform(rate=500_000) as box:
        red = box.router("red", forward(element(tmp_path, READY_AND_FAILED)))
        box.start()
        domu = box.parts.domus.domus["red"]
        wait_for(box, lambda: domu.policy.state == QUARANTINED)
        assert sum("at once" in event for event in box.events) == MAX_RESTARTS + 1, box.events
        assert [load64(channel + CHANNEL["open"]) for channel in domu.channels] == [0]
        box.tend(0.2)
        box.halt()
        assert_accounts(box)
        assert set(red.stats().dropped) == {"domu_down"}
