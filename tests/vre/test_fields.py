# SPDX-License-Identifier: MIT
"""Values of a platform file: what each kind takes, and what it says of what it does not."""

from __future__ import annotations

import pytest

from vre.config import fields


@pytest.mark.parametrize(
    ("kind", "value", "taken"),
    [
        (fields.integer(1, 9), 9, 9),
        (fields.number(0, 1), 1, 1.0),
        (fields.sending_rate, "1Mpps", 1e6),
        (fields.sending_rate, "max", None),
        (fields.replay_rate, "recorded", "recorded"),
        (fields.frame_size, "imix", "imix"),
        (fields.destinations, ["10.0.0.0/8", "10.1.2.3"], ("10.0.0.0/8", "10.1.2.3")),
        (fields.mac, "*", None),
        (fields.mac, "02:00:00:00:00:01", 0x020000000001),
        (fields.entitlement, "60%", fields.Percent(60)),
        (fields.entitlement_text, "0.5", 0.5),
        (fields.duration_ns, "100us", 100_000),
        (fields.bit_rate, "1Gbps", 1e9),
        (fields.line_rate, "58M", 58e6),
        (fields.router_rates, {"red": "1kpps"}, {"red": 1000.0}),
        (fields.variables, {"A": 1, "B": "x"}, {"A": "1", "B": "x"}),
        (fields.cores, [0, 3], (0, 3)),
        (fields.memory, "256M", 256 << 20),
        (fields.start_time, "20s", 20.0),
        (fields.deadline_ns, "50ms", 50_000_000),
    ],
)
def test_a_value_is_taken(kind, value, taken):
    found = kind(value)
    assert found == taken and type(found) is type(taken)


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (fields.integer(1, 9), True, "must be an integer from 1 to 9, not True"),
        (fields.integer(1, 9), 10, "must be an integer from 1 to 9, not 10"),
        (fields.number(0, 1), float("nan"), "must be a number from 0 to 1, not nan"),
        (fields.string, "a\0b", "without a NUL"),
        (fields.boolean, 1, "must be true or false, not 1"),
        (fields.choice("a", "b"), "c", "must be 'a' or 'b', not 'c'"),
        (fields.sending_rate, True, 'must be a rate (as in 1000000, "1Mpps" or "max")'),
        (fields.frame_size, 63, 'or "imix", not 63'),
        (fields.destinations, [], "must be a list of addresses or prefixes"),
        (fields.mac, "01:00:00:00:00:01", "is a group address"),
        (fields.entitlement, 0, 'a share (as in "60%"), from 0.001 to 1e+06, not 0'),
        (fields.entitlement_text, "much", "must be a positive weight"),
        (fields.duration_ns, "2s", "must be from 1us to 1s, not '2s'"),
        (fields.router_rates, {"red": "max"}, "must be a rate"),
        (fields.variables, {"A": []}, "must be a table of strings and numbers"),
        (fields.cores, "0", "must be a list of core numbers"),
        (fields.memory, "1M", "must be from 64M to 1024G, not '1M'"),
        (fields.start_time, "1ms", "must be from 100ms to 10min"),
        (fields.deadline_ns, "1us", "must be from 1ms to 10s"),
    ],
)
def test_a_value_that_is_not_taken_is_told_what_would_be_right(kind, value, said):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        kind(value)
    assert said in str(caught.value)
