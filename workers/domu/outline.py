# SPDX-License-Identifier: MIT
"""What classes an element's file has: its text is parsed in a process of its own, with little time and memory.

A short text can take a parser gigabytes, minutes, or the bottom of its stack. Run as a program, this reads the text
from standard input and prints JSON: `classes`, and `bound`, the other names that may be one; or `error` and `line`.

Of a class it tells what can be told without running it, and "unknown" of the rest: decorators, metaclasses, classes of
other files that it descends from, and attributes set at run time can make anything of a class.
"""

from __future__ import annotations

import ast
import functools
import json
import resource
import subprocess
import sys
from typing import Any, NamedTuple

#: What the process may have: address space, processor time; and how long it is waited for, in seconds.
_MEMORY, _CPU_S, _WAIT_S = 1 << 30, 3, 10.0


#: A class handles packets by one of these.
_HANDLERS = {"process", "push", "batch"}


class Class(NamedTuple):
    """What a class is: `kind` is "plain", "element" (of :class:`workers.element.Element`), or "unknown".

    `handles` tells whether it has one of process, push and batch. A plain class takes from `least` to `most` arguments,
    None for any number. An element's `arguments` are (name, kind, has a default, keyword, rest) each, None if they
    are not written out; a kind is a name of :mod:`workers.arguments` and what it is called with, or None.
    """

    kind: str = "unknown"
    handles: bool = True
    least: int = 0
    most: int | None = None
    arguments: list[tuple[str, list[Any] | None, bool, bool, bool]] | None = None


class Outline(NamedTuple):
    """The classes of a file and its other names; or `error`, why they are unknown, and its line."""

    classes: dict[str, Class] = {}  # noqa: RUF012  # a NamedTuple's default, which is never changed
    bound: frozenset[str] = frozenset()
    error: str = ""
    line: int = 0


@functools.lru_cache(maxsize=64)
def outline(text: bytes) -> Outline:
    """Return what is in the text of an element's file; nothing in it can hurt or hold up this process for long."""
    # -I, -S: neither a folder of the user's nor site customisation has a say in it.
    command = [sys.executable, "-I", "-S", __file__]
    try:
        done = subprocess.run(command, input=text, capture_output=True, timeout=_WAIT_S, check=False)
        said = json.loads(done.stdout) if done.returncode == 0 else None
    except (subprocess.TimeoutExpired, ValueError):
        said = None
    except OSError as error:
        return Outline(error=f"cannot be parsed: {error.strerror}")
    if said is None:
        return Outline(error="not Python: it takes more memory or time to parse than an element's file may")
    classes = {name: Class(*told) for name, told in said["classes"].items()}
    return Outline(classes, frozenset(said["bound"]), said["error"], said["line"])


