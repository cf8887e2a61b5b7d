# SPDX-License-Identifier: MIT
"""What a fault costs others is judged by losses, and of who loses packets anyhow by the share of the core."""

from __future__ import annotations

import os

import vre
from vre.chaos.victims import LOSS, SHORTFALL, Harm, Victims
from vre.platform.accounts import RouterStats

CONFIG = "FromDevice(eth0) -> Strip(14) -> CheckIPHeader -> Unstrip(14) -> Queue -> ToDevice(eth1);"


def watched(rates, act, shares=None, monkeypatch=None):
    """Watch routers that are sent packets at such rates; `shares` are what each got of what it was due."""
    with vre.Platform(name=f"victims{os.getpid()}", clock="virtual", machine="dell2950") as box:
        box.nic("eth0", link=vre.Generator(rates=rates))
        box.nic("eth1")
        for name in rates:
            box.router(name, CONFIG)
        box.start()
        victims = Victims(box, list(rates))
        if shares:
            whole = RouterStats.__init__

            def told(self, *args, **values):
                whole(self, *args, **values)
                object.__setattr__(self, "contested_due", round(box.now() * 1e9))
                object.__setattr__(self, "contested_used", round(box.now() * 1e9 * shares[self.name]))
                object.__setattr__(self, "contested_step", 1)

            monkeypatch.setattr(RouterStats, "__init__", told)
        harm = victims.watch(lambda: act(box))
        monkeypatch and monkeypatch.undo()
        box.pause()
        box.halt()
        assert [stats.name for stats in box.reader.routers() if stats.balance] == []
    return harm


def test_a_router_that_loses_nothing_is_judged_by_what_it_loses():
    calm = watched({"red": 20_000, "blue": 20_000}, lambda box: None)
    assert calm == Harm(0.0, 0.0) and not calm.too_much
    hurt = watched({"red": 20_000, "blue": 20_000}, lambda box: box.set_rate("red", 3e6))
    assert hurt.loss > LOSS and hurt.too_much and "more of its packets" in hurt.why


def test_one_that_is_overloaded_is_judged_by_its_share(monkeypatch):
    rates = {"red": 3e6, "blue": 3e6}
    fair = watched(rates, lambda box: box.set_rate("red", 6e6), {"red": 1.0, "blue": 1.0}, monkeypatch)
    assert fair == Harm(0.0, 0.0)
    unfair = watched(rates, lambda box: None, {"red": 1.0, "blue": 0.5}, monkeypatch)
    assert abs(unfair.shortfall - 0.5) < 0.01 > unfair.loss and unfair.shortfall > SHORTFALL
    assert unfair.too_much and "50.0% less of its core" in unfair.why


def test_harm_is_the_worst_of_each():
    assert Harm(0.1, 0.0).worst(Harm(0.0, 0.2)) == Harm(0.1, 0.2)
