# SPDX-License-Identifier: MIT
"""Modules of four shapes, as they are composed: `python -m tests.golden` (`make golden`) writes them anew."""

from __future__ import annotations

import re
from pathlib import Path

from vre.language.checker import check
from vre.language.lexer import Source
from workers.compiler.listing import listing

FOLDER = Path(__file__).parent
ARCHITECTURE = FOLDER.parents[1] / "ARCHITECTURE.md"
#: The block of ARCHITECTURE.md that is a part of the shape `forward`.
BLOCK = re.compile(r"```python\n(def e0.*?)```", re.DOTALL)
SHAPES = {
    "forward": "FromDevice(eth0) -> Strip(14) -> CheckIPHeader -> DecIPTTL -> Queue -> ToDevice(eth1);",
    "branches": "FromDevice(eth0) -> Strip(14) -> check :: CheckIPHeader -> p :: PaintTee(1) -> t :: Tee(3)"
    " -> Switch(0) -> Queue -> Unqueue(BURST 8) -> ToDevice(eth1); check[1] -> Discard; p[1] -> ToDevice(eth0);"
    " t[1] -> Paint(1) -> t; t[2] -> CheckPaint(1) -> Discard; InfiniteSource(LIMIT 5) -> Discard;",
    "slow_path": "FromDevice(eth0) -> c :: Classifier(12/0806 20/0002, 12/0800);"
    " c[0] -> Counter -> [1] arp :: ARPQuerier(10.0.0.1, 02:00:00:00:00:01) -> Queue -> ToDevice(eth1);"
    " c[1] -> Strip(14) -> CheckIPHeader -> f :: IPFragmenter(576) -> Print(out) -> [0] arp;"
    " f[1] -> ICMPError(10.0.0.1, unreachable, needfrag) -> Discard;",
    "domu": f"FromDevice(eth0) -> u :: Untrusted({FOLDER.parents[1]}/examples/limit.py:PerSource) -> Queue"
    " -> ToDevice(eth1); u[1] -> Counter -> Queue -> ToDevice(eth0);",
}


def composed(name: str) -> str:
    """Return the module of a shape, as it is now."""
    graph = check(Source(SHAPES[name], f"{name}.click"))
    return listing(graph.shape, [node.name for node in graph.nodes])


def kept(name: str) -> str:
    """Return the module of a shape, as it is kept."""
    return (FOLDER / f"{name}.txt").read_text()


def renew() -> None:
    """Write all modules anew, and what ARCHITECTURE.md shows of one."""
    for name in SHAPES:
        (FOLDER / f"{name}.txt").write_text(composed(name))
    document = ARCHITECTURE.read_text()
    ARCHITECTURE.write_text(BLOCK.sub(lambda _: f"```python\n{excerpt()}```", document))


def excerpt() -> str:
    """Return the function of `forward` that takes packets from the port to the queue."""
    return re.search(r"^def e0.*?(?=\n\n\n)", composed("forward"), re.DOTALL | re.MULTILINE)[0] + "\n"
