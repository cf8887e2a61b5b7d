# SPDX-License-Identifier: MIT
"""The I/O channel between dom0 and an untrusted domU, as dom0 sees it.

dom0 *lends* slots: it copies a packet into one and writes a request; the domU changes the packet in place and
writes a return. Three pieces of memory:

| memory | who writes | what it holds |
| --- | --- | --- |
| :data:`CHANNEL` | dom0; the domU never sees it | what dom0 trusts: indices, free slots, what each slot is lent with |
| :data:`DOWN` | dom0; the domU maps it read-only | requests, and how many there are |
| :data:`UP` | the domU | returns, how many there are, and the slots themselves |

Nothing that the domU writes is trusted. A return is one word, fetched once; each of its fields is masked or checked. A
slot's generation makes it come back at most once for each time that it was lent. dom0 never reads back what it has
written into shared memory. There are no more requests than slots, so neither shared ring can overflow, and dom0 need
not know how far the domU has read.
"""

from __future__ import annotations

import ctypes
import mmap

from shm.futex import wake
from shm.intrinsics import acquire64, add64, fence, kernel, load64, relaxed64, release64, settle, store64
from shm.layout import APART, LINE, Layout
from shm.ring import bump, logged

#: Slots of a channel, a power of two: 10 ms of 100,000 packets a second.
SLOTS = 1024
#: Empty slots among them that the domU may hold, to make packets in.
GIFTS = 64
#: Bytes of a slot, an odd number of lines; and where in it dom0 puts a packet.
SLOT_BYTES, SLOT_START = 33 * LINE, LINE
#: Longest packet that fits a slot, in bytes.
LONGEST = SLOT_BYTES - SLOT_START

CHANNEL = Layout(
    "channel",
    {
        # worker
        "head": ("i8", 0),  # requests published
        "next_head": "i8",  # requests written, published at the next commit
        "freed": "i8",  # slots that have been free since the beginning
        "next_freed": "i8",
        "tail": "i8",  # returns taken
        "next_tail": "i8",  # returns claimed
        "gifts": "i8",  # empty slots that the domU has
        "verdict": "i8",  # why the channel must be closed, 0 while it need not
        "faults": "4*i8",  # returns refused, in the order of FAULTS
        "kept": "i8",  # packets that stay in the domU after their slots came back
        "table": ("i8", APART),  # set once: address of one word a slot: kind, generation, time stamp
        "notes": "i8",  # set once: address of one NOTE a slot
        "free": "i8",  # set once: address of a ring of free slots' numbers
        "down": "i8",  # set once: address of DOWN
        "up": "i8",  # set once: address of UP
        "open": ("i8", 2 * APART),  # supervisor: 1 while there is a domU to lend to
        "lost": "i8",  # supervisor: packets that went with a domU
        "incarnation": "i8",  # supervisor: counts the memories given to it: workers remap when it changes
        "owner": "i8",  # supervisor: process that holds that memory
        "down_fd": "i8",  # supervisor: its descriptors in that process
        "up_fd": "i8",
    },
    size=3 * APART,
)
#: First lines of what dom0 writes and the domU reads; requests follow, of two words each.
DOWN = Layout("down", {"head": "i8"}, size=APART)
#: First lines of what the domU writes; returns follow, then slots.
UP = Layout("up", {"head": "i8", "taken": "i8", "asleep": "i8"}, size=APART)
REQUEST_BYTES, RETURN_BYTES = 16, 8

#: What a slot is: dom0's own, lent with a packet, lent empty.
FREE, LENT, GIFT = 0, 1, 2
#: What a return may say in place of an output. A domU that keeps a packet (in a queue of its own) returns its slot; the
#: next slot that was lent empty brings a kept packet, or the news that it is dropped.
DROPPED, FAILED, KEPT = 0x80, 0x81, 0x82
#: Most packets that a domU may keep: beyond, they count as dropped.
MOST_KEPT = 1 << 16
#: Outputs that a return may name.
OUTPUTS = 16
#: Why a return is refused.
FAULTS = ("no_such_slot", "replayed", "bad_length", "bad_verdict")
NO_SLOT, REPLAYED, BAD_LENGTH, BAD_VERDICT = range(-1, -5, -1)
#: The verdict on a producer index that no producer can have reached.
IMPOSSIBLE_INDEX = 1

