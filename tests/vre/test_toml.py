# SPDX-License-Identifier: MIT
"""TOML with positions: of keys, of values, and of what is no TOML."""

from __future__ import annotations

import pytest

from vre.config.toml import Document
from vre.errors import ConfigError


def document(tmp_path, text):
    file = tmp_path / "lab.toml"
    file.write_text(text)
    return Document(file)


def test_keys_and_values_have_positions(tmp_path):
    found = document(tmp_path, '[a]\nb = 1\n\n[a.c]\n  d = "x"\ne = """\nlong"""\nf = { g = 2 }\n')
    assert found.data == {"a": {"b": 1, "c": {"d": "x", "e": "long", "f": {"g": 2}}}}
    assert found.place("a", "b") == (2, 1)
    assert found.place("a", "c", "d") == (5, 3) and found.value_place("a", "c", "d") == (5, 8)
    assert found.value_place("a", "c", "e") == (7, 1)  # the text begins on the line after the quotes
    assert found.place("a", "c", "f", "g") == (8, 7)


def test_what_is_not_written_is_at_the_nearest_table_that_is(tmp_path):
    found = document(tmp_path, "x = 1\n[a.b]\nc = 1\n")
    assert found.place("a", "b", "missing") == found.place("a", "b") and found.place("a", "b")[0] == 2
    assert found.place("nothing") == (1, 1)
    problem = found.problem("is missing", "a", "b", "c")
    assert (problem.where.line, problem.where.column, problem.text) == (3, 1, "c = 1")


@pytest.mark.parametrize(
    ("text", "line"), [("a = 1\nb = \n", 2), ("a = 1\na = 2\n", 2), ("[a", 1), ("x = " + "[" * 5000, 1)]
)
def test_what_is_no_toml_is_reported_with_its_line(tmp_path, text, line):
    with pytest.raises(ConfigError) as raised:
        document(tmp_path, text)
    (problem,) = raised.value.problems
    assert problem.message.startswith("not TOML: ") and problem.where.line == line


def test_a_file_that_is_not_there_is_reported(tmp_path):
    with pytest.raises(ConfigError, match="cannot read"):
        Document(tmp_path / "none.toml")
