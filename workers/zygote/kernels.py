# SPDX-License-Identifier: MIT
"""The compiled code of a platform's process: the kernels that it runs, and the paths of its routers.

What the cache lacks is compiled by several processes at once; then all is loaded from the cache. Imported late, with
Numba; report progress to the user first.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from shm.intrinsics import store64
from shm.layout import TASK
from shm.manifest import HostedEntry, Manifest, MemoryMap, RouterEntry
from workers.compiler.compile import compile_kernel, compile_shape, compile_task, warm
from workers.control.pump import run_pump
from workers.control.route_messages import parse_messages
from workers.core.clock import read_ticks
from workers.core.echo import echo
from workers.core.slice import run_slice
from workers.core.worker import shape_of
from workers.datapath.port_classifier import classify
from workers.domu.bridge import compile_bridge
from workers.graph.shape import Shape
from workers.wire.loop import run_wire

#: Kernel to what it is called, and what compiles it.
_KERNELS: dict[str, tuple[str, Callable[[], Any]]] = {
    "wire": ("the wire loop", partial(compile_kernel, run_wire)),
    "slice": ("the slice loop", partial(compile_kernel, run_slice)),
    "classifier": ("the classifier", partial(compile_task, classify)),
    "ticks": ("the clock", partial(compile_kernel, read_ticks)),
    "bridge": ("the bridge into domUs", compile_bridge),
    "routes": ("the parser of routes", partial(compile_kernel, parse_messages)),
    "pump": ("the pump of control planes", partial(compile_kernel, run_pump, nogil=True)),
    "echo": ("modelled domUs", partial(compile_task, echo)),
}


class Code:
    """Code that, once loaded, stays: processes that are older may be in it.

    Parameters
    ----------
    *names : str
        The kernels that are needed whatever the manifest says.

    Attributes
    ----------
    kernels : dict
        Name to compiled kernel.
    """

    def __init__(self, *names: str) -> None:
        self._names = names
        self.kernels: dict[str, Any] = {}
        self._paths: dict[str, list[Any]] = {}

    def _needed(self, manifest: MemoryMap) -> list[str]:
        control = ["routes", "pump"] if isinstance(manifest, Manifest) and manifest.controls else []
        return [*self._names, *(["classifier"] if manifest.classifiers else []), *control]

    def warm(self, manifest: Manifest, say: Callable[[str], None]) -> None:
        """Compile what the cache lacks, what takes longest first: so all processors end together."""
        # The zygote of domUs finds its graphs' in the cache.
        entries: tuple[RouterEntry | HostedEntry, ...] = (*manifest.routers, *manifest.hosted)
        named = [(entry.name, Shape.of(entry.shape)) for entry in entries]
        shapes = {shape.key(): (name, shape) for name, shape in reversed(named)}
        jobs: dict[str, tuple[str, Callable[[], object]]] = {}
        for key, (name, shape) in sorted(shapes.items(), key=lambda item: -len(item[1][1].classes)):
            jobs[f"shape-{key}"] = (f"router {name}", partial(compile_shape, shape))
        needed = {*self._needed(manifest), *(["bridge"] if manifest.hosted else [])}
        jobs |= {f"kernel-{name}": job for name, job in _KERNELS.items() if name in needed}
        warm(jobs, say)

    def load(self, manifest: MemoryMap) -> None:
        """Load what a manifest needs."""
        for name in self._needed(manifest):
            if name not in self.kernels:
                self.kernels[name] = _KERNELS[name][1]()
        for shape in map(shape_of, manifest.routers):
            if shape.key() not in self._paths:
                self._paths[shape.key()] = compile_shape(shape)

    def install(self, manifest: MemoryMap) -> None:
        """Write the address of each task's entry point; it is the same in every process forked from here."""
        for router in manifest.routers:
            entries = self._paths[shape_of(router).key()]
            for task in router.tasks:
                store64(task.address + TASK["function"], entries[task.number].address)
        for classifier in manifest.classifiers:
            store64(classifier.task + TASK["function"], self.kernels["classifier"].address)
