# SPDX-License-Identifier: MIT
"""Docstrings' numpydoc sections agree with the code: parameters with signatures, attributes with classes."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SECTIONS = ("Parameters", "Attributes", "Returns", "Yields", "Raises", "Notes", "References", "Examples", "See Also")


def section(docstring, title):
    """Return the names that a section of a docstring lists, None if it has no such section."""
    lines = docstring.splitlines()
    for i in range(len(lines) - 1):
        if lines[i] == title and set(lines[i + 1]) == {"-"}:
            break
    else:
        return None
    names = []
    for at, line in enumerate(lines[i + 2 :], i + 2):
        if at + 1 < len(lines) and lines[at + 1] and set(lines[at + 1]) == {"-"}:
            break
        if line and not line.startswith(" "):
            names += [name.strip().lstrip("*") for name in line.partition(":")[0].split(",")]
    return names


def signature(function, method):
    """Return the names of a function's parameters; of a method, without `self` or `cls`."""
    args = function.args
    named = [a.arg for a in (*args.posonlyargs, *args.args, *args.kwonlyargs)]
    named += [a.arg for a in (args.vararg, args.kwarg) if a]
    static = any(getattr(d, "id", "") == "staticmethod" for d in function.decorator_list)
    return named[1:] if method and not static else named


def members(cls):
    """Return the names that a class's body, or any of its methods, assigns."""
    found = {n.target.id for n in cls.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)}
    found |= {n.name for n in cls.body if isinstance(n, ast.FunctionDef)}
    found |= {t.id for n in cls.body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)}
    return found | {
        n.attr
        for n in ast.walk(cls)
        if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store) and getattr(n.value, "id", "") == "self"
    }


def fields(cls):
    """Return the parameters of a dataclass's or a named tuple's constructor."""
    return [n.target.id for n in cls.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)]


def disagreements(file):
    """Yield what a module's docstrings say of parameters and attributes that the code does not."""
    tree = ast.parse(file.read_text())
    methods = {n for c in ast.walk(tree) if isinstance(c, ast.ClassDef) for n in c.body}
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or not (docstring := ast.get_docstring(node)):
            continue
        at = f"{file.relative_to(ROOT)}:{node.lineno}: {node.name}"
        for title in re.findall(r"^([A-Z][\w ]+)\n-{3,}$", docstring, re.MULTILINE):
            if title not in SECTIONS:
                yield f"{at}: section '{title}'"
        documented = section(docstring, "Parameters")
        if documented is not None:
            made = node
            if isinstance(node, ast.ClassDef):
                made = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
            wanted = signature(made, made is not node or node in methods) if made else fields(node)
            if made:
                different = documented != wanted
            else:  # fields with a default may go unsaid, in a dataclass
                different = documented != [name for name in wanted if name in documented]
            if different:
                yield f"{at}: has {', '.join(wanted)}; its docstring {', '.join(documented)}"
        attributes = section(docstring, "Attributes")
        if attributes is not None and isinstance(node, ast.ClassDef) and set(attributes) - members(node):
            yield f"{at}: has no {', '.join(sorted(set(attributes) - members(node)))}"


@pytest.mark.parametrize("folder", ["shm", "workers", "vre"])
def test_sections_agree_with_the_code(folder):
    found = [one for file in sorted((ROOT / folder).rglob("*.py")) for one in disagreements(file)]
    assert found == []
