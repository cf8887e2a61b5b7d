# SPDX-License-Identifier: MIT
"""What domUs' requests may cost the platform: a part of its time, and no more of a table than is sent back."""

from __future__ import annotations

import random
import time

import pytest

from tests.harness import Bench
from tests.vre.platforms import element, forward, needs_jail, platform, wait_for
from vre.domu.ration import SHARE, Ration
from vre.platform.handlers import Handlers

FLOOD = (
    "def __init__(self):\n    threading.Thread(target=self.flood, daemon=True).start()\n"
    'def flood(self):\n    while True:\n        os.write(3, b\'{"do": "counters"}\')\n'
    "def push(self, packet):\n    pass"
)


def test_requests_wait_for_as_long_as_makes_their_cost_a_part_of_the_time():
    ration = Ration()
    assert ration.due(0.0)
    ration.spent(0.5, 10.0, 1)
    assert not ration.due(9.5 + 0.5 / SHARE - 0.001) and ration.due(9.5 + 0.5 / SHARE + 0.001)
    # Each of four has a quarter of that part.
    ration.spent(0.5, 20.0, 4)
    assert not ration.due(19.5 + 2.0 / SHARE - 0.001) and ration.due(19.5 + 2.0 / SHARE + 0.001)


@needs_jail
def test_a_flood_of_requests_takes_a_part_of_the_platform_s_time(tmp_path):
    spent = []
    with platform() as box:
        box.router("red", forward(element(tmp_path, FLOOD)))
        box.start()
        answer = box.parts.domus.on_control

        def slow(name, message):
            begun = time.thread_time()
            while time.thread_time() < begun + 0.02:
                pass
            said = answer(name, message)
            spent.append(time.thread_time() - begun)
            return said

        begun = time.monotonic()
        box.parts.domus.on_control = slow
        wait_for(box, lambda: len(spent) >= 10)
        elapsed = time.monotonic() - begun
        # Ten requests have nine waits between them; processor time is never more than time.
        assert sum(spent[:-1]) <= SHARE * elapsed + 0.001


@pytest.mark.parametrize("count", [0, 3, 400])
def test_the_beginning_of_a_table_is_that_of_the_whole(count):
    chance = random.Random(count)
    lengths = [chance.randrange(33) for _ in range(count)]
    routes = {f"{chance.randrange(1 << 32) >> (32 - n) << (32 - n) if n else 0}/{n}" for n in lengths}
    text = ", ".join(
        f"{int(a) >> 24}.{int(a) >> 16 & 255}.{int(a) >> 8 & 255}.{int(a) & 255}/{n} {i % 2}"
        for i, (a, n) in enumerate(route.split("/") for route in sorted(routes))
    )
    with Bench(f"FromDevice(eth0) -> rt :: RadixIPLookup({text}) -> Discard; rt[1] -> Discard;") as bench:
        handlers = Handlers(bench.model, bench.builder)
        whole = handlers.read("r", "rt.table")
        assert whole.count("\n") == len(routes)
        for most in (0, 1, 14, 100, 2000, len(whole), len(whole) + 1):
            assert handlers.read("r", "rt.table", most) == whole[:most]
        assert handlers.read("r", "rt.class", 5) == "Radix"
