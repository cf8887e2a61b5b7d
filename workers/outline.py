# SPDX-License-Identifier: MIT
"""What classes an element's file has: its text is parsed in a process of its own, with little time and memory.

A short text can take a parser gigabytes, minutes, or the bottom of its stack. Run as a program, this reads the text
from standard input and prints JSON: `classes`, and `bound`, the other names that may be one; or `error` and `line`.
"""

from __future__ import annotations

import ast
import functools
import json
import resource
import subprocess
import sys
from typing import NamedTuple

#: What the process may have: address space, processor time; and how long it is waited for, in seconds.
_MEMORY, _CPU_S, _WAIT_S = 1 << 30, 3, 10.0


class Outline(NamedTuple):
    """The classes of a file and its other names; or `error`, why nobody can tell, and its line."""

    classes: tuple[str, ...] = ()
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
    return Outline(tuple(said["classes"]), frozenset(said["bound"]), said["error"], said["line"])


def parse(text: bytes) -> Outline:
    """Parse the text in this process."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        return Outline(error=f"not Python: {getattr(error, 'msg', error)}", line=getattr(error, "lineno", None) or 0)
    except (RecursionError, MemoryError):
        return Outline(error="not Python: it is nested too deeply")
    classes = [statement.name for statement in tree.body if isinstance(statement, ast.ClassDef)]
    bound = {alias.asname or alias.name for s in tree.body if isinstance(s, ast.ImportFrom) for alias in s.names}
    bound |= {t.id for s in tree.body if isinstance(s, ast.Assign) for t in s.targets if isinstance(t, ast.Name)}
    return Outline(tuple(classes), frozenset(bound))


def main() -> None:
    """Read the text, and print what it has."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S, _CPU_S))
    found = parse(sys.stdin.buffer.read())
    json.dump(found._asdict() | {"bound": sorted(found.bound)}, sys.stdout)


if __name__ == "__main__":
    main()
