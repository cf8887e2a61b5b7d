# SPDX-License-Identifier: MIT
"""Recovery of the core of a dead worker: its turn is completed, or rolled back.

| stage | what it had done | recovery |
| --- | --- | --- |
| IDLE | nothing unfinished | nothing |
| RUNNING | swapped buffers, counted drops | counts rolled back, a half-done swap completed; the batch is lost |
| COMMITTING | everything but publishing | the rest is published; nothing is lost |

The packets of the batch are counted as killed and not run again: one of them may have killed the worker.
"""

from __future__ import annotations

from collections.abc import Sequence

from shm.channel import commit_channel, undo_claims
from shm.intrinsics import add64, load64, store64
from shm.layout import CLIENT, COMMITTING, CORE, IDLE, IDLE_PASS, RING, RUNNING, TASK, UNDO
from shm.manifest import Manifest
from shm.ring import mend_swap, popped, publish, release, tag_of, undo_pushes


def ring_ends(manifest: Manifest, number: int) -> tuple[list[int], list[int]]:
    """Return the rings whose consumer, and those whose producer, runs on a core."""
    inputs: set[int] = set()
    outputs = set(manifest.cores[number].tx)
    for router in manifest.routers:
        for task in router.tasks:
            if task.core == number:
                inputs |= set(task.inputs)
                outputs |= set(task.outputs)
    for classifier in manifest.classifiers:
        if classifier.core == number:
            inputs.add(classifier.ring)
            outputs |= set(classifier.outputs)
    return sorted(inputs), sorted(outputs)


def channels_on(manifest: Manifest, number: int) -> list[int]:
    """Return the channels to domUs that tasks on a core use; both directions of one are on the same core."""
    tasks = (task for router in manifest.routers for task in router.tasks if task.core == number)
    return sorted({channel for task in tasks for channel in task.channels})


def recover(core: int, inputs: Sequence[int], outputs: Sequence[int], channels: Sequence[int] = ()) -> int:
    """Restore a dead worker's core to a state between turns.

    Parameters
    ----------
    core : int
        Address of the core's record. No worker may be running on it.
    inputs, outputs : sequence of int
        Rings whose consumer or producer it was.
    channels : sequence of int
        Channels to domUs that it used.

    Returns
    -------
    int
        Packets lost, also added to the task's `killed`, or to each router's if its input is shared.
    """
    stage, lost, counted = load64(core + CORE["stage"]), 0, 0
    if stage == RUNNING:
        mend_swap(core)
        _undo(core)
        for ring in inputs:
            batch = popped(ring)
            lost += len(batch)
            if load64(ring + RING["killed"]):
                counted += len(batch)
                _count_owners(ring, batch)
        for ring in outputs:
            undo_pushes(ring)
        lost += sum(undo_claims(channel) for channel in channels)
    if stage in (RUNNING, COMMITTING):
        for ring in outputs:
            publish(ring)
        for ring in inputs:
            release(ring)
        for channel in channels:
            commit_channel(channel)
    task = load64(core + CORE["task"])
    if task and lost > counted:
        add64(task + TASK["killed"], lost - counted)
    for field in ("undo_count", "spare_used", "task", "stage"):
        store64(core + CORE[field], IDLE)
    _let_all_join(core)
    return lost


def _count_owners(ring: int, batch: range) -> None:
    """Count the popped slots of a ring that routers share, each for the router that its tag names."""
    for index in batch:
        add64(load64(ring + RING["killed"]) + 8 * tag_of(ring, index), 1)


def _undo(core: int) -> None:
    log = load64(core + CORE["undo"])
    for i in range(load64(core + CORE["undo_count"]) - 1, -1, -1):
        entry = log + i * UNDO.size
        store64(load64(entry), load64(entry + UNDO["before"]))


def _let_all_join(core: int) -> None:
    """Make every client idle: those with work join again at once, each at its own pass."""
    clients, passes = load64(core + CORE["clients"]), load64(core + CORE["passes"])
    for c in range(load64(core + CORE["client_count"])):
        client = load64(clients + 8 * c)
        if client == 0:
            continue
        if load64(passes + 8 * c) != IDLE_PASS:
            store64(client + CLIENT["own_pass"], load64(passes + 8 * c))
            store64(passes + 8 * c, IDLE_PASS)
        task = load64(client + CLIENT["tasks"])
        while task:
            store64(task + TASK["runnable"], 0)
            task = load64(task + TASK["next"])
    store64(core + CORE["next_poll"], 0)
