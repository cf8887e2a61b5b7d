# SPDX-License-Identifier: MIT
"""Which elements become one function: by hand for small graphs."""

from __future__ import annotations

import pytest

from vre.config.reader import from_text
from workers.graph.traces import Traces


def functions(text):
    """Return the functions of a graph in their order, as names of the elements that each runs along."""
    graph = from_text(text)
    traces = Traces(graph.shape)
    return [" ".join(graph.nodes[i].name for i in traces.along(head)) for head in traces.order], len(traces.cut)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("f :: FromDevice(a) -> c :: Counter -> d :: Discard;", ["f c d"]),
        # The longer branch goes on; the other is called, and comes first.
        ("f :: FromDevice(a) -> s :: Switch(0); s[0] -> x :: Discard; s[1] -> c :: Counter -> y :: Discard;", ["x", "f s c y"]),
        # Where paths join a function begins.
        ("f :: FromDevice(a) -> s :: Switch(0); s[0] -> c :: Counter; s[1] -> p :: Paint(1) -> c; c -> d :: Discard;", ["c d", "f s p"]),
        # A queue ends one task's function, and the next task's begins behind it.
        ("f :: FromDevice(a) -> q :: Queue -> u :: Unqueue -> d :: Discard;", ["f q", "u d"]),
        # What is bad branches off, however much follows it.
        ("f :: FromDevice(a) -> h :: CheckIPHeader; h[0] -> d :: Discard; h[1] -> c :: Counter -> e :: Discard;", ["c e", "f h d"]),
    ],
    ids=["row", "branch", "join", "queue", "bad"],
)  # fmt: skip
def test_functions_of_a_graph(text, expected):
    assert functions(text) == (expected, 0)


def test_a_circle_is_cut_where_it_comes_back():
    found, cut = functions("f :: FromDevice(a) -> c :: Counter -> s :: Switch(0); s[0] -> c; s[1] -> d :: Discard;")
    assert cut == 1 and sorted(" ".join(found).split()) == ["c", "d", "f", "s"]
