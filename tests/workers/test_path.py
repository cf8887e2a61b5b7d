# SPDX-License-Identifier: MIT
"""What a path's module says, whatever circles its graph has."""

from __future__ import annotations

import re

import pytest

from tests import golden
from vre.language.checker import check
from vre.language.lexer import Source
from workers.compiler.composer import compose

CIRCLES = {
    "through a queue": "FromDevice(eth0) -> q :: Queue -> Unqueue -> t :: Tee(2) -> q; t[1] -> Queue -> ToDevice(eth1);",
    "through two queues": "FromDevice(eth0) -> q :: Queue -> Unqueue -> Queue -> Unqueue -> t :: Tee(2) -> q; "
    "t[1] -> Queue -> ToDevice(eth1);",
    "of compiled elements": "FromDevice(eth0) -> t :: Tee(2) -> Paint(1) -> t; t[1] -> Queue -> ToDevice(eth1);",
    "through the slow path": "FromDevice(eth0) -> p :: Print(x) -> t :: Tee(2) -> p; t[1] -> Queue -> ToDevice(eth1);",
    "through a domU": "FromDevice(eth0) -> u :: Untrusted(x.py:X) -> t :: Tee(2) -> u; t[1] -> Queue -> ToDevice(eth1);",
}


@pytest.mark.parametrize("config", CIRCLES.values(), ids=CIRCLES)
def test_functions_call_only_what_is_written_above_them(config, tmp_path):
    (tmp_path / "x.py").write_text("class X:\n    def push(self, packet):\n        return packet\n")
    text = compose(check(Source(config, str(tmp_path / "x.click"))).shape)
    parts = re.split(r"^def (\w+)", text, flags=re.MULTILINE)
    written: set[str] = set()
    for name, body in zip(parts[1::2], parts[2::2], strict=True):
        # One that calls itself, by whatever way, cannot be compiled, or cannot be loaded again.
        assert set(re.findall(r"\b([er]\d+)\(block", body)) <= written, name
        written.add(name)


@pytest.mark.parametrize("name", golden.SHAPES)
def test_modules_are_as_they_are_kept(name):
    """`make golden` writes them anew, if what changed is meant."""
    assert golden.composed(name) == golden.kept(name)


def test_the_architecture_shows_one_of_them():
    block = golden.BLOCK.search(golden.ARCHITECTURE.read_text())[1]
    assert block == golden.excerpt() and block in golden.kept("forward") and len(block.splitlines()) >= 30
