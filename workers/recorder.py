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

from shm.memory import acquire64, load64, release64, store64
from shm.outside import CAPTURE, SOURCE, WIRE
from workers.core import Worker
from workers.process import take_processor

_SLICE_NS = 1_000_000
#: Where routers are mapped directly, links and those have turns: no longer than a ring takes to fill.
_NIC_NS = 20_000
_NAP_S = 20e-6
#: Rounds that move nothing before the interpreter looks round: some 20 us.
_PATIENCE = 64


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
        # Whoever was the wire before has written the file's beginning.
        fresh = load64(address + CAPTURE["opened"]) == 0
        flags = os.O_TRUNC if fresh else os.O_APPEND
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | flags, 0o644)
        if fresh:
            os.write(self._fd, section_header())
            store64(address + CAPTURE["opened"], 1)

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

    def close(self) -> None:
        """Close the file; what has not been drained is lost."""
        os.close(self._fd)


def run_wire_process(
    manifest: dict[str, Any],
    run_wire: Callable[..., int],
    read_ticks: Callable[[], int],
    number: int,
    cpu: int | None,
    nic: Worker | None,
) -> None:
    """Wait for wire process `number` - 1 to leave; be the wire until the next one is to be it, or told to stop.

    `nic` is the NIC's own core, where routers are mapped directly.
    """
    wire = manifest["wire"]
    address = wire["address"]
    finite = [source["address"] for source in wire["sources"] if source["finite"]]
    slice_ticks, nic_ticks = (round(ns / manifest["ns_per_tick"]) for ns in (_SLICE_NS, _NIC_NS))
    busy = manifest["dilated"] or manifest["poll"]
    store64(address + WIRE["standby"], number)
    while acquire64(address + WIRE["left"]) != number - 1 or acquire64(address + WIRE["incarnation"]) < number:
        time.sleep(_NAP_S)
    take_processor(cpu)
    captures = [CaptureFile(at, path) for _, at, path in wire["captures"]]
    store64(address + WIRE["pid"], os.getpid())
    # A processor of its own, and nothing else to do.
    alone = manifest["poll"] and not manifest["dilated"] and nic is None
    store64(address + WIRE["patience"], _PATIENCE if alone else 0)
    if nic:
        nic.take_over()
    while load64(address + WIRE["stop"]) == 0 and acquire64(address + WIRE["incarnation"]) == number:
        moved = run_wire(address, read_ticks() + (nic_ticks if nic else slice_ticks))
        moved += nic.visit(nic_ticks)[0] if nic else 0
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
    release64(address + WIRE["left"], number)
