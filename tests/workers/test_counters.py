# SPDX-License-Identifier: MIT
"""Memory accesses that the processor counts, and what is made of them."""

from __future__ import annotations

import ctypes
import mmap

import numpy as np
import pytest

from shm.intrinsics import add64, load64
from shm.layout import MODEL_BITS, TASK
from workers.core.perf_counters import PAGE_FAULTS, SLICES, SOFTWARE, Counter, LineMeter, explain, why_not


@pytest.fixture(scope="module")
def counters():
    """Skip what counts if this user may not."""
    if why := why_not(SOFTWARE, PAGE_FAULTS):
        pytest.skip(f"this user may count nothing here: {why}")


needs_counters = pytest.mark.usefixtures("counters")


def touch(pages):
    """Cause a page fault for each of some pages of fresh memory."""
    memory = mmap.mmap(-1, pages * mmap.PAGESIZE)
    for i in range(pages):
        memory[i * mmap.PAGESIZE] = 1
    memory.close()


@needs_counters
def test_a_counter_of_the_kernel_counts_what_is_done():
    counter = Counter(SOFTWARE, PAGE_FAULTS)
    before = counter.read()
    touch(100)
    assert 100 <= counter.read() - before < 400
    counter.close()


def test_the_processor_counts_misses():
    if why := why_not():
        pytest.skip(f"this processor counts no cache misses: {why}")
    counter = Counter()
    before = counter.read()
    np.arange(1 << 24).sum()
    assert counter.read() > before
    counter.close()


def test_what_a_packet_takes_follows_from_slices_in_changing_proportions():
    chance = np.random.default_rng(7)
    packets = chance.integers(0, 2000, (500, 3))
    noise = chance.integers(0, 300, 500)
    assert explain(packets, packets @ [8, 20, 1] + noise) == pytest.approx([8, 20, 1], abs=0.3)
    # Tasks that always have the same part cannot be told apart; together they are right.
    same = np.repeat(packets[:, :1], 2, axis=1)
    assert explain(same, same @ [4, 8]).sum() == pytest.approx(12)


@needs_counters
def test_a_meter_writes_what_packets_take_into_their_tasks():
    memory = ctypes.create_string_buffer(2 * TASK.size + 8)
    tasks = [ctypes.addressof(memory), ctypes.addressof(memory) + TASK.size]
    counter = Counter(SOFTWARE, PAGE_FAULTS)
    meter = LineMeter(counter, tasks)
    for i in range(SLICES):
        # A "packet" of the first task touches one page, one of the second four.
        one, two = 1 + i % 3, 1 + i % 2
        touch(one + 4 * two)
        for task, count in zip(tasks, (one, two), strict=True):
            add64(task + TASK["packets"], count)
        meter.after_slice()
    found = [load64(task + TASK["lines"]) / (1 << MODEL_BITS) for task in tasks]
    assert found == pytest.approx([1, 4], abs=0.6)
    meter.close()
