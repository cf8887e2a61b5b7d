# SPDX-License-Identifier: MIT
"""Landlock: what a process may do with files, TCP and signals, given up by itself (Linux 5.13 and later)."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # the same on all processors
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
#: Rights over files that each version of the interface knows, TCP from 4 and scopes from 6 on.
_FILES = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_TCP, _SCOPES = 0b11, 0b11
_PR_SET_NO_NEW_PRIVS = 38
_libc = ctypes.CDLL(None, use_errno=True)


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def version() -> int:
    """Return the version of Landlock that the kernel offers, 0 for none."""
    return max(0, _libc.syscall(_CREATE, None, ctypes.c_size_t(0), 1))


def restrict(readable: Iterable[str]) -> bool:
    """Keep this process to reading beneath some folders, from connecting and from signalling; False if it cannot."""
    offered = version()
    if offered == 0:
        return False
    files = _FILES[max(v for v in _FILES if v <= offered)]
    rules = _Ruleset(files, _TCP if offered >= 4 else 0, _SCOPES if offered >= 6 else 0)
    size = 24 if offered >= 6 else 16 if offered >= 4 else 8
    ruleset = _libc.syscall(_CREATE, ctypes.byref(rules), ctypes.c_size_t(size), 0)
    if ruleset < 0:
        return False
    try:
        for path in readable:
            try:
                parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except OSError:
                continue
            rights = _READ_FILE | (_READ_DIR if os.path.isdir(path) else 0)
            beneath = _Beneath(rights, parent)
            _libc.syscall(_ADD, ruleset, 1, ctypes.byref(beneath), 0)
            os.close(parent)
        _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        return bool(_libc.syscall(_RESTRICT, ruleset, 0) == 0)
    finally:
        os.close(ruleset)
