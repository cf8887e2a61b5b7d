# SPDX-License-Identifier: MIT
"""What is raised on behalf of others ends at the boundary."""

from __future__ import annotations

import pytest

from vre.errors import ConfigError, HandlerError, PlatformEnded, PlatformError, Problem, Unexpected
from vre.supervision.boundary import Boundary


@pytest.fixture
def events():
    return []


@pytest.fixture
def boundary(events):
    return Boundary(events.append)


def throw(error):
    raise error


@pytest.mark.parametrize(
    "error",
    [
        PlatformError("no such router"),
        HandlerError("no such router"),
        ValueError("no such router"),
        ConfigError([Problem(None, "no such router")]),
    ],
)
def test_what_is_wrong_with_a_request_is_its_answer_and_no_event(boundary, events, error):
    assert boundary.answer("write", "control", throw, error) == {"error": "no such router"}
    assert not events and not boundary.unexpected


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("not even that")


@pytest.mark.parametrize(
    "error",
    [
        KeyError("what"),
        OverflowError(),
        RecursionError("deep"),
        MemoryError(),
        StopIteration(),
        Mute(),
        OSError(28, "full"),
    ],
)
def test_what_is_wrong_with_the_platform_is_an_answer_an_event_and_a_count(boundary, events, error):
    answer = boundary.answer("write", "router red", throw, error)
    assert list(answer) == ["error"] and answer["error"].startswith(
        f"write failed: {type(error).__name__} at vre/test_boundary.py:"
    )
    assert len(events) == 1 and events[0].startswith("router red: write failed")
    assert list(boundary.unexpected.values()) == [1]


def test_a_mistake_that_is_repeated_is_counted_and_seldom_shown(boundary, events):
    for _ in range(1000):
        boundary.answer("write", "router red", throw, KeyError("x"))
    boundary.answer("write", "router blue", throw, KeyError("x"))
    assert [e.rpartition("(")[2] for e in events[:4]][1:] == [
        "10 times by now)",
        "100 times by now)",
        "1000 times by now)",
    ]
    assert len(events) == 5 and events[4].startswith("router blue"), "another party's is another"
    assert list(boundary.unexpected.values()) == [1000, 1]


def test_what_is_remembered_is_bounded(boundary):
    for i in range(10_000):
        boundary.answer("write", f"router {i}", throw, KeyError("x"))
    assert len(boundary.unexpected) == 256


def test_the_text_of_an_exception_does_nothing_to_a_terminal(boundary, events):
    boundary.answer("write", "router red", throw, KeyError("\x1b[31m\n" + "x" * 5000))
    assert events[0].isprintable() and len(events[0]) < 500


def test_the_end_of_the_platform_is_nobodys_answer(boundary, events):
    with pytest.raises(PlatformEnded):
        boundary.answer("add", "control", throw, PlatformEnded("the wire process was killed"))
    for error in (KeyboardInterrupt, SystemExit):
        with pytest.raises(error):
            boundary.answer("add", "control", throw, error())
    assert not events


def test_a_call_from_python_gets_an_error_of_the_package(boundary, events):
    assert boundary.call("read", "router red", lambda a, b: a + b, 1, b=2) == 3
    with pytest.raises(Unexpected, match="read failed: IndexError") as caught:
        boundary.call("read", "router red", throw, IndexError("list index out of range"))
    assert isinstance(caught.value, PlatformError) and isinstance(caught.value.__cause__, IndexError)
    assert len(events) == 1
    with pytest.raises(HandlerError):
        boundary.call("read", "router red", throw, HandlerError("no"))
