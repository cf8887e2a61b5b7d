# SPDX-License-Identifier: MIT
"""System calls from kernels, compiled, against their Python twin."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from shm import codegen
from shm.intrinsics import store8
from shm.syscalls import FUTEX, GETPPID, READ, WRITE, sys6

ROOT = Path(__file__).resolve().parents[2]
MODULE = """
import numba
from shm import codegen
from shm.syscalls import GETPPID, sys6

@numba.njit("int64()", cache=True)
def parent():
    return sys6(GETPPID, 0, 0, 0, 0, 0, 0)

print(parent(), sum(parent.stats.cache_hits.values()))
"""


@pytest.fixture(scope="module", params=["twin", "compiled"])
def call(request):
    """Return the twin, and what a kernel makes of it."""
    if request.param == "twin":
        return sys6
    codegen.register_kernels()
    return numba.njit(lambda number, a, b, c, d, e, f: sys6(number, a, b, c, d, e, f))


def test_a_call_returns_what_the_kernel_says(call):
    assert call(GETPPID, 0, 0, 0, 0, 0, 0) == os.getppid()


def test_an_error_is_returned_as_its_negative_number(call):
    assert call(READ, -1, 0, 0, 0, 0, 0) == -errno.EBADF
    with open("/dev/zero", "rb") as file:
        assert call(READ, file.fileno(), 8, 8, 0, 0, 0) == -errno.EFAULT


def test_all_six_arguments_arrive(call):
    """A futex that moves waiters to another word takes six, and says EAGAIN if only the last is not its value."""
    requeue = 4
    words = (ctypes.c_int32 * 2)(7, 0)
    first, second = ctypes.addressof(words), ctypes.addressof(words) + 4
    assert call(FUTEX, first, requeue, 1, 1, second, 7) == 0
    assert call(FUTEX, first, requeue, 1, 1, second, 8) == -errno.EAGAIN


def test_what_is_stored_before_a_call_is_seen_by_it():
    reader, writer = os.pipe()

    def send(descriptor, address):
        for letter in range(97, 102):
            store8(address, letter)
            sys6(WRITE, descriptor, address, 1, 0, 0, 0)
        return 0

    try:
        codegen.register_kernels()
        buffer = ctypes.create_string_buffer(1)
        numba.njit("int64(int64, int64)")(send)(writer, ctypes.addressof(buffer))
        assert os.read(reader, 9) == b"abcde"
    finally:
        os.close(reader)
        os.close(writer)


def test_a_kernel_with_a_system_call_is_loaded_from_the_cache_by_another_process(tmp_path):
    file = tmp_path / "asks.py"
    file.write_text(MODULE)
    surroundings = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    for expected in (0, 1):
        out = subprocess.run([sys.executable, file], env=surroundings, capture_output=True, text=True, check=True)
        assert out.stdout.split() == [str(os.getpid()), str(expected)]
