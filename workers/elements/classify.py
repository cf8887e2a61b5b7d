# SPDX-License-Identifier: MIT
"""Classifying packets by their bytes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import chain
from typing import Any

from shm.intrinsics import load32, load64
from shm.layout import Layout
from workers.arguments import Argument, ArgumentError
from workers.element import Element, Needs

#: A decision: at `offset` of the packet, the word (host order) under `mask` equals `value` or not; it does not
#: where the packet has fewer bytes than it takes. `yes` and `no` are the place of the next node in the table in
#: bytes, or minus two minus the output; FAIL is no output at all.
_NODE = Layout("node", {"offset": "i8", "mask": "i8", "value": "i8", "yes": "i8", "no": "i8", "takes": "i8"})
FAIL = -1


@dataclass(frozen=True)
class Test:
    """Four bytes at a multiple of four are compared, under a mask, with a value."""

    offset: int
    mask: int
    value: int


@dataclass(frozen=True)
class Pattern:
    """Tests that must all hold, and groups of tests (`!`) that must each fail."""

    tests: tuple[Test, ...]
    refused: tuple[tuple[Test, ...], ...]


def pattern(text: str) -> Pattern:
    """Parse `off/hex%mask` clauses, `?` nibbles, a leading `!`; `-` matches all."""
    if text == "-":
        return Pattern((), ())
    tests: list[Test] = []
    refused: list[tuple[Test, ...]] = []
    for clause in text.split():
        found = re.fullmatch(r"(!?)(\d+)/([0-9a-fA-F?]+)(?:%([0-9a-fA-F]+))?", clause)
        if not found:
            raise ArgumentError(f"'{clause}' is not OFFSET/VALUE[%MASK], as in 12/0800", text.index(clause))
        bang, offset, value, mask = found.groups()
        if len(value) % 2:
            raise ArgumentError(f"'{value}' has an odd number of digits", text.index(clause))
        if mask and len(mask) != len(value):
            raise ArgumentError(f"mask '{mask}' is not as long as '{value}'", text.index(clause))
        if int(offset) + len(value) // 2 > 2048:
            raise ArgumentError(f"offset {offset} lies beyond any packet", text.index(clause))
        wild = "".join("0" if c == "?" else "f" for c in value)
        bits = int(wild, 16) & int(mask or "f" * len(value), 16)
        done = _tests(int(offset), int(value.replace("?", "0"), 16), bits, len(value) // 2)
        if bang:
            refused.append(done)
        else:
            tests += done
    return Pattern(tuple(tests), tuple(refused))


def _tests(offset: int, value: int, mask: int, size: int) -> tuple[Test, ...]:
    """Cut a comparison into aligned words of four bytes, in the byte order of this machine."""
    before = offset % 4
    total = -(-(before + size) // 4) * 4
    shift = 8 * (total - before - size)
    masks = (mask << shift).to_bytes(total, "big")
    values = ((value & mask) << shift).to_bytes(total, "big")
    words = (
        Test(
            offset - before + i, int.from_bytes(masks[i : i + 4], "little"), int.from_bytes(values[i : i + 4], "little")
        )
        for i in range(0, total, 4)
    )
    return tuple(t for t in words if t.mask)


def tree(patterns: list[Pattern]) -> list[tuple[int, int, int, int, int, int]]:
    """Return the decision nodes `(offset, mask, value, yes, no, takes)` for patterns tried in order.

    What earlier tests have settled is not tested again: after `12/0806` failed, a second pattern that
    begins with it is skipped at once.
    """
    nodes: list[tuple[int, int, int, int, int, int]] = []

    def build(rest: list[_Open], known: dict[Test, bool]) -> int:
        rest = _settle(rest, known)
        if not rest:
            return FAIL
        if rest[0].is_met:
            return -2 - rest[0].output
        test = _choose(rest, known)
        here = len(nodes)
        nodes.append((0, 0, 0, 0, 0, 0))
        yes = build(rest, known | {test: True})
        no = build(rest, known | {test: False})
        # The word that ends where the comparison does: none reaches beyond the packet. It may begin before, in what
        # every buffer keeps free there.
        last = -(-test.mask.bit_length() // 8)
        shift, takes = 8 * (4 - last), test.offset + last
        nodes[here] = (takes - 4, test.mask << shift, test.value << shift, yes, no, takes)
        return here * _NODE.size

    root = build([_Open(i, p.tests, p.refused) for i, p in enumerate(patterns)], {})
    if root < 0:
        nodes.append((-4, 0, 0, root, root, 0))
    return nodes


@dataclass(frozen=True)
class _Open:
    """What is still open of the pattern for an output: tests that must hold, groups that must each fail."""

    output: int
    tests: tuple[Test, ...]
    refused: tuple[tuple[Test, ...], ...]

    @property
    def is_met(self) -> bool:
        return not self.tests and not self.refused


def _settle(rest: list[_Open], known: dict[Test, bool]) -> list[_Open]:
    """Return what is open once `known` is: from the first pattern that can still match."""
    for i, one in enumerate(rest):
        tests = tuple(t for t in one.tests if known.get(t) is not True)
        refused = tuple(tuple(t for t in group if known.get(t) is not True) for group in one.refused)
        refused = tuple(g for g in refused if not any(_settled_false(t, known) for t in g))
        if all(refused) and not any(_settled_false(t, known) for t in tests):
            return [_Open(one.output, tests, refused), *rest[i + 1 :]]
    return []


def _choose(rest: list[_Open], known: dict[Test, bool]) -> Test:
    """Return what to test next: the first open test, or one that excludes it and whose yes decides at once.

    So `12/0800` comes before `12/0806 20/0001`: most packets take one test where they would take two.
    """
    first = (rest[0].tests or rest[0].refused[0])[0]
    others = (t for one in rest for t in one.tests if t not in known and _settled_false(first, {t: True}))
    return next((test for test in chain([first], others) if _decides(rest, known | {test: True})), first)


def _decides(rest: list[_Open], known: dict[Test, bool]) -> bool:
    """Return whether the output is settled, given what is `known`."""
    after = _settle(rest, known)
    return bool(after) and after[0].is_met


def _settled_false(test: Test, known: dict[Test, bool]) -> bool:
    if known.get(test) is False:
        return True
    return any(
        holds and k.offset == test.offset and (k.value ^ test.value) & k.mask & test.mask for k, holds in known.items()
    )


class Classifier(Element):
    """Sends each packet to the output of the first pattern that it matches.

    Syntax: `Classifier(PATTERN, ...)`, one output each. A pattern is a list of clauses
    `OFFSET/VALUE[%MASK]` in hexadecimal, `?` for any nibble, `!` before a clause for "not"; `-` matches
    everything. A packet too short for a clause does not match it; one that matches nothing is dropped.

    Example: `Classifier(12/0806 20/0001, 12/0806 20/0002, 12/0800, -)` tells ARP requests, ARP replies,
    IP and the rest apart.
    """

    cycles = 120
    ports = "1/-"
    processing = "h/h"
    arguments = (Argument("PATTERN", pattern, rest=True),)
    state = {"nodes": "i8"}
    reasons = ("no_match",)

    @classmethod
    def check(cls, values: dict[str, Any]) -> list[Any]:
        return [] if values["pattern"] else [ArgumentError("PATTERN is missing: give at least one, or -")]

    @classmethod
    def outputs(cls, values: dict[str, Any]) -> int | None:
        return len(values["pattern"])

    @classmethod
    def needs(cls, values: dict[str, Any]) -> Needs:
        return Needs(areas={"nodes": _NODE.size * len(tree(values["pattern"]))})

    @classmethod
    def set_up(cls, state: Any, values: dict[str, Any]) -> None:
        import numpy as np

        from shm.intrinsics import copy

        table = np.array(tree(values["pattern"]), dtype="i8")
        copy(int(state["nodes"]), table.ctypes.data, table.nbytes)

    @staticmethod
    def process(state, packet):
        at = 0
        while at >= 0:
            node = state["nodes"] + at
            long = packet["length"] >= load64(node + _NODE["takes"])
            if long and load32(packet["data"] + load64(node)) & load64(node + _NODE["mask"]) == load64(
                node + _NODE["value"]
            ):
                at = load64(node + _NODE["yes"])
            else:
                at = load64(node + _NODE["no"])
        return -2 - at
