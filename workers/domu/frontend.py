# SPDX-License-Identifier: MIT
"""The domU's side of an I/O channel: batches of packets, as arrays.

What a domU does here affects only its own router: dom0 checks every word of it (:mod:`shm.channel`).
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from shm.channel import (
    DATA,
    DOWN,
    GIFT,
    GIFTS,
    REQUEST_BYTES,
    RETURN_BYTES,
    SLOT_BYTES,
    SLOT_START,
    SLOTS,
    UP,
)
from shm.futex import sleep_on
from shm.intrinsics import acquire64, load64, release64, store64

#: Packets that are handled together.
BATCH = 256
_MASK = SLOTS - 1


def take_requests(down: int, at: int, table: np.ndarray, gifts: np.ndarray, gift_count: np.ndarray) -> int:
    """Copy the requests behind index `at` into `table`, one a row; empty slots go to `gifts`.

    Returns
    -------
    int
        Packets, in the low half; requests passed, in the half above.
    """
    ready = acquire64(down) - at
    if ready > BATCH:
        ready = BATCH
    packets = 0
    for i in range(ready):
        request = down + DOWN.size + REQUEST_BYTES * ((at + i) & _MASK)
        word = load64(request)
        if word >> 56 & 0xFF == GIFT:
            if gift_count[0] < len(gifts):
                gifts[gift_count[0]] = word & 0xFFFFFFFF
                gift_count[0] += 1
            continue
        row = table[packets]
        row[0] = word & 0xFFFFFFFF  # slot and generation
        row[1] = word >> 32 & 0xFFFF  # length
        row[2] = SLOT_START  # where in the slot it begins
        row[3] = word >> 48 & 0xFF  # input, later output
        row[4] = load64(request + 8)  # annotations
        packets += 1
    return packets | ready << 32


def give_returns(up: int, at: int, table: np.ndarray, count: int) -> None:
    """Write `count` rows of `table` as returns from index `at` on, and publish them."""
    for i in range(count):
        row = table[i]
        word = row[0] | (row[1] & 0xFFFF) << 32 | (row[2] & 0xFF) << 48 | (row[3] & 0xFF) << 56
        store64(up + UP.size + RETURN_BYTES * ((at + i) & _MASK), word)
    release64(up, at + count)


def wait_for_requests(down: int, at: int, rounds: int) -> int:
    """Look for a request behind index `at`, `rounds` times; return whether there is one."""
    for _ in range(rounds):
        if acquire64(down) != at:
            return 1
    return 0


def sleep_on_requests(down: int, up: int, at: int, seconds: float) -> None:
    """Sleep until dom0 has sent more than `at` requests, at most so long."""
    store64(up + UP["asleep"], 1)
    # The call itself looks whether the word is still the same.
    sleep_on(down, at, seconds)
    store64(up + UP["asleep"], 0)


class Frontend:
    """One channel, from inside the domU.

    Parameters
    ----------
    down, up : int
        Addresses at which its memory is mapped.
    kernels : dict
        `take`, `give` and `wait`: the functions above, compiled.
    """

    def __init__(self, down: int, up: int, kernels: dict[str, Any]) -> None:
        self.down, self.up = down, up
        self._take, self._give, self._wait = kernels["take"], kernels["give"], kernels["wait"]
        self.at = self.returned = 0
        self.table = np.zeros((BATCH + GIFTS, 5), dtype=np.int64)
        self._gifts, self._gift_count = np.zeros(GIFTS, dtype=np.int64), np.zeros(1, dtype=np.int64)
        self._end = 0  # rows of the table that are in use
        self.data = up + DATA
        size = SLOTS * SLOT_BYTES
        self.memory = memoryview((ctypes.c_ubyte * size).from_address(self.data)).cast("B")
        self.frames = np.frombuffer(self.memory, dtype=np.uint8).reshape(SLOTS, SLOT_BYTES)

    def wait(self, rounds: int) -> int:
        """Look for packets, `rounds` times."""
        return bool(self._wait(self.down, self.at, rounds))

    def sleep(self, seconds: float) -> None:
        """Sleep until dom0 has sent something, at most so long."""
        sleep_on_requests(self.down, self.up, self.at, seconds)

    def take(self) -> int:
        """Take a batch; return how many packets are in `table` now."""
        found = self._take(self.down, self.at, self.table, self._gifts, self._gift_count)
        self.at += found >> 32
        self._end = int(found & 0xFFFFFFFF)
        return self._end

    def give(self) -> None:
        """Return the packets in `table`, and those made meanwhile."""
        self._give(self.up, self.returned, self.table, self._end)
        self.returned += self._end

    def make(self, data: bytes) -> int:
        """Put a packet of the domU's own into a row of `table`; return which, -1 while it has no slot for it."""
        if self._gift_count[0] == 0 or self._end == len(self.table):
            return -1
        self._gift_count[0] -= 1
        word, row = int(self._gifts[self._gift_count[0]]), self._end
        start = (word & 0xFFFF) * SLOT_BYTES + SLOT_START
        self.memory[start : start + len(data)] = bytes(data)
        self.table[row] = (word, len(data), SLOT_START, 0, 0)
        self._end += 1
        return row
