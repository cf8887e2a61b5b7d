# SPDX-License-Identifier: MIT
"""Prose keeps to standard words: those that are retired stay out of documents, help, docstrings, comments, messages."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"]
#: Folders whose docstrings, comments and messages are held to it.
FOLDERS = ["shm", "workers/core", "workers/datapath", "workers/domu", "workers/elements", "workers/sandbox"]
FOLDERS += ["workers/wire", "workers/zygote", "vre"]
#: A retired word to what is said instead.
RETIRED = {
    r"nobody|somebody|anybody|everybody": "no process, no reader, another router: say which",
    r"whoever|whom|whomever": "a process that, the command that",
    r"he|him|his|himself": "it, they",
    r"dear|dearer|dearest": "expensive",
    r"spells?": "a noisy interval",
    r"crew|nursery|trunk|trunks": "process group, domU zygote, trace",
    r"to and fro": "alternately",
    r"what is where": "the layout, the manifest",
    r"so (?:long|often|much|many) (?:as that|and no)": "the value",
}


def retired(text):
    """Return the retired words in a text, each with what to say instead."""
    return [
        f"'{found[0]}': {instead}"
        for words, instead in RETIRED.items()
        for found in re.finditer(rf"(?<![\w`.])(?:{words})(?![\w`])", text, re.IGNORECASE)
        if not found[0].isupper()  # a constant
    ]


def prose(file):
    """Yield (line, text) of a module's comments and of its strings, docstrings among them."""
    text = file.read_text()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


@pytest.mark.parametrize("document", DOCUMENTS)
def test_documents_use_no_retired_words_and_are_wrapped(document):
    text = (ROOT / document).read_text()
    assert retired(text) == []
    # A table's row is one line of Markdown.
    assert [line for line in text.splitlines() if len(line) > 100 and not line.startswith("|")] == []


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) < 150


def test_help_uses_no_retired_words():
    from vre.cli.main import COMMANDS, vre

    for name in COMMANDS:
        command = vre.get_command(click.Context(vre), name)
        assert retired(command.get_help(click.Context(command, info_name=name))) == [], name


@pytest.mark.parametrize("folder", FOLDERS)
def test_code_uses_no_retired_words(folder):
    found = [
        f"{file.relative_to(ROOT)}:{line}: {word}"
        for file in sorted((ROOT / folder).rglob("*.py"))
        for line, text in prose(file)
        for word in retired(text)
    ]
    assert found == []
