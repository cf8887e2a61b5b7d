# SPDX-License-Identifier: MIT
"""Loads, stores and atomics on addresses: the Python twins.

Everything shared is at an address, an int64 that is the same in every process of a platform
(:mod:`shm.segment`). Kernels read and write through the functions below. Called from Python they are
these plain, slow functions; inside a compiled kernel :mod:`shm.codegen` replaces each by one or two
machine instructions. No array, hence no reference count, ever crosses a call between kernels.

Loads return int64: unsigned values are zero-extended, because int64 mixed with uint64 becomes float64.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

#: Every function that kernels call and that is compiled with them. Filled by :func:`kernel`.
KERNELS: list[Callable[..., Any]] = []
#: Those of them that are parts of their only caller. Filled by :func:`inlined`.
INLINED: set[Callable[..., Any]] = set()


def kernel(function: F) -> F:
    """Mark a plain function as callable from compiled code; called from Python it stays itself."""
    KERNELS.append(function)
    return function


def inlined(function: F) -> F:
    """Mark a kernel as a part of its only caller: it is inlined, however large, as the compiler would not by itself."""
    INLINED.add(function)
    return function


def load8(address: int) -> int:
    """Return the byte at `address`."""
    return ctypes.c_uint8.from_address(int(address)).value


def load16(address: int) -> int:
    """Return the 16-bit word at `address`, host order, any alignment."""
    return ctypes.c_uint16.from_address(int(address)).value


def load32(address: int) -> int:
    """Return the 32-bit word at `address`, host order, zero-extended, any alignment."""
    return ctypes.c_uint32.from_address(int(address)).value


def load64(address: int) -> int:
    """Return the signed 64-bit word at `address`, host order, any alignment."""
    return ctypes.c_int64.from_address(int(address)).value


def store8(address: int, value: int) -> None:
    """Store the low 8 bits of `value`."""
    ctypes.c_uint8.from_address(int(address)).value = int(value) & 0xFF


def store16(address: int, value: int) -> None:
    """Store the low 16 bits of `value`, host order."""
    ctypes.c_uint16.from_address(int(address)).value = int(value) & 0xFFFF


def store32(address: int, value: int) -> None:
    """Store the low 32 bits of `value`, host order."""
    ctypes.c_uint32.from_address(int(address)).value = int(value) & 0xFFFFFFFF


def store64(address: int, value: int) -> None:
    """Store a signed 64-bit word, host order."""
    ctypes.c_int64.from_address(int(address)).value = int(value)


@kernel
def add64(address: int, amount: int) -> None:
    """Add `amount` to the 64-bit word at `address`, which has no other writer."""
    store64(address, load64(address) + amount)


def be16(address: int) -> int:
    """Return the 16-bit word at `address` in network order (RFC 791, appendix B)."""
    return int.from_bytes(ctypes.string_at(int(address), 2), "big")


def be32(address: int) -> int:
    """Return the 32-bit word at `address` in network order, zero-extended."""
    return int.from_bytes(ctypes.string_at(int(address), 4), "big")


def put_be16(address: int, value: int) -> None:
    """Store the low 16 bits of `value` in network order."""
    ctypes.memmove(int(address), int(value & 0xFFFF).to_bytes(2, "big"), 2)


def put_be32(address: int, value: int) -> None:
    """Store the low 32 bits of `value` in network order."""
    ctypes.memmove(int(address), int(value & 0xFFFFFFFF).to_bytes(4, "big"), 4)


def acquire64(address: int) -> int:
    """Load a 64-bit word; what its writer stored before :func:`release64` is visible after."""
    return ctypes.c_int64.from_address(int(address)).value


def release64(address: int, value: int) -> None:
    """Store a 64-bit word; all that this process stored before is visible after an acquire of it."""
    ctypes.c_int64.from_address(int(address)).value = int(value)


def acquire32(address: int) -> int:
    """Load a 32-bit word as :func:`acquire64` does, zero-extended: rings that are shared with the kernel have them."""
    return ctypes.c_uint32.from_address(int(address)).value


def release32(address: int, value: int) -> None:
    """Store the low 32 bits of `value` as :func:`release64` does."""
    ctypes.c_uint32.from_address(int(address)).value = int(value) & 0xFFFFFFFF


def relaxed64(address: int) -> int:
    """Load a 64-bit word that another process may write; it orders nothing."""
    return ctypes.c_int64.from_address(int(address)).value


def settle() -> None:
    """Compiler barrier: keep the compiler from moving stores across this point.

    No instruction is emitted: it orders what a *dead* process has left behind, not what another
    processor sees. A kill is precise, so program order is enough.
    """


def fence() -> None:
    """Order the stores before it before the loads after it, as all processors see them."""


def copy(target: int, source: int, size: int) -> None:
    """Copy `size` bytes; the two ranges may overlap."""
    ctypes.memmove(int(target), int(source), int(size))


def prefetch(address: int) -> None:
    """Prefetch the cache line at `address` for writing."""


def prefetch_read(address: int) -> None:
    """Prefetch the cache line at `address` for reading: its owner keeps it."""


def ticks() -> int:
    """Return the cycle counter: TSC on x86-64, CNTVCT on arm64; see :mod:`workers.core.clock`."""
    return time.perf_counter_ns()


def cpu_time_ns() -> int:
    """Return the CPU time that this thread has consumed, in ns."""
    return time.thread_time_ns()


def pause() -> None:
    """Spin-wait hint: tell the processor that this is a polling loop."""


def bit_length(value: int) -> int:
    """Return the bit length of a non-negative value."""
    return int(value).bit_length()


def unlikely(condition: Any) -> Any:
    """Return `condition`, with a branch weight: the compiler lays out code as if it nearly never held."""
    return condition


def call(function: int, a: int, b: int, c: int, d: int) -> int:
    """Call the compiled function at address `function` with four int64 arguments."""
    prototype = ctypes.CFUNCTYPE(*[ctypes.c_int64] * 5)
    return prototype(function)(a, b, c, d)


def record(address: int, dtype: Any) -> Any:
    """Return the record of structured type `dtype` at `address`; fields by literal name."""
    import numpy as np

    return np.frombuffer((ctypes.c_char * dtype.itemsize).from_address(int(address)), dtype)[0]


def stack_record(dtype: Any) -> Any:
    """Return a fresh record that lives as long as the calling kernel.

    Its fields become registers if the compiler sees all their uses.
    """
    import numpy as np

    return np.zeros(1, dtype)[0]
