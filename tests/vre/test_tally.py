# SPDX-License-Identifier: MIT
"""What happens again and again is told seldom, and counted."""

from vre.supervision.tally import Tally


def test_the_first_the_tenth_and_the_hundredth_are_told():
    tally = Tally(2)
    told = {i: said for i in range(1, 101) if (said := tally.note("a")) is not None}
    assert told == {1: "", 10: " (10 times by now)", 100: " (100 times by now)"}


def test_the_kind_that_happened_longest_ago_is_forgotten():
    tally = Tally(2)
    for kind in ("a", "b", "a", "c"):
        tally.note(kind)
    assert dict(tally) == {"a": 2, "c": 1}
