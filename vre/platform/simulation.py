# SPDX-License-Identifier: MIT
"""Virtual time: one process runs all cores and the wire of a platform, on logical time and modelled costs.

Compiled loop, paths, rings and wire are those of a measured run; only the duration of a turn is modelled
(:mod:`workers.core.cost_model`). Time advances in small steps: the wire does what is due, then each core runs up to
the next step. Nothing depends on the host: the same model gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from shm.intrinsics import add64, load64, record, store64
from shm.layout import CONTROLLER, CORE, MODEL_BITS, TASK
from shm.manifest import CurrentManifest
from shm.wire_layout import CAPTURE, SOURCE, WIRE
from vre.config.machines import MACHINES
from vre.config.model import Model
from workers.core.slow_path import SlowTask
from workers.core.worker import shape_of, tasks_on
from workers.graph.costs import cycles_modelled
from workers.graph.shape import reach, upstream
from workers.wire.capture_writer import CaptureFile

#: A step, in seconds: well below what any ring holds.
STEP_S = 5e-6
#: How long a capture's file may accept nothing, in seconds of the host: logical time can wait, but not for ever.
_PATIENCE_S = 10.0
#: Period at which an idle core looks for work.
_POLL_S = 0.5e-6
#: A port's classifier: FromDevice's part of taking a frame, and a Classifier.
_CLASSIFY_CYCLES = 570

Say = Callable[[str], None]


class Simulation:
    """All cores and the wire of a platform, in this process.

    Parameters
    ----------
    manifest : CurrentManifest
    model : Model
        Its `machine` determines the costs.
    say : callable
        Told of progress.
    """

    def __init__(self, manifest: CurrentManifest, model: Model, say: Say) -> None:
        self.manifest, self._model, self._say = manifest, model, say
        self._machine = MACHINES[model.machine]
        self._ticks = 0
        self._code: Any = None
        self._slow: dict[int, list[SlowTask]] = {}
        self._captures: list[CaptureFile] = []
        self._turn = 0
        self.watch: Callable[[], None] = lambda: None
        #: Called at the end of each step.
        self.each_step: Callable[[], object] = lambda: None

    def launch(self, path: Path) -> None:
        """Compile, and set the clock to 0."""
        from workers.core.clock import Calibration, install

        manifest = self.manifest.now = install(self.manifest.now, Calibration(0, 1e9 / self._machine.hz))
        wire = manifest.wire
        store64(wire.address + WIRE["virtual"], 1)
        record(wire.controller, CONTROLLER.dtype)["line_ticks"] = self._line_ticks()
        for entry in manifest.cores:
            core = record(entry.address, CORE.dtype)
            core["virtual"], core["spin_ticks"] = 1, 0
            core["turn_cost"], core["poll_ticks"] = self._machine.turn_cycles, round(_POLL_S * self._machine.hz)
            core["controller"] = wire.controller if self._line_ticks() else 0
            core["line_ticks"] = self._line_ticks()
        for capture in wire.captures:
            store64(capture.address + CAPTURE["epoch_ns"], 0)
            self._captures.append(CaptureFile(capture.address, capture.path, capture.overwrite))
        self.change(path)

    def _line_ticks(self) -> int:
        rate = self._model.memory or self._machine.lines_per_second
        return round(self._machine.hz / rate * (1 << MODEL_BITS)) if rate else 0

    def change(self, path: Path) -> None:
        """Compile what is new, and give every task its cost."""
        from workers.zygote.kernels import Code

        if not self._code:
            self._code = Code("wire", "slice", "echo")
        everything = self.manifest.now.with_upcoming()
        self._code.warm(everything, self._say)
        self._code.load(everything)
        self._code.install(everything)
        self._shapes = {task.address: shape_of(router) for router in everything.routers for task in router.tasks}
        self.price_tasks()

    def price_tasks(self) -> None:
        """Write each task's cost per packet on its present core: a queue between cores costs more."""
        for router in self.manifest.now.routers:
            shape = shape_of(router)
            cores = {task.number: task.core for task in router.tasks}
            for task in router.tasks:
                cycles = cycles_modelled(shape, task.number) + self._hand_over(shape, task.number, cores)
                store64(task.address + TASK["model_ticks"], cycles << MODEL_BITS)
        for classifier in self.manifest.now.classifiers:
            store64(classifier.task + TASK["model_ticks"], _CLASSIFY_CYCLES << MODEL_BITS)

    def _hand_over(self, shape: Any, number: int, cores: dict[int, int]) -> int:
        kind, driver = shape.tasks[number]
        if kind != "pull":
            return 0
        queue = upstream(shape, driver)[0]
        feeders = {cores[n] for n in cores if n != number and queue in reach(shape, n)}
        far = max((self._machine.distance(core, cores[number]) for core in feeders), default=0)
        return (0, self._machine.near_cycles, self._machine.far_cycles)[far]

    def echo(self) -> int:
        """Return the address of the task that models a domU."""
        return int(self._code.kernels["echo"].address)

    # Time.

    def now(self) -> float:
        """Return the platform's time in seconds."""
        return self._ticks / self._machine.hz

    def tend(self, seconds: float) -> None:
        """Advance logical time."""
        end = self._ticks + max(1, round(seconds * self._machine.hz))
        step = round(STEP_S * self._machine.hz)
        wire = self.manifest.now.wire.address
        places = [core.address for core in self.manifest.now.cores]
        run_wire, run_slice = self._code.kernels["wire"], self._code.kernels["slice"]
        while self._ticks < end:
            until = min(self._ticks + step, end)
            run_wire(wire, self._ticks)
            # No core is always the first at the memory controller.
            self._turn = (self._turn + 1) % len(places)
            for core in places[self._turn :] + places[: self._turn]:
                run_slice(core, until)
                add64(core + CORE["heartbeat"], 1)
                self._run_slow(core)
            for capture in self._captures:
                capture.drain(_PATIENCE_S)
            self.each_step()
            self._ticks = until
        finite = [source.address for source in self.manifest.now.wire.sources if source.finite]
        if finite and all(load64(source + SOURCE["done"]) for source in finite):
            store64(wire + WIRE["finished"], 1)

    def _run_slow(self, core: int) -> None:
        if load64(core + CORE["roster"]) != load64(core + CORE["seen_roster"]):
            store64(core + CORE["seen_roster"], load64(core + CORE["roster"]))
            cost = self._machine.slow_cycles
            self._slow[core] = [
                SlowTask(core, task, self._shapes[task], lambda: 0, cost)
                for task in tasks_on(core)
                if task in self._shapes
            ]
            self.price_tasks()
        idle: set[int] = set()
        waiting = [task for task in self._slow.get(core, ()) if task.pending(idle)]
        if waiting:
            min(waiting, key=SlowTask.current_pass).run()
            add64(core + CORE["now"], self._machine.slow_cycles)

    def quiesce(self, counters: list[int], steps: int) -> None:
        """Do nothing: between two steps no task runs."""

    def pid(self, core: int) -> int:
        """Return 0: a core is not a process here."""
        return 0

    holder = pid

    def nudge(self) -> None:
        """Do nothing: every core looks at each step."""

    def expel(self, core: int) -> None:
        """Do nothing: no worker can hang here."""

    def halt(self) -> None:
        """Do nothing: time stands still already."""

    def end(self) -> None:
        """Close captures."""
        for capture in self._captures:
            capture.close()
