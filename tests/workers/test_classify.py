# SPDX-License-Identifier: MIT
"""The classifier's decision tree against its patterns, tried one after the other."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.arguments import ArgumentError
from workers.elements.classify import FAIL, pattern, tree


def plain(text, data):
    """Return whether a pattern matches, clause by clause, nibble by nibble."""
    if text == "-":
        return True
    for clause in text.split():
        negated, clause = clause.startswith("!"), clause.lstrip("!")
        offset, value = clause.split("/")
        value, _, mask = value.partition("%")
        holds = True
        for i in range(len(value) // 2):
            at = int(offset) + i
            bits = int(mask[2 * i : 2 * i + 2], 16) if mask else 255
            for half, digit in ((4, value[2 * i]), (0, value[2 * i + 1])):
                want = bits >> half & 15 if digit != "?" else 0
                if want and (at >= len(data) or (data[at] >> half ^ int(digit, 16)) & want):
                    holds = False
        if holds == negated:
            return False
    return True


def walk(nodes, data):
    """Follow the tree as the kernel does."""
    at = 0
    while at >= 0:
        offset, mask, value, yes, no, takes = nodes[at // 48]
        # The word ends where the comparison does, and what it has of the bytes before the packet counts for nothing.
        assert offset + 4 == takes and mask & (1 << 8 * max(0, -offset)) - 1 == 0
        word = int.from_bytes((b"\xee" * 4 + data)[offset + 4 : offset + 8], "little")
        at = yes if len(data) >= takes and word & mask == value else no
    return None if at == FAIL else -2 - at


clause = st.builds(
    "{}{}/{}{}".format,
    st.sampled_from(["", "!"]),
    st.integers(0, 9),
    st.sampled_from(["00", "01", "0?", "?1", "0100", "0001"]),
    st.just(""),
)
patterns = st.lists(
    st.one_of(st.just("-"), st.lists(clause, min_size=1, max_size=3).map(" ".join)), min_size=1, max_size=5
)


@settings(max_examples=300, deadline=None)
@given(patterns, st.lists(st.lists(st.integers(0, 1), min_size=0, max_size=14).map(bytes), max_size=8))
def test_the_tree_decides_as_the_patterns_do(texts, packets):
    nodes = tree([pattern(t) for t in texts])
    for data in packets:
        expected = next((i for i, t in enumerate(texts) if plain(t, data)), None)
        assert walk(nodes, data) == expected


def test_what_is_settled_is_not_tested_again():
    nodes = tree([pattern(t) for t in ("12/0806 20/0001", "12/0806 20/0002", "12/0800", "-")])
    assert len(nodes) == 4  # IP? ARP? request? reply?


def test_what_one_test_decides_is_tested_first():
    (_, _, _, yes, _, _), *_ = tree([pattern(t) for t in ("12/0806 20/0001", "12/0806 20/0002", "12/0800", "-")])
    assert yes == -2 - 2  # IP, output 2


@pytest.mark.parametrize("text", ["12", "12/080", "x/08", "12/08%0", "9999/00", "12/0g"])
def test_wrong_patterns_say_what_is_wrong(text):
    with pytest.raises(ArgumentError):
        pattern(text)
