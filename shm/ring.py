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

HEAD, NEXT_HEAD, SEEN_TAIL = RING["head"], RING["next_head"], RING["seen_tail"]
FULL, TAIL, NEXT_TAIL = RING["full"], RING["tail"], RING["next_tail"]
SEEN_HEAD, SLOTS, NOTES = RING["seen_head"], RING["slots"], RING["notes"]
MASK, CAPACITY, POOL = RING["mask"], RING["capacity"], RING["pool"]
TAGS = RING["tags"]
SLOT_SIZE = SLOT.size
_UNDO, _UNDO_COUNT = CORE["undo"], CORE["undo_count"]
_UNDO_SIZE, _BEFORE = UNDO.size, UNDO["before"]
_SWAP_A, _SWAP_B, _SWAP_FIRST = CORE["swap_a"], CORE["swap_b"], CORE["swap_first"]


@kernel
def room(ring, wanted):
    """Return how many slots the producer may fill, at most `wanted`."""
    head = load64(ring + NEXT_HEAD)
    capacity = load64(ring + CAPACITY)
    free = capacity - (head - load64(ring + SEEN_TAIL))
    if free < wanted:
        # Pairs with commit_tail: the consumer is done with what it gave back.
        tail = acquire64(ring + TAIL)
        store64(ring + SEEN_TAIL, tail)
        free = capacity - (head - tail)
    return free if free < wanted else wanted


@kernel
def available(ring, wanted):
    """Return how many slots the consumer may claim, at most `wanted`."""
    tail = load64(ring + NEXT_TAIL)
    ready = load64(ring + SEEN_HEAD) - tail
    if ready < wanted:
        # Pairs with commit_head: the slots up to head are filled.
        head = acquire64(ring + HEAD)
        store64(ring + SEEN_HEAD, head)
        ready = head - tail
    return ready if ready < wanted else wanted


@kernel
def is_empty(ring):
    """Return whether the producer sees no packet in the ring: none waits, none is being handled."""
    return load64(ring + NEXT_HEAD) == acquire64(ring + TAIL)


@kernel
def slot_at(ring, index):
    """Return the address of the slot for `index`, a count that never wraps."""
    return load64(ring + SLOTS) + (index & load64(ring + MASK)) * SLOT_SIZE


@kernel
def swap(core, a, b):
    """Exchange the buffer references in the words at `a` and `b`; record it in `core` for :func:`mend_swap`."""
    one, other = load32(a), load32(b)
    store64(core + _SWAP_FIRST, one)
    store64(core + _SWAP_B, b)
    store64(core + _SWAP_A, a)
    # A kill must find the note complete before either word has changed, and a changed before b.
    settle()
    store32(a, other)
    settle()
    store32(b, one)


@kernel
def forget_swap(core):
    """Clear the record of the last swap: its words may be unmapped before the next one."""
    store64(core + _SWAP_A, 0)


def mend_swap(core: int) -> None:
    """Complete the swap that a worker was killed in.

    Every buffer is in one word, but between the two stores of a swap both words hold the same. Any other two
    words differ, so a note cut in two, of which one half is older, does no harm.
    """
    a, b = load64(core + _SWAP_A), load64(core + _SWAP_B)
    if a and a != b and load32(a) == load32(b):
        store32(b, load64(core + _SWAP_FIRST))


@kernel
def logged(core, word, value):
    """Store `value` in the 64-bit word at `word`, with an entry in the undo log of `core`."""
    count = load64(core + _UNDO_COUNT)
    entry = load64(core + _UNDO) + count * _UNDO_SIZE
    store64(entry, word)
    store64(entry + _BEFORE, load64(word))
    store64(core + _UNDO_COUNT, count + 1)
    settle()
    store64(word, value)


@kernel
def bump(core, counter):
    """Add one to the 64-bit word at `counter`, with an entry in the undo log of `core`."""
    logged(core, counter, load64(counter) + 1)


@kernel
def commit_head(ring):
    """Publish the slots filled since the last commit."""
    head = load64(ring + NEXT_HEAD)
    if head != load64(ring + HEAD):
        release64(ring + HEAD, head)


@kernel
def commit_tail(ring):
    """Give back the slots claimed since the last commit."""
    tail = load64(ring + NEXT_TAIL)
    if tail != load64(ring + TAIL):
        release64(ring + TAIL, tail)


@kernel
def length(ring):
    """Return how many packets are in the ring; any process may ask."""
    return acquire64(ring + HEAD) - acquire64(ring + TAIL)
