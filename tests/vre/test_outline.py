# SPDX-License-Identifier: MIT
"""What is told of an untrusted element's class without running it, and what `check` says of it."""

from __future__ import annotations

import re

import pytest

from vre.errors import ConfigError
from vre.language.checker import check
from vre.language.lexer import Source

ELEMENT = "from vre.element import Argument, Element, between, integer, ip, REQUIRED\n"
PUSH = "    def push(self, packet): pass\n"


def said(tmp_path, text, arguments=""):
    (tmp_path / "x.py").write_text(text)
    config = f"FromDevice(eth0) -> u :: Untrusted(x.py:X{arguments}) -> Discard;"
    try:
        check(Source(config, str(tmp_path / "x.click")))
    except ConfigError as error:
        return error.problems[0].message
    return ""


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("class X: pass", "", "a class X with none of process, push and batch"),
        ("class X:\n    def pusch(self, packet): pass", "", "none of process, push and batch"),
        (f"class X:\n{PUSH}", ", 1", r"is given 1 argument\(s\); X.__init__ takes 0"),
        (f"class X:\n{PUSH}    def __init__(self, a, b=2): pass", "", r"given 0 argument\(s\); X.__init__ takes 1 to 2"),
        (f"class X:\n{PUSH}    def __init__(self, a, b=2): pass", ", 1, 2, 3", r"given 3 argument\(s\)"),
        (f"class X:\n{PUSH}    def __init__(self, a, *b): pass", "", "takes at least 1"),
        (f"class Y:\n{PUSH}    def __init__(self, a): pass\nclass X(Y): pass", "", "takes 1$"),
        (f'{ELEMENT}class X(Element):\n    arguments = (Argument("N", integer),)\n{PUSH}', "", "X: N is missing"),
        (f'{ELEMENT}class X(Element):\n    arguments = (Argument("N", integer),)\n{PUSH}', ", x", "X: N: 'x' is not an integer"),
        (f'{ELEMENT}class X(Element):\n    arguments = (Argument("N", between(1, 1 << 4)),)\n{PUSH}', ", 17", "17 is not from 1 to 16"),
        (f'{ELEMENT}class X(Element):\n    arguments = (Argument("N", integer, 1),)\n{PUSH}', ", 1, 2", "too many arguments: '2'"),
        (f'{ELEMENT}class X(Element):\n    arguments = (Argument("N", integer, 1, keyword=True),)\n{PUSH}', ", M 2", "no keyword M"),
        (f"{ELEMENT}class X(Element):\n{PUSH}", ", 1", "too many arguments: '1'"),
        (f'{ELEMENT}class X(Element):\n    arguments = (Argument("N", integer),)', ", 1", "none of process, push and batch"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_said(tmp_path, text, arguments, message):
    found = said(tmp_path, text, arguments)
    assert re.search(message, found), found


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        (f"class X:\n{PUSH}", ""),
        (f"class X:\n{PUSH}    def __init__(self, a, b=2, *, c=3): pass", ", 1, 2"),
        (f"class X:\n{PUSH}    def __init__(self, *a, **k): pass", ", 1, 2, 3, 4"),
        ("class X:\n    push = len\n", ""),
        ("class X:\n    def __init__(self, n): self.push = n\n", ", 1, 2"),
        ("from other import Base\nclass X(Base): pass", ", 1"),
        ("@decorated\nclass X: pass", ", 1"),
        ("class X(metaclass=M): pass", ", 1"),
        ("class X:\n    def __getattr__(self, name): pass\n", ", 1"),
        ("class X:\n    if True:\n        def push(self, p): pass\n", ", 1"),
        ("class X: pass\nsetattr(X, 'push', 1)", ", 1"),
        ("X = make()", ", 1"),
        (f'{ELEMENT}class X(Element):\n    arguments = (Argument("N", integer, REQUIRED),)\n{PUSH}', ", 1"),
        (f'{ELEMENT}class X(Element):\n    arguments = (Argument("N", mine), Argument("M", between(A, 3)))\n{PUSH}', ", x, y"),
        (f'{ELEMENT}class X(Element):\n    arguments = tuple(whatever)\n{PUSH}', ", x, y"),
        (f'{ELEMENT}class Y(Element):\n    arguments = (Argument("N", ip, rest=True),)\nclass X(Y):\n{PUSH}', ", 1.1.1.1, 2.2.2.2"),
        ("class X:\n    @staticmethod\n    def process(state, packet): return 0\n", ""),
    ],
)  # fmt: skip
def test_what_may_work_is_let_be(tmp_path, text, arguments):
    assert said(tmp_path, text, arguments) == ""