def parse(text: bytes) -> Outline:
    """Parse the text in this process."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        return Outline(error=f"not Python: {getattr(error, 'msg', error)}", line=getattr(error, "lineno", None) or 0)
    except (RecursionError, MemoryError):
        return Outline(error="not Python: it is nested too deeply")
    bound = {alias.asname or alias.name for s in tree.body if isinstance(s, ast.ImportFrom) for alias in s.names}
    bound |= {t.id for s in tree.body if isinstance(s, ast.Assign) for t in s.targets if isinstance(t, ast.Name)}
    return Outline(_Classes(tree).told(), frozenset(bound))


class _Classes:
    """The classes at the top of a file."""

    def __init__(self, tree: ast.Module) -> None:
        self._definitions = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
        twice = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
        self._imported = {
            alias.asname or alias.name: f"{node.module}.{alias.name}"
            for node in tree.body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        stored = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)}
        # Where names or attributes may be given at run time, nothing is certain.
        self._certain = len(twice) == len(self._definitions) and not names & {
            "setattr",
            "exec",
            "eval",
            "globals",
            "type",
        }
        self._certain = self._certain and not stored & {*_HANDLERS, "arguments", "__init__", "__class__"}

    def told(self) -> dict[str, Class]:
        """Return what there is to tell of each."""
        return {name: self._told(name) if self._certain else Class() for name in self._definitions}

    def _told(self, name: str) -> Class:
        line = self._line(name)
        if line is None:
            return Class()
        definitions, kind = line
        members: dict[str, ast.AST] = {}
        for definition in reversed(definitions):
            own = _members(definition)
            if own is None:
                return Class()
            members |= own
        if "__getattr__" in members or "__new__" in members:
            return Class()
        handles = bool(_HANDLERS & set(members))
        if kind == "element":
            return Class(kind, handles, arguments=self._arguments(members.get("arguments")))
        return Class(kind, handles, *_taken(members.get("__init__")))

    def _line(self, name: str) -> tuple[list[ast.ClassDef], str] | None:
        """Return a class and those here that it descends from, and what they are; None if unknown."""
        found: list[ast.ClassDef] = []
        while name in self._definitions:
            definition = self._definitions[name]
            if definition.decorator_list or definition.keywords or len(definition.bases) > 1 or definition in found:
                return None
            found.append(definition)
            if not definition.bases:
                return found, "plain"
            base = definition.bases[0]
            if not isinstance(base, ast.Name):
                return None
            name = base.id
        is_element = self._imported.get(name) in ("vre.element.Element", "workers.element.Element")
        return (found, "element") if is_element else (found, "plain") if name == "object" else None

    def _arguments(self, node: ast.AST | None) -> list[tuple[str, list[Any] | None, bool, bool, bool]] | None:
        if node is None:
            return []
        if not isinstance(node, ast.Tuple | ast.List):
            return None
        found = []
        for one in node.elts:
            if not (isinstance(one, ast.Call) and isinstance(one.func, ast.Name)):
                return None
            if not str(self._imported.get(one.func.id)).endswith((".element.Argument", ".arguments.Argument")):
                return None
            given = dict(zip(("name", "kind", "default", "keyword", "rest"), one.args, strict=False))
            given |= {keyword.arg: keyword.value for keyword in one.keywords if keyword.arg}
            name = _constant(given.get("name"))
            if not isinstance(name, str) or any(keyword.arg is None for keyword in one.keywords):
                return None
            keyword, rest = (_constant(given[key]) if key in given else False for key in ("keyword", "rest"))
            if not isinstance(keyword, bool) or not isinstance(rest, bool):
                return None
            default = given.get("default")
            given_default = default is not None and not (isinstance(default, ast.Name) and default.id == "REQUIRED")
            found.append((name, self._kind(given.get("kind")), given_default, keyword, rest))
        return found

    def _kind(self, node: ast.AST | None) -> list[Any] | None:
        function = node.func if isinstance(node, ast.Call) else node
        imported = str(self._imported.get(function.id)) if isinstance(function, ast.Name) else ""
        if not imported.startswith(("vre.element.", "workers.arguments.")):
            return None
        values = [_constant(one) for one in node.args] if isinstance(node, ast.Call) else []
        certain = not (isinstance(node, ast.Call) and node.keywords) and None not in values
        return [imported.rpartition(".")[2], *values] if certain else None


def _members(definition: ast.ClassDef) -> dict[str, ast.AST] | None:
    """Return what a class's body gives names to; None if that depends on what runs."""
    found: dict[str, ast.AST] = {}
    for node in definition.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign) and all(isinstance(target, ast.Name) for target in node.targets):
            found |= {target.id: node.value for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found |= {node.target.id: node.value} if node.value else {}
        elif not isinstance(node, ast.Expr | ast.Pass):
            return None
    return found


def _taken(init: ast.AST | None) -> tuple[int, int | None]:
    """Return least and most arguments that a plain class takes."""
    if init is None:
        return 0, 0
    if not isinstance(init, ast.FunctionDef) or init.decorator_list or None in init.args.kw_defaults:
        return 0, None
    count = len(init.args.posonlyargs) + len(init.args.args)
    return max(0, count - len(init.args.defaults) - 1), None if init.args.vararg else max(0, count - 1)


def _constant(node: ast.AST | None) -> Any:
    """Return the value of a constant expression of whole numbers, or of a literal; None if it is none."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _constant(node.operand)
        return -value if isinstance(value, int) else None
    if isinstance(node, ast.BinOp):
        left, right = _constant(node.left), _constant(node.right)
        if isinstance(left, int) and isinstance(right, int) and abs(left) < 1 << 64 and 0 <= right < 64:
            if isinstance(node.op, ast.LShift):
                return left << right
            if isinstance(node.op, ast.Sub):
                return left - right
    return None


def main() -> None:
    """Read the text, and print what it has."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S, _CPU_S))
    found = parse(sys.stdin.buffer.read())
    json.dump(found._asdict() | {"bound": sorted(found.bound)}, sys.stdout)


if __name__ == "__main__":
    main()
