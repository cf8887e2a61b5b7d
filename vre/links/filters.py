# SPDX-License-Identifier: MIT
"""Filters of packet sockets (classic BPF, bpf(2)): which frames of an interface the kernel puts into which ring.

The kernel has taken the outer VLAN tag out of a frame before a filter sees it, and says what it was. What counts as
on which VLAN is what :func:`workers.datapath.nic.vlan_of` says.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Iterable

_LOAD_WORD, _LOAD_HALF, _AND, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x28, 0x54, 0x15, 0x06
# What the kernel knows of a frame, as if it were in front of it.
_TAG, _TAGGED, _TAG_TYPE = 0xFFFFF000 + 44, 0xFFFFF000 + 48, 0xFFFFF000 + 60
_VLAN = 0x8100
_ALL, _NONE = 0xFFFFFFFF, 0
_SO_ATTACH_FILTER = 26

#: A MAC, and a VLAN, -1 for none.
Claim = tuple[int, int]
_Step = tuple[int, int, str, str]


def only(claim: Claim) -> bytes:
    """Return a filter that takes the frames of one claim."""
    return _block(claim, _ALL) + _step(_RETURN, _NONE)


def without(claims: Iterable[Claim]) -> bytes:
    """Return a filter that takes all frames but those of some claims."""
    return b"".join(_block(claim, _NONE) for claim in claims) + _step(_RETURN, _ALL)


def attach(made: socket.socket, code: bytes) -> None:
    """Let a socket receive what a filter takes. Raises OSError."""
    memory = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HxxxxxxQ", len(code) // 8, ctypes.addressof(memory))
    made.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def _step(code: int, value: int, true: int = 0, false: int = 0) -> bytes:
    """Return an instruction, `struct sock_filter`; jumps are relative to the next one."""
    return struct.pack("=HBBI", code, true, false, value)


def _block(claim: Claim, verdict: int) -> bytes:
    """Return instructions that end with `verdict` for a frame of a claim, and go on behind themselves for others."""
    mac, vlan = claim
    steps: list[_Step] = [
        (_LOAD_WORD, 2, "", ""),
        (_JUMP_IF_EQUAL, mac & 0xFFFFFFFF, "", "other"),
        (_LOAD_HALF, 0, "", ""),
        (_JUMP_IF_EQUAL, mac >> 32, "", "other"),
        (_LOAD_WORD, _TAGGED, "", ""),
        (_JUMP_IF_EQUAL, 0, "this" if vlan < 0 else "other", ""),
        (_LOAD_WORD, _TAG_TYPE, "", ""),
        (_JUMP_IF_EQUAL, _VLAN, "", "this" if vlan < 0 else "other"),
        (_LOAD_WORD, _TAG, "", ""),
        (_AND, 0xFFF, "", ""),
        # VLAN 0 says a priority, and no VLAN.
        (_JUMP_IF_EQUAL, max(vlan, 0), "this", "other"),
    ]
    places = {"this": len(steps), "other": len(steps) + 1}
    code = b"".join(
        _step(code, value, *(places[label] - i - 1 if label else 0 for label in labels))
        for i, (code, value, *labels) in enumerate(steps)
    )
    return code + _step(_RETURN, verdict)
