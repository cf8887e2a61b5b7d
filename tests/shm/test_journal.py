# SPDX-License-Identifier: MIT
"""Journals: no record is lost unseen, none is ever half there, nobody waits."""

import ctypes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shm.intrinsics import load64, store64
from shm.journal import FAULT, JOURNAL, LINE, LONGEST, NOBODY, Record, dropped, footprint, put, set_up, take

SIZE = 4096


class Journal:
    """A journal in memory of its own."""

    def __init__(self, size=SIZE):
        self.memory = ctypes.create_string_buffer(footprint(size) + 128)
        self.at = -(-ctypes.addressof(self.memory) // 128) * 128
        set_up(self.at, size)


def test_records_come_out_as_they_went_in():
    journal = Journal()
    assert put(journal.at, LINE, 3, 7, "a line")
    assert put(journal.at, FAULT, NOBODY, -1, "KeyError: 5")
    assert take(journal.at, 1) == [Record(LINE, 3, 7, "a line")]
    assert take(journal.at, 10) == [Record(FAULT, NOBODY, -1, "KeyError: 5")]
    assert take(journal.at, 10) == []


def test_text_is_escaped_and_cut():
    journal = Journal()
    put(journal.at, LINE, 0, 0, "\x1b[2J\nred\u202e")
    put(journal.at, FAULT, 0, 0, "x" * 10_000)
    first, second = take(journal.at, 10)
    assert first.text == "\\x1b[2J\\nred\\u202e"
    assert second.text == "x" * LONGEST[FAULT]


def test_what_finds_no_room_is_dropped_and_counted_for_its_router():
    journal = Journal()
    placed = [put(journal.at, LINE, router, 0, "y" * 200) for router in (1, 2) * 20]
    assert placed.count(True) == SIZE // (24 + 200)
    assert dropped(journal.at) == placed.count(False) == dropped(journal.at, 1) + dropped(journal.at, 2)
    assert len(take(journal.at, 100)) == placed.count(True)
    assert put(journal.at, LINE, 1, 0, "again")
    assert [record.text for record in take(journal.at, 100)] == ["again"]


@given(st.lists(st.one_of(st.text(max_size=300), st.integers(1, 5)), max_size=60))
@settings(max_examples=100, deadline=None)
def test_any_mixture_of_writing_and_reading_keeps_order(steps):
    journal, wanted, written = Journal(), [], 0
    for step in steps:
        if isinstance(step, int):
            got = take(journal.at, step)
            assert [record.text.isprintable() for record in got] == [True] * len(got)
            assert [record.element for record in got] == wanted[: len(got)]
            del wanted[: len(got)]
        elif put(journal.at, LINE, 0, written, step):
            wanted.append(written)
            written += 1
    assert [record.element for record in take(journal.at, 1000)] == wanted


@pytest.mark.parametrize("stored", range(0, 48, 4))
def test_a_writer_killed_at_any_store_leaves_no_half_record(stored):
    whole, cut = Journal(), Journal()
    put(whole.at, LINE, 1, 2, "killed in the middle")
    # All that it had stored before it published, up to some word.
    ctypes.memmove(load64(cut.at + JOURNAL["text"]), load64(whole.at + JOURNAL["text"]), stored)
    assert take(cut.at, 10) == []
    assert put(cut.at, LINE, 1, 2, "the next writer")
    assert [record.text for record in take(cut.at, 10)] == ["the next writer"]


def test_a_record_whose_bytes_are_not_there_yet_waits():
    journal = Journal()
    put(journal.at, LINE, 1, 2, "as another processor sees it")
    text = load64(journal.at + JOURNAL["text"])
    late = load64(text + 32)
    store64(text + 32, 0)
    assert take(journal.at, 10) == []
    store64(text + 32, late)
    assert [record.text for record in take(journal.at, 10)] == ["as another processor sees it"]
