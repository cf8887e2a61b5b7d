# SPDX-License-Identifier: MIT
"""Sleeping until a shared word changes (futex(2)): what a doorbell is made of.

The process that changes the word wakes those that wait for it, and never waits.
"""

from __future__ import annotations

import ctypes

from shm.intrinsics import kernel
from shm.syscalls import FUTEX, sys6

_WAIT, _WAKE = 0, 1


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_int64), ("ns", ctypes.c_int64))


def sleep_on(address: int, value: int, seconds: float) -> None:
    """Sleep while the 32-bit word at `address` is the low half of `value`, at most for the timeout."""
    limit = _Timespec(int(seconds), int(seconds % 1 * 1e9))
    sys6(FUTEX, address, _WAIT, value & 0xFFFFFFFF, ctypes.addressof(limit), 0, 0)


@kernel
def wake(address):
    """Wake a process that sleeps on the word at `address`."""
    sys6(FUTEX, address, _WAKE, 1, 0, 0, 0)
