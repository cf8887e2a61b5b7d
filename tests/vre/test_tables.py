# SPDX-License-Identifier: MIT
"""Tables keep every digit at any width, and tenants' text does nothing to a terminal."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from vre.cli.contest import contest_lines
from vre.cli.report import drop_lines, number, routers_table
from vre.cli.tables import Rows
from vre.platform.accounts import RouterStats

WIDTHS = (60, 80, 200)
ACCOUNT = {"p50": 123456.7, "p99": 234567.8, "p99_9": 345678.9, "max": 99999999.0}
ROUTERS = [
    RouterStats(
        name, 0.3333, 0.3334, 10**13, 987_654_321_012, 512, {"rx_ring_full": 123_456_789_012, "killed": 7}, 10**15,
        cycles_per_packet=1234567, latency_us=ACCOUNT, backlogged_s=4.5, contested_s=4.25, contested_used=1004 * 10**9,
        contested_due=10**12,
    )
    for name in ("red", "a-router-with-a-long-name")
]  # fmt: skip
CORES = [{"busy_ticks": 69, "idle_ticks": 31, "slow_ticks": 0, "clock_ns": 10 * 10**9}]


def shown(what, width):
    """Return what a console of a width shows."""
    out = io.StringIO()
    Console(file=out, width=width, highlight=False, markup=False, emoji=False).print(what)
    return out.getvalue()


@pytest.mark.parametrize("width", WIDTHS)
def test_the_table_of_routers_keeps_every_digit(width):
    text = shown(routers_table(ROUTERS, 9.99), width)
    assert max(map(len, text.splitlines())) <= width and "…" not in text
    assert text.count("33.3%") == 4, "entitled, and had"
    for cell in ("+0.40%", "988 G", "98.9 Gpps", "1234567", "123457 us", "99999999 us", "4.25 s"):
        assert text.count(cell) == 2, (cell, text)
    assert re.search(r"a-router-with-a-long-name", text)


def test_drops_are_exact_and_on_lines_of_their_own():
    assert drop_lines(ROUTERS)[0] == "red dropped 123,456,789,012 rx_ring_full, 7 killed"


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("columns", [1, 3, 12, 40])
def test_any_table_keeps_every_digit(width, columns):
    rows = [{"path": f"r{i}/x"} | {f"column{c}": 10**12 + 41 * c + i for c in range(columns)} for i in range(3)]
    text = shown(Rows(rows), width)
    assert max(map(len, text.splitlines())) <= width
    for row in rows:
        for value in row.values():
            assert str(value) in text
    assert len(set(re.findall(r"column\d+", text))) == columns


def test_long_text_is_folded_and_escaped():
    rows = [{"s": 1.5, "event": "[/x] [link=http://x]\x1b[31m " + "word " * 60}]
    text = shown(Rows(rows), 60)
    assert "\x1b" not in text and "[/x]" in text and text.count("word") == 60
    assert max(map(len, text.splitlines())) <= 60


def test_what_was_not_contested_is_said():
    idle = RouterStats("light", 0.5, 0.01, 10, 10, 0, backlogged_s=0.0)
    lines = contest_lines([*ROUTERS, idle], CORES)
    assert lines == [
        "Jain's index over contested time: 1.00000",
        "core 0 idle 31%: nothing to share then",
        "of the cores' 10 s, packets waited without a pause for red in 4.5 s, a-router-with-a-long-name in 4.5 s, light in 0 s; "
        "a router can use its share only while packets wait",
    ]
    busy = RouterStats("x", 1.0, 1.0, 1, 1, 0, backlogged_s=10.0, contested_s=10.0, contested_used=5, contested_due=5)
    assert contest_lines([busy, busy], [{"busy_ticks": 1, "idle_ticks": 0, "slow_ticks": 0, "clock_ns": 10**10}]) == [
        "Jain's index over contested time: 1.00000"
    ]


def test_a_number_is_apart_from_its_unit():
    assert [number(v, "pps") for v in (0, 395.4, 2250, 1.5e6)] == ["0 pps", "395 pps", "2.25 kpps", "1.5 Mpps"]
    assert [number(v) for v in (12, 12000)] == ["12", "12 k"]