_MASK = SLOTS - 1
#: Where slots begin in UP.
DATA = -(-(UP.size + SLOTS * RETURN_BYTES) // mmap.PAGESIZE) * mmap.PAGESIZE
DOWN_BYTES = -(-(DOWN.size + SLOTS * REQUEST_BYTES) // mmap.PAGESIZE) * mmap.PAGESIZE
UP_BYTES = -(-(DATA + SLOTS * SLOT_BYTES) // mmap.PAGESIZE) * mmap.PAGESIZE


@kernel
def is_open(channel):
    """Return whether there is a domU to lend to."""
    return load64(channel + CHANNEL["open"]) != 0 and load64(channel + CHANNEL["verdict"]) == 0


@kernel
def can_lend(channel):
    """Return how many slots are free."""
    return load64(channel + CHANNEL["next_freed"]) - load64(channel + CHANNEL["next_head"])


@kernel
def lend(core, channel, kind, length, entry, marks, time):
    """Write the request for a free slot, with `length` bytes for entry `entry`; return the slot.

    `time` is the packet's stamp, which dom0 keeps. The caller has asked :func:`can_lend`. A turn that is cut off leaves
    an undo log in `core`.
    """
    head = load64(channel + CHANNEL["next_head"])
    index = head & _MASK
    slot = load64(load64(channel + CHANNEL["free"]) + 8 * index)
    word = load64(channel + CHANNEL["table"]) + 8 * slot
    # Never 0: a word of zeros is no return.
    generation = (load64(word) >> 8 & 0xFFFF) % 0xFFFF + 1
    logged(core, word, kind | generation << 8 | time << 32)
    request = load64(channel + CHANNEL["down"]) + DOWN.size + REQUEST_BYTES * index
    store64(request, slot | generation << 16 | length << 32 | entry << 48 | kind << 56)
    store64(request + 8, marks)
    store64(channel + CHANNEL["next_head"], head + 1)
    return slot


@kernel
def slot_address(channel, slot):
    """Return the address of a slot's bytes."""
    return load64(channel + CHANNEL["up"]) + DATA + slot * SLOT_BYTES


@kernel
def give_gifts(core, channel):
    """Lend empty slots until the domU has as many as it may."""
    while load64(channel + CHANNEL["gifts"]) < GIFTS and can_lend(channel) > 0:
        lend(core, channel, GIFT, 0, 0, 0, 0)
        logged(core, channel + CHANNEL["gifts"], load64(channel + CHANNEL["gifts"]) + 1)


@kernel
def has_returns(channel):
    """Return whether the domU says that it has returned something."""
    return is_open(channel) and acquire64(load64(channel + CHANNEL["up"])) != load64(channel + CHANNEL["next_tail"])


@kernel
def returned(channel, wanted):
    """Return how many returns may be taken, at most `wanted`, so a visit is bounded whatever the domU writes."""
    if is_open(channel) == 0:
        return 0
    ready = acquire64(load64(channel + CHANNEL["up"])) - load64(channel + CHANNEL["next_tail"])
    if ready < 0 or ready > SLOTS:
        store64(channel + CHANNEL["verdict"], IMPOSSIBLE_INDEX)
        return 0
    return ready if ready < wanted else wanted


@kernel
def take(channel, count):
    """Claim `count` returns; return the index of the first."""
    tail = load64(channel + CHANNEL["next_tail"])
    store64(channel + CHANNEL["next_tail"], tail + count)
    settle()
    return tail


@kernel
def keep_returns(channel, index):
    """Give back the claim to everything from `index` on."""
    store64(channel + CHANNEL["next_tail"], index)


@kernel
def fetch(channel, index):
    """Return the word of a return. This is the only time that it is read."""
    return acquire64(load64(channel + CHANNEL["up"]) + UP.size + RETURN_BYTES * (index & _MASK))


@kernel
def slot_in(word):
    """Return which slot a return is about."""
    return word & 0xFFFF


@kernel
def length_in(word):
    """Return the packet's length in bytes, as the domU claims it."""
    return word >> 32 & 0xFFFF


@kernel
def offset_in(word):
    """Return the packet's offset in the slot, as the domU claims it."""
    return word >> 48 & 0xFF


@kernel
def verdict_in(word):
    """Return the packet's verdict, as the domU claims it: an output, DROPPED, FAILED or KEPT."""
    return word >> 56 & 0xFF


@kernel
def kind_of(channel, word):
    """Return what a returned slot was lent as, LENT or GIFT; NO_SLOT or REPLAYED if it was not lent."""
    slot = slot_in(word)
    if slot > _MASK:
        return NO_SLOT
    known = load64(load64(channel + CHANNEL["table"]) + 8 * slot)
    kind = known & 3
    if kind == FREE or known >> 8 & 0xFFFF != word >> 16 & 0xFFFF:
        return REPLAYED
    return kind


@kernel
def time_of(channel, slot):
    """Return the time stamp of the packet in a lent slot."""
    return load64(load64(channel + CHANNEL["table"]) + 8 * slot) >> 32 & 0xFFFFFFFF


@kernel
def outcome_of(word):
    """Return the output that a return names, DROPPED, FAILED or KEPT; or the reason to refuse it."""
    verdict = verdict_in(word)
    if verdict in (DROPPED, FAILED, KEPT):
        return verdict
    if verdict >= OUTPUTS:
        return BAD_VERDICT
    length, offset = length_in(word), offset_in(word)
    if length < 1 or length > LONGEST or offset + length > SLOT_BYTES:
        return BAD_LENGTH
    return verdict


@kernel
def count_fault(core, channel, fault):
    """Count a return that was refused."""
    bump(core, channel + CHANNEL["faults"] + 8 * (-1 - fault))


@kernel
def keeps(core, channel):
    """Count a packet that stays in the domU; return whether it may keep one more."""
    kept = load64(channel + CHANNEL["kept"])
    if kept >= MOST_KEPT:
        return False
    logged(core, channel + CHANNEL["kept"], kept + 1)
    return True


@kernel
def kept_before(core, channel):
    """Match a returned empty slot with a kept packet, if there is one; return whether there was."""
    kept = load64(channel + CHANNEL["kept"])
    if kept:
        logged(core, channel + CHANNEL["kept"], kept - 1)
    return kept > 0


@kernel
def retrieve(core, channel, slot):
    """Free a slot whose content dom0 has copied out."""
    word = load64(channel + CHANNEL["table"]) + 8 * slot
    known = load64(word)
    if known & 3 == GIFT:
        logged(core, channel + CHANNEL["gifts"], load64(channel + CHANNEL["gifts"]) - 1)
    logged(core, word, known & ~3)
    freed = load64(channel + CHANNEL["next_freed"])
    store64(load64(channel + CHANNEL["free"]) + 8 * (freed & _MASK), slot)
    store64(channel + CHANNEL["next_freed"], freed + 1)


@kernel
def commit_channel(channel):
    """Publish what the turn has lent, and free the slots that it has taken back.

    A turn that did neither stores no old index, whatever :func:`reset` does to a closed channel meanwhile: that writes
    each pair of indices in the order opposite to the one in which they are read here.
    """
    before = acquire64(channel + CHANNEL["head"])
    head = load64(channel + CHANNEL["next_head"])
    if head != before:
        store64(channel + CHANNEL["head"], head)
        down = load64(channel + CHANNEL["down"])
        # Pairs with the domU's acquire: it sees the requests and the packets.
        release64(down, head)
        # The domU sets this before its last poll. If it is always set, its own router's time pays for the calls;
        # none of them can block.
        fence()
        if relaxed64(load64(channel + CHANNEL["up"]) + UP["asleep"]):
            wake(down)
    catch_up(channel + CHANNEL["freed"], channel + CHANNEL["next_freed"])
    catch_up(channel + CHANNEL["tail"], channel + CHANNEL["next_tail"])


@kernel
def catch_up(index, upcoming):
    """Let a published index be what its turn has made of it."""
    before = acquire64(index)
    after = load64(upcoming)
    if after != before:
        store64(index, after)


# For the supervisor, while no worker uses the channel.


def reset(channel: int) -> int:
    """Free all slots of a closed channel, because its memory is replaced; return how many packets the domU had.

    Raises ValueError if it is open: what a worker lends meanwhile would be in no account.
    """
    if load64(channel + CHANNEL["open"]):
        raise ValueError("the slots of an open channel cannot be freed")
    table, free = load64(channel + CHANNEL["table"]), load64(channel + CHANNEL["free"])
    lost = lent(channel)
    for slot in range(SLOTS):
        store64(table + 8 * slot, load64(table + 8 * slot) & ~3)
        store64(free + 8 * slot, slot)
    # A worker may be in a turn, which neither lends nor takes: see commit_channel.
    for name in ("next_head", "head", "next_tail", "tail", "gifts", "verdict", "kept"):
        release64(channel + CHANNEL[name], 0)
    for name in ("next_freed", "freed"):
        release64(channel + CHANNEL[name], SLOTS)
    return lost


def lent(channel: int) -> int:
    """Return how many packets a domU has, in slots and kept."""
    table = load64(channel + CHANNEL["table"])
    words = (ctypes.c_int64 * SLOTS).from_address(table)
    return sum(word & 3 == LENT for word in words) + load64(channel + CHANNEL["kept"])


def undo_claims(channel: int) -> int:
    """Recover a channel after a turn that was cut off and rolled back; return how many packets are lost.

    What the turn lent was not published. The returns that it took are not processed again, but their slots are freed.
    """
    store64(channel + CHANNEL["next_head"], load64(channel + CHANNEL["head"]))
    store64(channel + CHANNEL["next_freed"], load64(channel + CHANNEL["freed"]))
    table, free, lost = load64(channel + CHANNEL["table"]), load64(channel + CHANNEL["free"]), 0
    for index in range(load64(channel + CHANNEL["tail"]), load64(channel + CHANNEL["next_tail"])):
        word = fetch(channel, index)
        kind = kind_of(channel, word)
        if kind < 0:
            continue
        slot, freed = slot_in(word), load64(channel + CHANNEL["next_freed"])
        store64(table + 8 * slot, load64(table + 8 * slot) & ~3)
        store64(free + 8 * (freed & _MASK), slot)
        store64(channel + CHANNEL["next_freed"], freed + 1)
        lost += kind == LENT
        if kind == GIFT:
            add64(channel + CHANNEL["gifts"], -1)
            if load64(channel + CHANNEL["kept"]):
                add64(channel + CHANNEL["kept"], -1)
                lost += 1
    return lost
