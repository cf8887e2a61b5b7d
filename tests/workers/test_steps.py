# SPDX-License-Identifier: MIT
"""Which steps an element has in a composed function, and what a step prints."""

from __future__ import annotations

import re

import pytest

from tests import golden
from vre.language.checker import check
from vre.language.lexer import Source
from workers.compiler.composer import Composer
from workers.compiler.steps import TEMPLATES, step

#: What follows `FromDevice(eth0) -> x :: `, to the steps of x.
ELEMENTS = {
    "Null -> Discard;": "run",
    "Strip(14) -> Discard;": "run drop",
    "Discard;": "run drop",
    "ToDevice(eth1);": "run taken drop",
    "Queue -> ToDevice(eth1);": "bypass call",
    "Queue -> Unqueue -> Discard;": "run taken drop",
    "Tee -> Discard; x[1] -> Discard; x[2] -> Null -> Discard;": "run spread spread",
    "PaintTee(1) -> Discard; x[1] -> Discard;": "run clone",
    "CheckLength(9) -> Null -> Discard; x[1] -> Discard;": "run branch drop",
    "CheckLength(9) -> Discard;": "run drop",
    "Classifier(0/00, 0/01, -); x[0] -> Discard; x[1] -> Null -> Discard; x[2] -> Discard;": "run branch branch drop",
    "IPFragmenter(576) -> Discard;": "run punt drop",
    "ARPQuerier(10.0.0.1, 02:00:00:00:00:01) -> Discard; Idle -> [1] x;": "clock run punt drop",
    "CheckLength(9) -> d :: Discard; x[1] -> d;": "run branch drop join",
}


def composer(config):
    return Composer(check(Source(config, "steps.click")).shape)


@pytest.mark.parametrize(("config", "kinds"), ELEMENTS.items(), ids=ELEMENTS)
def test_what_becomes_of_a_packet_is_a_row_of_steps(config, kinds):
    assert [one.kind for one in composer(f"FromDevice(eth0) -> x :: {config}").element(1, False)] == [
        *("element", "state"),
        *kinds.split(),
    ]


def test_an_element_without_compiled_code_is_one_step():
    (_, punt) = composer("FromDevice(eth0) -> Print(x) -> Discard;").element(1, False)
    assert list(punt.lines()) == ["    punt(core, packet, 16 + port, block + 144)"]


def test_what_is_called_has_an_address_and_what_goes_on_has_none():
    branch = next(
        one
        for one in composer("FromDevice(eth0) -> c :: CheckLength(9) -> Null -> Discard; c[1] -> Discard;").element(
            1, False
        )
        if one.kind == "branch"
    )
    assert list(branch.lines()) == [
        "    if unlikely(out < 0):",
        "        aside = stack_record(RECORD)",
        "        transfer(packet, aside)",
        "        e4(block, core, aside, 0)",
        "        return",
    ]


def test_a_value_of_several_lines_is_indented_where_it_stands():
    lines = list(step("finish", publish=("publish(punts)", "release(ring)")).lines())
    assert lines[:3] == ["    commit(core)", "    publish(punts)", "    release(ring)"]
    assert (
        "\n".join(step("finish", publish=()).lines()) == "    commit(core)\n    finish(core)\n    return count + back"
    )


def test_values_are_those_that_the_template_has():
    with pytest.raises(KeyError, match="given"):
        list(step("run", name="Null").lines())


def test_the_golden_shapes_have_every_step():
    used = {}
    for config in golden.SHAPES.values():
        for one in composer(config).steps():
            used[one.kind] = set(one.values)
    assert used == {kind: set(re.findall(r"{(\w+)}", template)) for kind, template in TEMPLATES.items()}
