# SPDX-License-Identifier: MIT
"""Compiling paths and kernels, with a cache on disk.

Imported where packets run; :mod:`workers.compiler.composer` composes without Numba.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

from workers.compiler.cache import cache_folder, discard_compiled, import_module, numba_folder, why_no_cache
from workers.compiler.guard import guarded
from workers.graph.shape import Shape
from workers.process import follow_parent

# Numba reads it once, when it is first imported.
os.environ["NUMBA_CACHE_DIR"] = numba_folder()
# Loops here run over a handful of options or addresses; as vectors they only take longer to compile.
os.environ.setdefault("NUMBA_LOOP_VECTORIZE", "0")
os.environ.setdefault("NUMBA_SLP_VECTORIZE", "0")

import numba as numba

from shm import codegen

Compiled = TypeVar("Compiled")
_SIGNATURE = "int64(int64, int64, int64, int64)"


def through_cache(make: Callable[[bool], Compiled]) -> Compiled:
    """Return what `make` compiles; it is given whether it may use the cache.

    What cannot be loaded from the cache or written to it (a cut file, a full disk) raises any of a dozen exceptions.
    Then the cache is emptied, and this is compiled without it, which raises what is wrong with the code itself.
    """
    if why_no_cache():
        return make(False)
    try:
        return make(True)
    except Exception:
        discard_compiled()
        return make(False)


def compile_as(signature: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function` compiled for a signature, from the cache if it is there."""
    codegen.register_kernels()
    return through_cache(lambda kept: numba.njit(signature, cache=kept, error_model="numpy")(function))


def compile_kernel(function: Callable[..., Any], nogil: bool = False) -> Callable[..., Any]:
    """Return `function` compiled for int64 arguments, from the cache where it is there.

    With `nogil`, other threads of the interpreter run meanwhile.
    """

    def make(kept: bool) -> Callable[..., Any]:
        kernel = numba.njit(cache=kept, nogil=nogil, error_model="numpy")(function)
        kernel.compile((numba.int64,) * function.__code__.co_argcount)
        return kernel

    codegen.register_kernels()
    return through_cache(make)


def warm(jobs: dict[str, tuple[str, Callable[[], object]]], say: Callable[[str], None]) -> None:
    """Fill the cache by running `jobs` that have not been run with this source, in parallel processes.

    Parameters
    ----------
    jobs : dict
        Key, unique for what is compiled, to (what to call it, what compiles it).
    say : callable
        Told what begins.

    Notes
    -----
    A job that fails leaves no mark: the process that needs the code compiles it again, and reports the error.
    Without a cache nothing is done: what another process compiles could not be loaded here.
    """
    if why := why_no_cache():
        say(f"compiling without a cache, at each start anew: {why}")
        return
    marks = {key: cache_folder() / f"{key}.compiled" for key in jobs}
    todo = [key for key in jobs if not marks[key].exists()]
    running: dict[int, str] = {}
    parent = os.getpid()
    for i, key in enumerate(todo):
        name, job = jobs[key]
        say(f"compiling {name} ({i + 1} of {len(todo)}); this is done once")
        pid = os.fork()
        if pid == 0:
            try:
                follow_parent(parent)
                job()
                marks[key].touch()
            finally:
                os._exit(0)
        running[pid] = key
        if len(running) >= len(os.sched_getaffinity(0)):
            running.pop(os.wait()[0], None)
    while running:
        running.pop(os.wait()[0], None)


def compile_task(function: Callable[..., int]) -> Any:
    """Return a task that is no composed path, compiled; it has an `address`, and must be kept."""
    codegen.register_kernels()
    return through_cache(lambda kept: numba.cfunc(_SIGNATURE, cache=kept, error_model="numpy")(function))


def empty_path() -> Any:
    """Return a compiled path that says it moved one packet: what a scheduling decision costs without one."""
    codegen.register_kernels()
    return numba.cfunc(_SIGNATURE)(lambda block, core, task, quantum: 1)


def compile_shape(shape: Shape, cache: bool = True) -> list[Any]:
    """Return the compiled entry points of a shape's tasks; each has an `address`.

    The objects must be kept: the code goes with them. Code from the cache cannot be inspected.
    """
    module = import_module(shape)
    codegen.register_kernels()
    for name, value in list(vars(module).items()):
        # P_ and E_: process and emit of element classes, put where they are called. eN and rN: a trace; it
        # becomes part of the task that it begins.
        if name[:2] in ("P_", "E_"):
            cls, which = vars(module)[name[2:]], "process" if name[0] == "P" else "emit"
            if cls.foreign and (which == "process" or cls.emit):
                value = guarded(cls, which, numba.njit(error_model="numpy", boundscheck=True, **codegen.UNCALLED))
        if name[:2] in ("P_", "E_") or (name[0] in "er" and name[1:].isdigit()):
            inline = name[1] == "_" or name in module.ENTRIES
            setattr(module, name, numba.njit(error_model="numpy", forceinline=inline, **codegen.UNCALLED)(value))
    functions = [getattr(module, f"task{n}") for n in range(len(shape.tasks))]

    def make(kept: bool) -> list[Any]:
        return [numba.cfunc(_SIGNATURE, cache=kept, error_model="numpy")(function) for function in functions]

    return through_cache(make) if cache else make(False)
