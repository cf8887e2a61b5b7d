# SPDX-License-Identifier: MIT
"""Sleeping until a shared word changes (futex(2)): what a doorbell is made of.

The process that changes the word wakes those that wait for it, and never waits.
"""

from __future__ import annotations

import ctypes
import platform

#: Number of the system call.
FUTEX = {"x86_64": 202, "aarch64": 98}.get(platform.machine(), -1)
WAIT, WAKE = 0, 1
_libc = ctypes.CDLL(None, use_errno=True)


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_int64), ("ns", ctypes.c_int64))


def sleep_on(address: int, value: int, seconds: float) -> None:
    """Sleep while the 32-bit word at `address` is the low half of `value`, at most for the timeout."""
    limit = _Timespec(int(seconds), int(seconds % 1 * 1e9))
    low = ctypes.c_uint32(value & 0xFFFFFFFF)
    _libc.syscall(ctypes.c_long(FUTEX), ctypes.c_void_p(address), ctypes.c_int(WAIT), low, ctypes.byref(limit), None, 0)


def wake(address: int) -> None:
    """Wake a process that sleeps on the word at `address`."""
    _libc.syscall(ctypes.c_long(FUTEX), ctypes.c_void_p(address), ctypes.c_int(WAKE), ctypes.c_int(1), None, None, 0)
