# SPDX-License-Identifier: MIT
"""What an element is stands in its declaration, and the code bears it out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

import pytest

from workers.arguments import Argument, string
from workers.datapath.packet import CLONE, PUNT, TAKEN
from workers.element import Element, contradictions, load, names_in

ROOT = Path(__file__).resolve().parents[2]
#: How an element's nature would be found out rather than read from its declaration.
DISCOVERY = r"""co_names|"h/l"|["']devname["'] (not )?in |argument\.name == |\[1:-1\]|in \w+(\.cls)?\.state\b(?!\))|hasattr\((\w+\.)*(c|cls)\b"""


@pytest.mark.parametrize("cls", load().values(), ids=load())
def test_every_element_is_what_it_declares(cls):
    assert contradictions(cls) == []
    names = names_in(cls.process) if cls.process else set()
    assert ("CLONE" in names, "TAKEN" in names) == (cls.clones, cls.takes)
    assert cls.copies() == (cls.clones or cls.spreads) and cls.sends() == (cls.is_port and cls.driver == "pull")


class Clones(Element):
    @staticmethod
    def process(state, packet):
        return CLONE + 1 if packet["paint"] else 0


class Takes(Element):
    @staticmethod
    def process(state, packet):
        return TAKEN


class Punts(Element):
    @staticmethod
    def process(state, packet):
        return PUNT


class Emits(Element):
    @staticmethod
    def emit(state, packet, core):
        return 0


class Collects(Element):
    @staticmethod
    def collect(state, place, packet, core, index):
        return 0


class Makes(Element):
    driver = "source"


class Drives(Element):
    driver = "push"


class Receives(Element):
    driver = "rx"


class Stores(Element):
    is_queue = True


class Sends(Element):
    is_port = True
    driver = "pull"
    state: ClassVar = {"ring": "i8"}


class Sorts(Element):
    fib = True
    arguments = (Argument("ROUTE", string),)


class Bursts(Element):
    bursts = True


class Stops(Element):
    stops = True
    state: ClassVar = {"stop": "u1", "limit": "i8", "count": "i8"}


class Holds(Element):
    holds = True


CONTRADICTIONS = {
    Clones: "declare clones = True",
    Takes: "declare takes = True",
    Punts: "no slow path",
    Emits: "a driver 'source' and an emit",
    Makes: "a driver 'source' and an emit",
    Collects: "a driver 'domu' and a collect",
    Drives: "'push' is no driver",
    Receives: "declare is_port = True",
    Stores: "a queue has ports 1/1, processing h/l, and takes; is_queue needs 'ring'",
    Sends: "an argument DEVNAME",
    Sorts: "fib needs 'table' in its state; fib needs 'chunks'",
    Bursts: "its driver is pull",
    Stops: "its driver is source",
    Holds: "holds needs 'hold'",
}


@pytest.mark.parametrize(("cls", "said"), CONTRADICTIONS.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_declaration_that_contradicts_its_code_is_named(cls, said):
    assert said in "; ".join(contradictions(cls))


def test_nothing_looks_for_what_an_element_is_but_in_its_declaration():
    for folder in ("workers/graph", "workers/compiler", "workers/core", "vre/language", "vre/memory", "vre/placement"):
        for file in (ROOT / folder).rglob("*.py"):
            found = re.findall(f".*(?:{DISCOVERY}).*", file.read_text())
            assert not found, (file, found)
