# SPDX-License-Identifier: MIT
"""Elements that are not the platform's own: a mistake in one shall cost its packet, and not its core.

Their `process`, or a source's `emit`, is compiled with a counter in each loop, and what it raises is caught: the packet
is dropped as `out_of_fuel` or `failed`. That is the first line; loops in functions that it calls are the watchdog's.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from typing import Any

from shm.intrinsics import load64, store64
from shm.layout import CORE
from workers.datapath.packet import PUNT, TAKEN
from workers.element import FOREIGN_REASONS, syntax_of

#: Turns of loops that a packet may take: a fraction of a millisecond.
FUEL = 1 << 16


class _Meter(ast.NodeTransformer):
    """Puts a counter into each loop."""

    def __init__(self, empty: int) -> None:
        spend = ast.parse(f"def spend():\n    _fuel -= 1\n    if _fuel < 0:\n        return {empty}").body[0]
        assert isinstance(spend, ast.FunctionDef)
        self._spend = spend.body

    def visit_While(self, node: ast.While) -> ast.While:
        return self._loop(node)

    def visit_For(self, node: ast.For) -> ast.For:
        return self._loop(node)

    def _loop(self, node: Any) -> Any:
        self.generic_visit(node)
        node.body[:0] = self._spend
        return node


def metered(cls: Any, name: str) -> Callable[..., int]:
    """Return a function of an element's with a counter in its loops; `out_of_fuel` where that is used up."""
    whole = getattr(cls, name)
    function = syntax_of(whole)
    function.decorator_list = []
    _Meter(-1 - cls.reasons.index(FOREIGN_REASONS[0])).visit(function)
    function.body[:0] = ast.parse(f"_fuel = {FUEL}").body
    tree = ast.fix_missing_locations(ast.Module([function], []))
    names = dict(whole.__globals__)
    exec(compile(tree, inspect.getfile(whole), "exec"), names)
    return names[function.name]


def guarded(
    cls: Any, name: str = "process", compile_: Callable[[Any], Any] = lambda function: function
) -> Callable[..., int]:
    """Return a function like an element's `process` or `emit`, metered, that returns the code of `failed` if it raises.

    So does a code below that of its last reason: its counter would be another's memory. `compile_` is what makes what
    is inside callable from where it runs.
    """
    text = _process(cls) if name == "process" else _emit(cls)
    names: dict[str, Any] = {"inner": compile_(metered(cls, name)), "load64": load64, "store64": store64}
    exec(text, names)
    return names[name]


def _failed(cls: Any) -> int:
    return -1 - int(cls.reasons.index(FOREIGN_REASONS[1]))


def _process(cls: Any) -> str:
    arguments = ", ".join(inspect.signature(cls.process).parameters)
    failed = _failed(cls)
    # See workers.compiler.composer: what these two codes ask for is done where they can come, and nowhere else.
    codes = [PUNT] * (cls.slow is not None) + [TAKEN] * cls.takes
    return f"""
def process({arguments}):
    try:
        out = inner({arguments})
    except Exception:
        return {failed}
    return {failed} if out < {-len(cls.reasons)}{"".join(f" and out != {code}" for code in codes)} else out
"""


def _emit(cls: Any) -> str:
    # What has opened no packet, or several, or has failed behind that, has its spare buffers taken back.
    return f"""
def emit(state, packet, core):
    used = load64(core + {CORE["spare_used"]})
    try:
        out = inner(state, packet, core)
    except Exception:
        out = {_failed(cls)}
    opened = load64(core + {CORE["spare_used"]}) - used
    if out > 0 and opened == 1:
        return 1
    store64(core + {CORE["spare_used"]}, used)
    return 0 if out == 0 else out if {-len(cls.reasons)} <= out < 0 else {_failed(cls)}
"""
