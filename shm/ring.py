# SPDX-License-Identifier: MIT
"""Single-producer single-consumer rings that exchange buffers.

A slot owns one buffer of each size, always. To push a packet is to *swap* two words: the slot takes the
packet's buffer, the word the packet came from takes the slot's empty one. So no free list exists, a
dropped packet costs nothing (its buffer stays where it is), and no ring can run out of buffers.

| the producer | the consumer | |
| --- | --- | --- |
| :func:`room` | :func:`available` | how many slots it may push, or pop |
| :func:`next_push` | :func:`next_pop` | the index of the next one |
| :func:`push` | :func:`pop` | push one packet by a swap; pop a batch, which stays in its slots |
| :func:`push_to` | :func:`pop_to` | slots before an index are pushed, or popped; those from it on are not |
| :func:`publish` | :func:`release` | let the other side have them |

`next_head` and `next_tail` are private until :func:`publish` stores `head` and :func:`release` stores `tail`, at the
end of a batch: so a killed process leaves a ring either before a batch or after it. It does not matter which slot owns
which buffer as long as each has one owner: :mod:`workers.core.recovery` need only complete a half-done swap.

An index counts slots since the beginning and never wraps; a slot's *position* is its index modulo the ring's size.
"""

from __future__ import annotations

from shm.intrinsics import (
    acquire64,
    kernel,
    load16,
    load32,
    load64,
    prefetch,
    relaxed64,
    release64,
    settle,
    store16,
    store32,
    store64,
)
from shm.layout import CORE, IN_LARGE, NOTE, RING, SLOT, SMALL_STRIDE, UNDO

SLOT_SIZE = SLOT.size
#: Slots between the one filled and the one prefetched.
PUSH_AHEAD = 16

assert (SLOT["length"], SLOT["offset"]) == (SLOT["time"] + 4, SLOT["time"] + 6)  # see pack

# Both sides.


@kernel
def slot_at(ring, index):
    """Return the address of the slot for `index`."""
    return load64(ring + RING["slots"]) + (index & load64(ring + RING["mask"])) * SLOT_SIZE


@kernel
def pack(time, length, offset):
    """Return the second half of a descriptor: one store is a third of the work of three."""
    return time | length << 32 | offset << 48


@kernel
def note_at(ring, index):
    """Return the address of the note that belongs to the slot for `index`."""
    return load64(ring + RING["notes"]) + (index & load64(ring + RING["mask"])) * NOTE.size


@kernel
def set_tag(ring, position, tag):
    """Say whose the packet in the slot at `position` is, in a ring that routers share."""
    store16(load64(ring + RING["tags"]) + 2 * position, tag)


@kernel
def tag_of(ring, index):
    """Return whose the packet in the slot for `index` is, in a ring that routers share."""
    return load16(load64(ring + RING["tags"]) + 2 * (index & load64(ring + RING["mask"])))


@kernel
def length(ring):
    """Return how many packets are in the ring; any process may ask."""
    return acquire64(ring + RING["head"]) - acquire64(ring + RING["tail"])


@kernel
def held(ring):
    """Return how many packets are pushed and not popped, in a ring of which one process is producer and consumer."""
    return load64(ring + RING["next_head"]) - load64(ring + RING["next_tail"])


# The producer.


@kernel
def room(ring, wanted):
    """Return how many slots the producer may fill, at most `wanted`."""
    head = load64(ring + RING["next_head"])
    capacity = load64(ring + RING["capacity"])
    free = capacity - (head - load64(ring + RING["seen_tail"]))
    if free < wanted:
        # Pairs with release: the consumer is done with what it gave back.
        tail = acquire64(ring + RING["tail"])
        store64(ring + RING["seen_tail"], tail)
        free = capacity - (head - tail)
    return free if free < wanted else wanted


@kernel
def used(ring):
    """Return how many slots are in use, as the producer sees it."""
    return load64(ring + RING["next_head"]) - relaxed64(ring + RING["tail"])


@kernel
def is_empty(ring):
    """Return whether the producer sees no packet in the ring: none waits, none is being handled."""
    return load64(ring + RING["next_head"]) == acquire64(ring + RING["tail"])


@kernel
def next_push(ring):
    """Return the index of the slot to fill next."""
    return load64(ring + RING["next_head"])


@kernel
def push(ring, packet, core):
    """Push a packet's buffer by a swap, for which the caller has asked :func:`room`; return the slot's position.

    `packet` is a record of :data:`workers.datapath.packet.PACKET`.
    """
    head, mask, slots = load64(ring + RING["next_head"]), load64(ring + RING["mask"]), load64(ring + RING["slots"])
    position = head & mask
    slot = slots + position * SLOT_SIZE
    # Its last reader has the line: without this, every fourth packet waits for it.
    prefetch(slots + ((head + PUSH_AHEAD) & mask) * SLOT_SIZE)
    large = packet["room"] != SMALL_STRIDE
    swap(core, slot + 4 * large, packet["owner"])
    offset = packet["data"] - packet["buffer"] + IN_LARGE * large
    store64(slot + SLOT["time"], pack(packet["time"], packet["length"], offset))
    store64(ring + RING["next_head"], head + 1)
    return position


@kernel
def push_to(ring, index):
    """Let the slots before `index`, which the caller has filled, be pushed, and those from it on not."""
    store64(ring + RING["next_head"], index)


@kernel
def publish(ring):
    """Let the consumer have what has been pushed."""
    head = load64(ring + RING["next_head"])
    if head != load64(ring + RING["head"]):
        release64(ring + RING["head"], head)


# The consumer.


@kernel
def available(ring, wanted):
    """Return how many slots the consumer may pop, at most `wanted`."""
    tail = load64(ring + RING["next_tail"])
    ready = load64(ring + RING["seen_head"]) - tail
    if ready < wanted:
        # Pairs with publish: the slots up to head are filled.
        head = acquire64(ring + RING["head"])
        store64(ring + RING["seen_head"], head)
        ready = head - tail
    return ready if ready < wanted else wanted


@kernel
def is_waiting(ring):
    """Return whether a packet is published that the consumer has not given back: between batches, one that waits."""
    return acquire64(ring + RING["head"]) != load64(ring + RING["tail"])


@kernel
def next_pop(ring):
    """Return the index of the slot to pop next."""
    return load64(ring + RING["next_tail"])


@kernel
def pop(ring, count):
    """Pop `count` slots, for which the caller has asked :func:`available`; return the index of the first.

    The packets stay in their slots, which are the consumer's until :func:`release`.
    """
    tail = load64(ring + RING["next_tail"])
    store64(ring + RING["next_tail"], tail + count)
    settle()
    return tail


@kernel
def pop_to(ring, index):
    """Let the slots before `index` be popped, and those from it on not: also for a batch that ends early."""
    store64(ring + RING["next_tail"], index)


@kernel
def release(ring):
    """Give back to the producer what has been popped."""
    tail = load64(ring + RING["next_tail"])
    if tail != load64(ring + RING["tail"]):
        release64(ring + RING["tail"], tail)


# What a kill must not tear.


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


def undo_pushes(ring: int) -> None:
    """Forget what a dead producer has pushed and not published."""
    push_to(ring, load64(ring + RING["head"]))


def popped(ring: int) -> range:
    """Return the indices that a dead consumer has popped and not given back."""
    return range(load64(ring + RING["tail"]), next_pop(ring))
