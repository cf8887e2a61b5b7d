# SPDX-License-Identifier: MIT
"""Damaged requests to a running platform, and messages of its domUs: `python -m tests.fuzz.requests SECONDS [SEED]`.

The platform runs in virtual time, in this process; with `real` behind the seed it is one of processes, beside whose
routers another one forwards that no request names. Each request is answered, none with an exception that nobody
expected, and in the end every packet is accounted for.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from pathlib import Path

import vre
from tests.fuzz.configurations import damaged
from vre.platform.domu_commands import VERBS as MESSAGES
from vre.platform.domu_commands import answer

PLAIN = "FromDevice(eth0) -> c :: Counter -> q :: Queue -> ToDevice(eth1);"
ROUTES = """FromDevice(eth0) -> Strip(14) -> CheckIPHeader -> rt :: RadixIPLookup(0/0 0, 198.19.0.0/16 1);
rt[0] -> fix :: FixIPSrc(10.0.0.1) -> Discard;
rt[1] -> arp :: ARPQuerier(10.0.0.1, 02:00:00:00:00:01) -> q :: Queue -> ToDevice(eth1); Idle -> [1] arp;
src :: RatedSource(LIMIT 100) -> sw :: Switch -> Paint(1) -> Discard;"""
#: Values for fields: some are right.
NAMES = [
    "red",
    "blue",
    "green",
    "red/c",
    "red/rt.table",
    "red/rt.add",
    "red/q.length",
    "blue.entitlement",
    "red.entitlement",
    "red.release",
    "red/FromDevice@1",
]
NAMES += [
    "red/src.limit",
    "red/sw.switch",
    "red/arp.insert",
    "red/fix.addr",
    "",
    "/",
    ".",
    "red/",
    "red/.",
    "red.",
    ".entitlement",
    "rt",
    "arp",
    "fix",
    "rt.table",
]
VALUES = [
    "1",
    "0",
    "-1",
    "3.5",
    "50%",
    "nan",
    "1e308",
    "9" * 30,
    "0x10",
    "10.0.0.0/8 0",
    "10.0.0.0/8",
    '"',
    "'",
    "\\<",
    "a\nb",
    "add 1/8 0\nremove 1/8",
    "10.0.0.9 02:00:00:00:00:09",
]
IMPAIRMENTS = [
    ("delay", "2ms"),
    ("jitter", "1ms"),
    ("distribution", "pareto"),
    ("loss", "20%"),
    ("loss.r", "30%"),
    ("loss", {"p": 0.1, "correlation": 0.5}),
    ("duplicate", "50%"),
    ("reorder", {"p": "50%", "gap": 3}),
    ("corrupt", 0.2),
    ("rate", "100Mbps"),
    ("burst", "5000"),
    ("limit", 20),
    ("limit", 2000),
    ("limit", "0"),
    ("delay", 5),
    ("loss", None),
    ("los", "1%"),
]
ODD = [None, True, 0, 1, -1, 256, 10**40, 1.5, 1e308, [], [[]], {}, {"do": "read"}, "x" * 2000, "\x00", "\ud800", "é", "\x1b[31m"]  # fmt: skip


def request(verbs, files, chance):
    """Return a request: near to one that is right, or far from it."""
    verb = chance.choice(list(verbs))
    made = {"do": verb}
    for field in verbs[verb].fields:
        made[field] = {
            "file": lambda: str(chance.choice(files)),
            "config": lambda: chance.choice(
                (PLAIN, ROUTES, "", "Idle;", "((", damaged(ROUTES, [PLAIN, ROUTES], chance))
            ),
            "core": lambda: chance.choice((0, 1, 7)),
            "port": lambda: chance.choice(("eth0", "eth1", "eth9")),
            "direction": lambda: chance.choice(("", "in", "out")),
            "clear": lambda: chance.random() < 0.2,
            "values": lambda: dict(chance.choice(IMPAIRMENTS) for _ in range(chance.randrange(4))),
        }.get(field, lambda field=field: chance.choice(VALUES if field in ("value", "route", "address") else NAMES))()
    if chance.random() < 0.4:
        made[chance.choice([*made, "more", "", "Do"])] = chance.choice([*ODD, *NAMES, *VALUES])
    if chance.random() < 0.1:
        made.pop(chance.choice(list(made)))
    return made


def line_of(made, chance):
    """Return a request as a line, at times a damaged one."""
    line = json.dumps(made).encode()
    if chance.random() < 0.2:
        at = chance.randrange(len(line) + 1)
        cut = line[at + chance.randrange(4) :]
        line = (
            line[:at]
            + chance.choice((b"", chance.randbytes(2), b'"', b"[" * 2000, b"9" * 5000, b"NaN", b"\\u0000"))
            + cut
        )
    return line.replace(b"\n", b"")


def restore(box):
    """Let routers be there again that requests have removed: there is more to ask for then."""
    for name, config in (("red", ROUTES), ("blue", PLAIN)):
        if name not in box.model.routers:
            box.router(name, config)


def goes_on(box, before):
    """Return how much the router that no request names has forwarded: more than before, and it has lost nothing."""
    stats = box.handle("victim").stats()
    end = time.monotonic() + 30
    while stats.forwarded <= before and time.monotonic() < end:
        box.tend(0.01)
        stats = box.handle("victim").stats()
    assert stats.forwarded > before and not stats.dropped.get("killed"), stats
    return stats.forwarded


def run(seconds, seed, most=None, real=False):
    """Ask a platform things for a time; return how many, and how many changes were made."""
    chance, count, changes, forwarded = random.Random(seed), 0, 0, 0
    settings = {"clock": "wall"} if real else {"machine": "dell2950", "clock": "virtual"}
    with tempfile.TemporaryDirectory() as folder, vre.Platform(cores=2, **settings) as box:
        file = Path(folder) / "green.toml"
        whole = f"[nics.eth0]\n[nics.eth1]\n[routers.green]\nconfig = '{PLAIN}'\n"
        file.write_text(whole)
        files = [file, folder, "/dev/null", Path(folder) / "none.toml", "\x00"]
        box.nic("eth0", link=vre.Generator(rate=100_000))
        box.nic("eth1")
        box.router("red", ROUTES)
        box.router("blue", PLAIN)
        if real:
            box.router("victim", PLAIN)
        box.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end and count != most:
            if chance.random() < 0.5:
                made = request(box.parts.control.verbs, files, chance)
                if made.get("do") != "replace" or chance.random() < 0.02:
                    said = json.loads(box.parts.control.said(line_of(made, chance)))
                    assert list(said) == ["error"] or said["ok"] is True, said
                    changes += "ok" in said and made.get("do") in ("add", "remove", "replace", "move")
            else:
                name = chance.choice(list(box.model.routers))
                said = answer(box.boundary, box.handle(name), request(MESSAGES, files, chance))
                assert list(said) == ["error"] or said["ok"] is True, said
            assert not box.boundary.unexpected, (seed, count, box.boundary.unexpected)
            count += 1
            if count % 50 == 0:
                text = damaged(whole, [PLAIN, ROUTES], chance) if chance.random() < 0.5 else whole
                file.write_bytes(text.encode("utf-8", "replace"))
                box.tend(0.0005)
                restore(box)
                forwarded = goes_on(box, forwarded) if real else 0
        box.pause()
        box.halt()
        for stats in box.reader.routers():
            assert stats.balance == 0, stats
    return count, changes


if __name__ == "__main__":
    done, made = run(
        float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else time.time_ns(), real="real" in sys.argv
    )
    print(f"{done} requests and messages answered, {made} changes made; every packet is accounted for")
