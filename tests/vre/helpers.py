# SPDX-License-Identifier: MIT
"""What tests of whole platforms share."""

from __future__ import annotations


def assert_accounts(box):
    """Every packet of every router is accounted for: injected = forwarded + dropped by reason + in flight."""
    for stats in box.reader.routers():
        assert stats.balance == 0 and stats.injected > 0, stats
        assert stats.injected == stats.forwarded + sum(stats.dropped.values()) + stats.in_flight
