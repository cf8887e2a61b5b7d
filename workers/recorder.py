# SPDX-License-Identifier: MIT
"""The wire process: links, served by the compiled loop, with captures written between two rounds."""

from __future__ import annotations

import ctypes
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shm.layout import CAPTURE, SOURCE, WIRE
from shm.memory import load64, store64

_SLICE_NS = 1_000_000
_NAP_S = 20e-6


def section_header() -> bytes:
    """Return the blocks a pcapng file begins with: section, and one Ethernet interface with ns times."""
    section = struct.pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28)
    # Option if_tsresol: 10**-9 s.
    options = struct.pack("<HHB3x", 9, 1, 9) + struct.pack("<HH", 0, 0)
    size = 20 + len(options)
    return section + struct.pack("<IIHHI", 1, size, 1, 0, 0) + options + struct.pack("<I", size)


class CaptureFile:
    """A pcapng file that the wire's captures are drained to."""

    def __init__(self, address: int, path: str) -> None:
        self.address, self._path = address, Path(path)
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        os.write(self._fd, section_header())

    def drain(self) -> bool:
        """Write what has been captured; return whether there was anything."""
        used = load64(self.address + CAPTURE["used"])
        if used:
            data = (ctypes.c_char * used).from_address(load64(self.address + CAPTURE["buffer"]))
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view) :]
            store64(self.address + CAPTURE["used"], 0)
        return used > 0


def run_wire_process(manifest: dict[str, Any], run_wire: Callable[..., int], read_ticks: Callable[[], int]) -> None:
    """Be the wire until told to stop."""
    wire = manifest["wire"]
    address = wire["address"]
    captures = [CaptureFile(at, path) for _, at, path in wire["captures"]]
    finite = [source["address"] for source in wire["sources"] if source["finite"]]
    slice_ticks = round(_SLICE_NS / manifest["ns_per_tick"])
    busy = manifest["dilated"] or manifest["poll"]
    store64(address + WIRE["pid"], os.getpid())
    while load64(address + WIRE["stop"]) == 0:
        moved = run_wire(address, read_ticks() + slice_ticks)
        drained = [capture.drain() for capture in captures]
        if finite and all(load64(source + SOURCE["done"]) for source in finite):
            store64(address + WIRE["finished"], 1)
        if moved == 0 and not any(drained):
            if manifest["dilated"]:
                os.sched_yield()
            elif not busy:
                time.sleep(_NAP_S)
    for capture in captures:
        capture.drain()
