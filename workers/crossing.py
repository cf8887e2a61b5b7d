# SPDX-License-Identifier: MIT
"""The domU's side of an I/O channel: batches of packets, as arrays.

What a domU does here hurts nobody but its own router: dom0 checks every word of it (:mod:`shm.channel`).
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from shm.channel import (
    DATA,
    DOWN,
    GIFT,
    REQUEST_BYTES,
    RETURN_BYTES,
    SLOT_BYTES,
    SLOT_START,
    SLOTS,
    UP,
)
from shm.memory import acquire64, load64, release64, store64

#: Packets that are handled together.
BATCH = 256
_MASK = SLOTS - 1
_REQUESTS, _RETURNS = DOWN.size, UP.size


def take_requests(down, at, table, gifts, gift_count):
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
        request = down + _REQUESTS + REQUEST_BYTES * ((at + i) & _MASK)
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


def give_returns(up, at, table, count):
    """Write `count` rows of `table` as returns from index `at` on, and publish them."""
    for i in range(count):
        row = table[i]
        word = row[0] | (row[1] & 0xFFFF) << 32 | (row[2] & 0xFF) << 48 | (row[3] & 0xFF) << 56
        store64(up + _RETURNS + RETURN_BYTES * ((at + i) & _MASK), word)
    release64(up, at + count)


def wait_for_requests(down, at, rounds):
    """Look for a request behind index `at`, `rounds` times; return whether there is one."""
    for _ in range(rounds):
        if acquire64(down) != at:
            return 1
    return 0


class Crossing:
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
        self.table = np.zeros((BATCH, 5), dtype=np.int64)
        self._gifts, self._gift_count = np.zeros(SLOTS, dtype=np.int64), np.zeros(1, dtype=np.int64)
        self.data = up + DATA
        self.waiting: list[tuple[int, int, int, int]] = []

    def wait(self, rounds: int) -> bool:
        """Look for packets, `rounds` times."""
        return bool(self._wait(self.down, self.at, rounds))

    def take(self) -> int:
        """Take a batch; return how many packets are in `table` now."""
        found = self._take(self.down, self.at, self.table, self._gifts, self._gift_count)
        self.at += found >> 32
        return int(found & 0xFFFFFFFF)

    def give(self, count: int) -> None:
        """Return the packets in `table`, and those made meanwhile."""
        self._give(self.up, self.returned, self.table, count)
        self.returned += count
        if self.waiting:
            made = np.zeros((len(self.waiting), 5), dtype=np.int64)
            made[:, :4] = self.waiting
            self.waiting = []
            self._give(self.up, self.returned, made, len(made))
            self.returned += len(made)

    def make(self, data: bytes, output: int) -> bool:
        """Send a packet of the domU's own; False while dom0 has lent it no slot for it."""
        if self._gift_count[0] == 0 or len(data) > SLOT_BYTES - SLOT_START:
            return False
        self._gift_count[0] -= 1
        word = int(self._gifts[self._gift_count[0]])
        slot = word & 0xFFFF
        ctypes.memmove(self.data + slot * SLOT_BYTES + SLOT_START, bytes(data), len(data))
        self.waiting.append((word, len(data), SLOT_START, output))
        return True

