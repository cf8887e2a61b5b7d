# SPDX-License-Identifier: MIT
"""What has no annotations is compiled: a kernel, or a method of an element that is one."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
#: Methods of elements that are compiled into paths, or are generators of the slow path.
METHODS = {"process", "emit", "collect", "slow"}
#: Kernels that are compiled where they are used.
FUNCTIONS = {"workers/domu/bridge.py": {"bring", "send"}}


def is_kernel(name, function):
    """Return whether a function is marked as one."""
    marks = {ast.unparse(mark) for mark in function.decorator_list}
    method = "staticmethod" in marks and function.name in METHODS
    return method or "kernel" in marks or function.name in FUNCTIONS.get(name, ())


@pytest.mark.parametrize("package", ["shm", "workers"])
def test_only_kernels_have_no_annotations_and_they_have_none_at_all(package):
    kernels = 0
    for file in (ROOT / package).rglob("*.py"):
        name = str(file.relative_to(ROOT))
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.FunctionDef):
                continue
            arguments = [a for a in node.args.args if a.arg not in ("self", "cls")]
            annotated = [a for a in (*arguments, node) if (a.returns if a is node else a.annotation) is not None]
            if not annotated:
                assert is_kernel(name, node), f"{name}:{node.lineno}: {node.name} is no kernel: annotate it"
                kernels += 1
            elif name != "shm/intrinsics.py":
                assert "kernel" not in map(ast.unparse, node.decorator_list), f"{name}:{node.lineno}"
    assert kernels > 30
