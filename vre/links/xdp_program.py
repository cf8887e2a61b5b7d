# SPDX-License-Identifier: MIT
"""The program that takes an interface's frames to an AF_XDP socket, made and attached by bpf(2) alone.

It is attached by a link (bpf_link): that goes with its descriptor, so nothing remains of a platform that was killed.
"""

from __future__ import annotations

import ctypes
import os
import struct

from shm.syscalls import BPF, sys6
from vre.links.namespaces import inside

_MAP_CREATE, _MAP_UPDATE, _PROGRAM_LOAD, _LINK_CREATE = 0, 2, 5, 28
_SOCKET_MAP, _XDP_PROGRAM, _XDP_ATTACHMENT = 17, 6, 37
_PASS, _REDIRECT_MAP = 2, 51
#: How the kernel runs it: for any driver, or in those that know how.
MODES = {"skb": 2, "native": 4}
#: Bytes of `union bpf_attr` that are given.
_ATTRIBUTES = 144


def _instruction(code: int, registers: int, offset: int = 0, value: int = 0) -> bytes:
    return struct.pack("<BBhi", code, registers, offset, value)


def attach_program(namespace: int, index: int, socket: int, mode: str) -> list[int]:
    """Let an interface's first queue bring its frames to an AF_XDP socket; return descriptors to be kept.

    `mode` is one of MODES, or "auto": native where the driver can. Raises OSError.
    """
    made: list[int] = []
    try:
        made.append(_bpf(_MAP_CREATE, struct.pack("IIII", _SOCKET_MAP, 4, 4, 1)))
        key, value = ctypes.c_uint32(0), ctypes.c_uint32(socket)
        _bpf(_MAP_UPDATE, struct.pack("IxxxxQQQ", made[0], ctypes.addressof(key), ctypes.addressof(value), 0))
        made.append(_load(made[0]))
        flags = [MODES[mode]] if mode in MODES else [MODES["native"], MODES["skb"]]
        made.append(inside(namespace, lambda: _attach(made[1], index, flags)))
    except BaseException:
        for fd in made:
            os.close(fd)
        raise
    return made


def _load(sockets: int) -> int:
    """Return a program that gives a frame to the socket of its queue, or to the stack if there is none."""
    code = b"".join(
        (
            _instruction(0x61, 0x12, 16),  # r2 = ctx->rx_queue_index
            _instruction(0x18, 0x11, 0, sockets),  # r1 = the map
            _instruction(0, 0),
            _instruction(0xB7, 3, 0, _PASS),  # r3 = what to do where it has no socket
            _instruction(0x85, 0, 0, _REDIRECT_MAP),
            _instruction(0x95, 0),
        )
    )
    memory, licence = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(b"MIT")
    at, named = ctypes.addressof(memory), ctypes.addressof(licence)
    return _bpf(_PROGRAM_LOAD, struct.pack("IIQQ", _XDP_PROGRAM, len(code) // 8, at, named))


def _attach(program: int, index: int, flags: list[int]) -> int:
    """Return a link by the first mode that works."""
    for i, flag in enumerate(flags):
        try:
            return _bpf(_LINK_CREATE, struct.pack("IIII", program, index, _XDP_ATTACHMENT, flag))
        except OSError:
            if i == len(flags) - 1:
                raise
    raise AssertionError


def _bpf(command: int, attributes: bytes) -> int:
    """Make one call of bpf(2). Raises OSError."""
    memory = ctypes.create_string_buffer(attributes.ljust(_ATTRIBUTES, b"\0"), _ATTRIBUTES)
    result = sys6(BPF, command, ctypes.addressof(memory), _ATTRIBUTES, 0, 0, 0)
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result
