# SPDX-License-Identifier: MIT
"""Every public call, by its signature, with values that are none: each is refused with what would be right."""

from __future__ import annotations

import dataclasses
import inspect
import os
from itertools import product

import pytest

import vre
from vre.config.model import Model
from vre.platform.accounts import Reader
from vre.platform.description import check

NAN, INF = float("nan"), float("inf")
#: No parameter that is a number takes any of these.
NUMBERS = (NAN, INF, -INF, -1, -0.5, 1e300, 10**400)
OTHERS = (True, None, "x", "", "\0", b"x", [], {}, (NAN,), {"x": NAN}, object())
PLAIN = "FromDevice(eth0) -> c :: Counter -> ToDevice(eth1);"
#: What a call is given besides the value in question.
GOOD = {
    "name": "red",
    "router": "red",
    "port": "eth1",
    "config": PLAIN,
    "file": "x.click",
    "path": "red/FromDevice@1",
    "what": "red/c.count",
    "handler": "c.count",
    "value": "1",
    "core": 0,
    "seconds": 0.0,
    "rate": 1e5,
    "resting": False,
    "text": "text",
    "event": "event",
    "number": 0,
    "count": 1,
}
#: Called by the platform's own parts only, with what they have made.
INTERNAL = frozenset()


def calls(holder):
    """Yield the name of each public method that takes something, and its parameters."""
    for name, method in inspect.getmembers(type(holder), inspect.isfunction):
        parameters = list(inspect.signature(method).parameters.values())[1:]
        if name[0] != "_" and name not in INTERNAL and parameters:
            yield name, parameters


def takes(parameter, value):
    """Return whether a parameter may take a value, by its annotation."""
    says = str(parameter.annotation)
    if value is None:
        return "None" in says
    if value is True:
        return "bool" in says or "str | float" in says
    numbers = ("int" in says or "float" in says) and "str" not in says
    return not (numbers and (isinstance(value, float | int) or "dict" not in says))


def attempt(holder, name, parameters, wrong, value):
    """Call with one value in question; return what was raised."""
    if wrong.kind is inspect.Parameter.VAR_POSITIONAL:
        arguments, named = [value], {}
    else:
        arguments = []
        named = {p.name: GOOD[p.name] for p in parameters if p.default is p.empty and p.name in GOOD}
        named |= {"name": "new"} if name in ("nic", "router") else {}
        named[wrong.name] = value
    before = (dict(holder.model.nics), dict(holder.model.routers)) if hasattr(holder, "model") else None
    try:
        getattr(holder, name)(*arguments, **named)
        if before and not holder.running:
            check(holder.model)  # what is described is held against the rest when it starts
    except vre.VreError as error:
        assert str(error) and "failed: " not in str(error)
        return error
    finally:
        if before and not holder.running:
            holder.model.nics, holder.model.routers = before
    return None


def running(holder):
    return not isinstance(holder, vre.Platform) or holder.running


def strays(holder):
    """Return calls that took what they should not have, or raised something else."""
    found = []
    for name, parameters in calls(holder):
        for wrong, value in product(parameters, NUMBERS + OTHERS):
            if name == "run" and (value is None or not running(holder)):
                continue  # it takes its time
            try:
                refused = attempt(holder, name, parameters, wrong, value)
            except Exception as error:
                found.append((name, wrong.name, value, repr(error)))
            else:
                if refused is None and not takes(wrong, value):
                    found.append((name, wrong.name, value, "was taken"))
    return found


def described():
    box = vre.Platform(name=f"calls{os.getpid()}", clock="virtual", machine="dell2950")
    box.nic("eth0", link=vre.Generator(rate=1e5, count=20))
    box.nic("eth1")
    return box, box.router("red", PLAIN)


def test_calls_of_a_platform_that_runs_and_of_what_it_gives():
    box, red = described()
    with box:
        box.run(0.001)
        assert [stray for holder in (red, box.reader, box) for stray in strays(holder)] == []
        box.halt()
        assert [stats for stats in box.reader.routers() if stats.balance] == []
        assert red.stats().forwarded == 20


def test_calls_of_a_platform_that_is_described_only():
    box, red = described()
    assert [stray for holder in (red, box) for stray in strays(holder)] == []


SETTINGS = [(vre.Platform, f.name) for f in dataclasses.fields(Model) if f.name not in ("nics", "routers")] + [
    (kind, f.name)
    for kind in (vre.Generator, vre.Replay, vre.Capture, vre.Cable, vre.Domu)
    for f in dataclasses.fields(kind)
]


@pytest.mark.parametrize(("kind", "name"), SETTINGS, ids=lambda one: getattr(one, "__name__", one))
def test_settings_are_refused_before_anything_starts(kind, name, tmp_path):
    needed = {"pcap": str(tmp_path / "x.pcap"), "capture": str(tmp_path / "x.pcapng"), "to": "eth1"}
    fields = {f.name for f in dataclasses.fields(kind)} if kind is not vre.Platform else set()
    says = {f.name: str(f.type) for f in dataclasses.fields(Model if kind is vre.Platform else kind)}[name]
    for value in NUMBERS + OTHERS:
        settings = {key: text for key, text in needed.items() if key in fields} | {name: value}
        try:
            box = vre.Platform(**(settings if kind is vre.Platform else {}))
            made = None if kind is vre.Platform else kind(**settings)
            box.nic("eth0", link=None if kind is vre.Domu else made)
            box.nic("eth1")
            box.router("red", PLAIN, domu=made if kind is vre.Domu else None)
            check(box.model)
        except vre.ConfigError as error:
            assert str(error)
        else:
            assert type(value).__name__ in says or value in (None, "x") or (value == [] and "tuple" in says), value


def test_what_the_reader_is_asked_for_is_asked_of_its_manifest():
    assert {name for name, _ in calls(Reader(None))} == {"router", "sent", "decisions"}
