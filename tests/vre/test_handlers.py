# SPDX-License-Identifier: MIT
"""Every handler of every element, whatever is written to it; found from the registry, those added later included."""

from __future__ import annotations

import inspect
import random
import re

import pytest

from tests.harness import Bench
from tests.specimens import arguments_of, router_of, specimens
from tests.workers.frames import udp
from vre.cli.elements import page
from vre.errors import ConfigError, HandlerError
from vre.language.checker import check
from vre.language.lexer import Source
from vre.platform.handlers import Handlers
from workers.arguments import rate, seconds
from workers.element import load
from workers.ranges import ranges

#: Numbers and near-numbers; Unicode has digits that are none here.
NUMBERS = [
    "0", "1", "-1", "255", "256", "65536", "-32769", str(2**31), str(2**32), str(2**53 + 1), str(2**62), str(2**63), str(-(2**63) - 1), "9" * 20, "9" * 5000,
    "0x10", "0xffffffffffffffffff", "010", "08", "1e3", "1e400", "-1e308", "nan", "inf", "-inf", "1_000", "１２", "²", "+-1", "--1", "0x", "1.5", "1.", ".5",
]  # fmt: skip
#: Texts with something half said.
TEXTS = [
    "", " ", '"', "'", '"\\', "\\", "\\<", "\\<zz>", "\\<0>", "(", ")", "((((", ",", ",,", "$", "$x", "//", "/*", "\x00", "\n", "\x1b[31m", "é", "\ud800", "a" * 10_000,
    "10.0.0.0/8", "10.0.0.0/33 0", "10.0.0.0/8 0", "10.0.0.0/8 0 0", "10.0.0.0/8 1.2.3.4 0", "0/0 0", "/ 0", "add", "add x", "remove 0/0\nadd \"", "256.0.0.1",
    "1.2.3.4", "1.2.3", "1.2.3.4.5", "1.2.3.4 02:00:00:00:00:09", "02:00:00:00:00:0", "02:00:00:00:00:01:02", "true", "maybe", "1.2.3.4 02:00:00:00:00:09 x",
]  # fmt: skip
CHARACTERS = "0123456789abcdefx.:/-+_ \t\n\"'\\<>()[]{},;$%*\x00éａ１"


def nasty(name):
    """Yield texts to write, the same each time: fixed ones, then random ones."""
    yield from NUMBERS
    yield from TEXTS
    rng = random.Random(name)
    for _ in range(40):
        yield "".join(rng.choices(CHARACTERS, k=rng.randrange(1, 30)))


@pytest.mark.parametrize(("name", "config"), list(specimens()), ids=lambda value: value.partition("\n")[0])
def test_a_handler_takes_a_value_or_says_why_not(name, config):
    cls = load()[name]
    reads, writes = cls.handlers()
    with Bench(config) as bench:
        handlers = Handlers(bench.model, bench.builder)
        listed = handlers.read("r", "x.handlers").split()
        assert listed == sorted({*reads, *writes, "name", "class", "config", "handlers"})
        bounds = ranges(cls.state)
        for text in nasty(name):
            for handler in [*writes, "nobody", ""]:
                try:
                    handlers.write("r", f"x.{handler}", text)
                except HandlerError as error:
                    assert str(error) and len(str(error)) < 12_000
            state = bench.state("x")
            for field in cls.live():
                low, high = bounds[field]
                assert low <= state[field] <= high
        for handler in [*reads, "name", "class", "config"]:
            assert isinstance(handlers.read("r", f"x.{handler}"), str)
        for handler in ("nobody", ""):
            with pytest.raises(HandlerError):
                handlers.read("r", f"x.{handler}")
        if "eth0" in config:
            bench.send(*[udp(size=size) for size in (60, 200, 900)])
        bench.settle()
        for port in ("eth1", "eth2"):
            bench.received(port)
        bench.assert_sound()


@pytest.mark.parametrize("name", sorted(name for name, cls in load().items() if cls.driver != "domu"))
def test_an_argument_is_refused_by_check_or_can_be_built(name):
    cls = load()[name]
    given = {argument.name: text for argument, text in arguments_of(cls)}
    taken = {}
    for argument in cls.arguments:
        if argument.name == "DEVNAME":
            continue  # the name of one of the platform's ports, else it is refused with the platform
        units = ("s", "kpps") if argument.kind in (rate, seconds) else ()
        for text in [*NUMBERS, *TEXTS, *(f"{number}{unit}" for number in NUMBERS[:24] for unit in units)]:
            if _checked(name, given | {argument.name: text}):
                taken.setdefault(argument.name, []).append(text)
    for i in range(max((len(texts) for texts in taken.values()), default=0)):
        config = _checked(name, given | {argument: texts[i % len(texts)] for argument, texts in taken.items()})
        if config:
            with Bench(config) as bench:
                bench.assert_sound()


def _checked(name, values):
    """Return a router with an element of these arguments, None where it is refused, or takes megabytes."""
    must = [argument.name for argument, _ in arguments_of(load()[name])]
    said = [values[key] for key in must] + [f"{key} {text}" for key, text in values.items() if key not in must]
    try:
        config = router_of(name, ", ".join(said))
    except ConfigError:
        return None
    graph = check(Source(config, "x.click"))
    node = graph.nodes[graph.index("x")]
    needs = node.cls.needs(node.values)
    return config if sum(needs.areas.values()) + 4096 * sum(needs.rings.values()) < 1 << 22 else None


@pytest.mark.parametrize("name", sorted(load()))
def test_a_page_names_the_handlers_that_there_are(name):
    cls = load()[name]
    reads, writes = cls.handlers()
    for section in re.findall(r"Handlers:(.*?)(?:\n\n|\Z)", inspect.getdoc(cls), re.DOTALL):
        for handler in re.findall(r"`(\w+)`", section):
            assert handler in {*reads, *writes}, f"{name} has no handler '{handler}'"
    shown = dict(re.findall(r"^Can be (read|written): (.*)\.$", page(cls), re.MULTILINE))
    assert shown["read"].split(", ") == ["name", "class", "config", "handlers", *reads]
    assert shown.get("written", "").split(", ") == (writes or [""])


def test_a_list_that_is_longer_than_its_field_is_refused():
    for config, message in (
        ("ICMPError(10.0.0.1, timeexceeded, 0, " + " ".join(["10.0.0.1"] * 33) + ")", "33 addresses; at most 32"),
        ("IPGWOptions(10.0.0.1, " + " ".join(["10.0.0.1"] * 16) + ")", "16 addresses; at most 15"),
        ("ICMPError(10.0.0.1, timeexceeded, 256)", "CODE: 256 is not from 0 to 255, nor one of transit"),
        ("ICMPError(10.0.0.1, timeexceeded, ²)", "CODE: '²' is not an integer, nor one of transit"),
    ):
        with pytest.raises(ConfigError, match=message):
            check(Source(f"FromDevice(eth0) -> {config} -> Discard;", "x.click"))


def test_an_emptied_table_can_be_filled_again():
    with Bench("FromDevice(eth0) -> x :: StaticIPLookup(0/0 0) -> Discard;") as bench:
        handlers = Handlers(bench.model, bench.builder)
        handlers.write("r", "x.flush", "")
        assert handlers.read("r", "x.table") == ""
        handlers.write("r", "x.add", "10.0.0.0/8 0")
        assert handlers.read("r", "x.table") == "10.0.0.0/8\t-\t0\n"
