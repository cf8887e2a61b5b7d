# SPDX-License-Identifier: MIT
"""Dataclasses as JSON: what is written is read, and what was not declared is refused."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from shm.codec import CodecError, Messages, from_plain, to_json


@dataclass(frozen=True)
class Inner:
    number: int
    flag: bool = False


@dataclass(frozen=True)
class Outer:
    name: str | None
    rate: float
    pair: tuple[int, str]
    inner: tuple[Inner, ...]
    table: dict[str, Inner]
    numbered: dict[int, int]


WHOLE = Outer(None, 2, (1, "x"), (Inner(1), Inner(2, True)), {"a": Inner(3)}, {-1: 2})


def test_what_is_written_is_read():
    assert from_plain(Outer, json.loads(to_json(WHOLE))) == WHOLE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 3}, "Outer.name: 3 is no str"),
        ({"rate": True}, "Outer.rate: True is no float"),
        ({"pair": [1]}, "Outer.pair: 1 values in place of 2"),
        ({"inner": [{"number": 1.0}]}, "Outer.inner: Inner.number: 1.0 is no int"),
        ({"inner": [{}]}, "Outer.inner: Inner: .*missing 1 required positional argument: 'number'"),
        ({"table": {"a": []}}, r"Outer.table: \[\] is no dict"),
        ({"other": 1}, "Outer has no field 'other'"),
    ],
)
def test_what_was_not_declared_is_refused(change, message):
    with pytest.raises(CodecError, match=message):
        from_plain(Outer, json.loads(to_json(WHOLE)) | change)


def test_messages_are_told_apart_by_their_names():
    messages: Messages[Inner | Outer] = Messages(Inner, Outer)
    for one in (Inner(3, True), WHOLE):
        assert b"\n" not in messages.write(one) and messages.read(messages.write(one)) == one
    for other in (b'{"Other": {}}', b"[]", b"{}", b'{"Inner": {"number": 1}, "Outer": {}}'):
        with pytest.raises(CodecError, match="is none of Inner, Outer"):
            messages.read(other)
