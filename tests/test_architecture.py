# SPDX-License-Identifier: MIT
"""The folders are layers, and stay few: import-linter holds the layers, this holds what it cannot see."""

from __future__ import annotations

import ast
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
#: Not in a layer: the public names, the command's other spelling, and data.
APART = {"vre": {"__init__", "__main__", "demo"}, "workers": {"__init__"}, "shm": {"__init__"}}
#: Directly in a package, at most: more hide the architecture.
MOST = {"vre": 21, "workers": 16, "shm": 21}


def entries(package):
    """Return the modules and folders directly in a package."""
    return {path.stem for path in (ROOT / package).iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}


def in_contracts(package):
    """Return what the contracts name of a package."""
    named = set()
    for contract in CONTRACTS:
        if contract.get("containers") == [package]:
            named |= {name for layer in contract["layers"] for name in layer.split(" | ")}
        named |= {name.split(".")[1] for name in contract.get("source_modules", ()) if name.startswith(f"{package}.")}
    return named


@pytest.mark.parametrize("package", MOST)
def test_every_folder_has_its_place_among_the_layers(package):
    assert entries(package) - APART[package] == in_contracts(package) - APART[package]
    assert len(entries(package)) <= MOST[package]


def imports(file, known):
    """Return the modules among `known` that a file imports, anywhere in it: for type checking alone, too."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in known else node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & known.keys()


def test_no_modules_import_each_other_in_a_circle():
    files = [file for package in MOST for file in (ROOT / package).rglob("*.py")]
    known = {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}
    graph = {name: imports(file, known) - {name} for name, file in known.items()}
    assert sum(map(len, graph.values())) > 500
    # The package itself exports what is below it.
    del graph["vre"]
    tuple(TopologicalSorter({name: targets - {"vre"} for name, targets in graph.items()}).static_order())
