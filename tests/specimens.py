# SPDX-License-Identifier: MIT
"""A router around any element: arguments that its declaration takes, neighbours for each of its ports."""

from __future__ import annotations

import itertools

from vre.errors import ConfigError
from vre.language.checker import check
from vre.language.lexer import Source
from workers.arguments import REQUIRED
from workers.element import load, port_range, processing_of

#: What some kind of argument takes: each is given the first that it does not refuse.
VALUES = (
    "eth0", "1", "100", "10.0.0.1", "02:00:00:00:00:01", "true", "12/0800", "FromDevice@1 1", "0.0.0.0/0 0",
    "10.0.0.1 02:00:00:00:00:01", "timeexceeded", "1kpps", "10ms", "10.0.0.0/8",
)  # fmt: skip


def arguments_of(cls):
    """Return what must be given, as pairs of an argument and a text that it takes."""
    found = []
    for argument in cls.arguments:
        if argument.keyword or not (argument.default is REQUIRED or argument.rest):
            continue
        for text in ("eth2", *VALUES) if argument.name == "DEVNAME" else VALUES:
            try:
                argument.kind(text)
            except ValueError:
                continue
            found.append((argument, text))
            break
    return found


def router_of(name, config):
    """Return a router with element `x` of a class in it, fed from port eth0 where it has an input.

    Whether its ports push or pull is tried out; None where no router can have it alone.
    """
    cls = load()[name]
    inputs, outputs = (port_range(side)[0] for side in cls.ports.partition("/")[::2])
    inputs, outputs = (
        inputs or int("-" in cls.ports.partition("/")[0]),
        outputs or int("-" in cls.ports.partition("/")[2]),
    )
    codes = [cls.processing.partition("/")[::2][0], cls.processing.partition("/")[2]]
    ways = [processing_of(codes[0], i) for i in range(inputs)]
    for agnostic in itertools.product("hl", repeat=1 if "a" in (*ways, processing_of(codes[1], 0)) else 0):
        text = [f"x :: {name}({config});", "in :: FromDevice(eth0) -> feed :: Tee;" if inputs else ""]
        for i, way in enumerate(ways):
            pulled = (agnostic[0] if way == "a" else way) == "l"
            text.append(f"feed[{i}] -> {'Queue -> ' if pulled else ''}[{i}]x;")
        for o in range(outputs):
            way = processing_of(codes[1], o)
            pulled = (agnostic[0] if way == "a" else way) == "l"
            text.append(f"x[{o}] -> {'Unqueue -> ' if pulled else ''}o{o} :: Counter -> Discard;")
        if not inputs and not outputs:
            text.append("FromDevice(eth0) -> Discard;")
        try:
            check(Source("\n".join(text), "specimen.click"))
        except ConfigError as error:
            last = error
            continue
        return "\n".join(text)
    raise last


def specimens():
    """Yield (class name, router) of all elements that are registered, but those that need a domU's code."""
    for name, cls in sorted(load().items()):
        if cls.driver != "domu":
            yield name, router_of(name, ", ".join(text for _, text in arguments_of(cls)))
