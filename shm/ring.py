# SPDX-License-Identifier: MIT
"""Single-producer single-consumer rings that exchange buffers.

A slot owns one buffer of each size, always. To push a packet is to *swap* two words: the slot takes the
packet's buffer, the word the packet came from takes the slot's empty one. So no free list exists, a
dropped packet costs nothing (its buffer stays where it is), and no ring can run out of buffers.

The producer fills slots from `next_head` and publishes them all by storing `head` (release); the
consumer claims slots up to `next_tail` and gives them back by storing `tail` (release). Both do so in
:func:`commit_head` and :func:`commit_tail`, at the end of a batch, so a killed process leaves a ring
either before a batch or after it. It does not matter which slot owns which buffer as long as each has one owner:
:mod:`workers.core.recovery` need only complete a half-done swap.
"""

from __future__ import annotations

from shm.intrinsics import acquire64, kernel, load32, load64, release64, settle, store32, store64
from shm.layout import CORE, RING, SLOT, UNDO

SLOT_SIZE = SLOT.size


@kernel
def room(ring, wanted):
    """Return how many slots the producer may fill, at most `wanted`."""
    head = load64(ring + RING["next_head"])
    capacity = load64(ring + RING["capacity"])
    free = capacity - (head - load64(ring + RING["seen_tail"]))
    if free < wanted:
        # Pairs with commit_tail: the consumer is done with what it gave back.
        tail = acquire64(ring + RING["tail"])
        store64(ring + RING["seen_tail"], tail)
        free = capacity - (head - tail)
    return free if free < wanted else wanted


@kernel
def available(ring, wanted):
    """Return how many slots the consumer may claim, at most `wanted`."""
    tail = load64(ring + RING["next_tail"])
    ready = load64(ring + RING["seen_head"]) - tail
    if ready < wanted:
        # Pairs with commit_head: the slots up to head are filled.
        head = acquire64(ring + RING["head"])
        store64(ring + RING["seen_head"], head)
        ready = head - tail
    return ready if ready < wanted else wanted


@kernel
def is_empty(ring):
    """Return whether the producer sees no packet in the ring: none waits, none is being handled."""
    return load64(ring + RING["next_head"]) == acquire64(ring + RING["tail"])


@kernel
def slot_at(ring, index):
    """Return the address of the slot for `index`, a count that never wraps."""
    return load64(ring + RING["slots"]) + (index & load64(ring + RING["mask"])) * SLOT_SIZE


@kernel
def swap(core, a, b):
    """Exchange the buffer references in the words at `a` and `b`; record it in `core` for :func:`mend_swap`."""
    one, other = load32(a), load32(b)
    store64(core + CORE["swap_first"], one)
    store64(core + CORE["swap_b"], b)
    store64(core + CORE["swap_a"], a)
    # A kill must find the note complete before either word has changed, and a changed before b.
    settle()
    store32(a, other)
    settle()
    store32(b, one)


@kernel
def forget_swap(core):
    """Clear the record of the last swap: its words may be unmapped before the next one."""
    store64(core + CORE["swap_a"], 0)


def mend_swap(core: int) -> None:
    """Complete the swap that a worker was killed in.

    Every buffer is in one word, but between the two stores of a swap both words hold the same. Any other two
    words differ, so a note cut in two, of which one half is older, does no harm.
    """
    a, b = load64(core + CORE["swap_a"]), load64(core + CORE["swap_b"])
    if a and a != b and load32(a) == load32(b):
        store32(b, load64(core + CORE["swap_first"]))


@kernel
def logged(core, word, value):
    """Store `value` in the 64-bit word at `word`, with an entry in the undo log of `core`."""
    count = load64(core + CORE["undo_count"])
    entry = load64(core + CORE["undo"]) + count * UNDO.size
    store64(entry, word)
    store64(entry + UNDO["before"], load64(word))
    store64(core + CORE["undo_count"], count + 1)
    settle()
    store64(word, value)


@kernel
def bump(core, counter):
    """Add one to the 64-bit word at `counter`, with an entry in the undo log of `core`."""
    logged(core, counter, load64(counter) + 1)


@kernel
def commit_head(ring):
    """Publish the slots filled since the last commit."""
    head = load64(ring + RING["next_head"])
    if head != load64(ring + RING["head"]):
        release64(ring + RING["head"], head)


@kernel
def commit_tail(ring):
    """Give back the slots claimed since the last commit."""
    tail = load64(ring + RING["next_tail"])
    if tail != load64(ring + RING["tail"]):
        release64(ring + RING["tail"], tail)


@kernel
def length(ring):
    """Return how many packets are in the ring; any process may ask."""
    return acquire64(ring + RING["head"]) - acquire64(ring + RING["tail"])
