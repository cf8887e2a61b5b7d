# SPDX-License-Identifier: MIT
"""Loads and stores, compiled, against their Python twins."""

from __future__ import annotations

import ctypes
import random

import pytest

from shm import intrinsics
from shm.codegen import register_kernels

LOADS = ("load8", "load16", "load32", "load64", "be16", "be32", "acquire64", "relaxed64", "acquire32")
STORES = ("store8", "store16", "store32", "store64", "put_be16", "put_be32", "release64", "release32")


@pytest.fixture(scope="module")
def compiled():
    """Return a function that compiles a twin of one or two int64 arguments."""
    import numba

    register_kernels()  # importing shm.codegen is what replaces the twins inside kernels

    def make(twin, arguments):
        if arguments == 1:
            return numba.njit(lambda a: twin(a))
        return numba.njit(lambda a, b: twin(a, b))

    return make


@pytest.mark.parametrize("name", LOADS)
def test_loads_agree(compiled, name):
    twin = getattr(intrinsics, name)
    kernel = compiled(twin, 1)
    chance = random.Random(name)
    data = ctypes.create_string_buffer(chance.randbytes(64), 64)
    base = -(-ctypes.addressof(data) // 8) * 8
    steps = (0, 8, 16) if name in ("acquire64", "relaxed64", "acquire32") else (0, 1, 3, 8, 13)
    for step in steps:
        assert kernel(base + step) == twin(base + step)


@pytest.mark.parametrize("name", STORES)
def test_stores_agree(compiled, name):
    twin = getattr(intrinsics, name)
    kernel = compiled(twin, 2)
    for value in (0, 1, -1, 0x1234567890ABCDEF, -(1 << 63), 255, 256, 65536):
        one, other = (ctypes.c_int64 * 3)(), (ctypes.c_int64 * 3)()
        twin(ctypes.addressof(one) + 8, value)
        kernel(ctypes.addressof(other) + 8, value)
        assert list(one) == list(other)


def test_copies_may_overlap(compiled):
    import numba

    from shm.intrinsics import copy

    kernel = numba.njit(lambda a, b, n: copy(a, b, n))
    data = ctypes.create_string_buffer(b"abcdefgh", 16)
    base = ctypes.addressof(data)
    kernel(base + 2, base, 6)
    assert data.raw[:8] == b"ababcdef"


@pytest.mark.parametrize("value", [0, 1, 2, 31, 32, 1 << 40])
def test_bit_length(compiled, value):
    assert compiled(intrinsics.bit_length, 1)(value) == value.bit_length()


def test_ticks_go_forward(compiled):
    import numba

    from shm.intrinsics import ticks

    kernel = numba.njit(lambda: ticks())
    assert 0 <= kernel() <= kernel()
