# SPDX-License-Identifier: MIT
"""System calls from kernels (syscall(2)): the instruction itself, so that no libc and no errno of a thread is between.

A call may be interrupted by a signal and then returns `-EINTR`: the kernel that made it returns to the interpreter,
which handles the signal. A kernel that may sleep in a call is compiled with `nogil=True` if its process has threads.
"""

from __future__ import annotations

import ctypes
import platform

#: The numbers of the calls that kernels make: on x86-64, and on arm64, where the asm-generic table holds.
_NUMBERS = {
    "read": (0, 63),
    "write": (1, 64),
    "sendto": (44, 206),
    "getsockopt": (55, 209),
    "getppid": (110, 173),
    "futex": (202, 98),
    "epoll_pwait": (281, 22),
    "sendmmsg": (307, 269),
    "bpf": (321, 280),
}
_COLUMN = {"x86_64": 0, "aarch64": 1}.get(platform.machine())


def _number(name: str) -> int:
    # Another processor runs the twins, whose calls then fail with ENOSYS.
    return -1 if _COLUMN is None else _NUMBERS[name][_COLUMN]


READ, WRITE, SENDTO, GETSOCKOPT = _number("read"), _number("write"), _number("sendto"), _number("getsockopt")
GETPPID, FUTEX, EPOLL_PWAIT = _number("getppid"), _number("futex"), _number("epoll_pwait")
SENDMMSG, BPF = _number("sendmmsg"), _number("bpf")

_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long


def sys6(number: int, a: int, b: int, c: int, d: int, e: int, f: int) -> int:
    """Make a system call; arguments that it does not take are 0.

    Returns
    -------
    int
        What the call returns, or `-errno`.
    """
    result = _syscall(*(ctypes.c_long(int(value)) for value in (number, a, b, c, d, e, f)))
    return -ctypes.get_errno() if result == -1 else result
