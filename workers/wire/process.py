# SPDX-License-Identifier: MIT
"""The wire process: links, served by the compiled loop; captures are written by :mod:`workers.wire.capture_writer`."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from shm.intrinsics import acquire64, load64, release64, store64
from shm.manifest import Manifest
from shm.memfd import map_at
from shm.wire_layout import SOURCE, WIRE
from workers.core.worker import STANDBY_S, Worker
from workers.process import take_processor

_SLICE_NS = 1_000_000
#: Where routers are mapped directly, links and those have turns: no longer than a ring takes to fill.
_NIC_NS = 20_000
_NAP_S = 20e-6
#: Rounds that move nothing before the interpreter looks round: some 20 us.
_PATIENCE = 64


def stand_by(address: int, number: int, cpu: int | None) -> bool:
    """Wait until wire `number` is to take over from the one before it; return False if it is to end instead."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    take_processor(cpu)
    store64(address + WIRE["standby"], number)
    while acquire64(address + WIRE["left"]) != number - 1 or acquire64(address + WIRE["incarnation"]) < number:
        if load64(address + WIRE["stop"]):
            return False
        if acquire64(address + WIRE["incarnation"]) < number:
            # As a core's: it is woken when it is needed.
            signal.sigtimedwait({signal.SIGUSR1}, STANDBY_S)
        else:
            time.sleep(_NAP_S)
    return True


def run_wire_process(
    manifest: Manifest,
    run_wire: Callable[..., int],
    read_ticks: Callable[[], int],
    number: int,
    cpu: int | None,
    nic: Worker | None,
) -> None:
    """Wait for wire process `number` - 1 to leave; be the wire until the next one is to be it, or told to stop.

    `nic` is the NIC's own core, where routers are mapped directly.
    """
    address, settings = manifest.wire.address, manifest.settings
    for mapping in (mapping for device in manifest.wire.devices for mapping in device.mappings):
        map_at(mapping.address, mapping.descriptor, mapping.size, offset=mapping.offset)
    finite = [source.address for source in manifest.wire.sources if source.finite]
    slice_ticks, nic_ticks = (round(ns / manifest.ns_per_tick) for ns in (_SLICE_NS, _NIC_NS))
    busy = settings.dilated or settings.poll
    if not stand_by(address, number, cpu):
        return
    store64(address + WIRE["pid"], os.getpid())
    # A processor of its own, and nothing else to do.
    alone = settings.poll and not settings.dilated and nic is None
    store64(address + WIRE["patience"], _PATIENCE if alone else 0)
    if nic:
        nic.take_over()
    while load64(address + WIRE["stop"]) == 0 and acquire64(address + WIRE["incarnation"]) == number:
        moved = run_wire(address, read_ticks() + (nic_ticks if nic else slice_ticks))
        moved += nic.visit(nic_ticks)[0] if nic else 0
        if finite and all(load64(source + SOURCE["done"]) for source in finite):
            store64(address + WIRE["finished"], 1)
        if moved == 0:
            if settings.dilated:
                os.sched_yield()
            elif not busy:
                time.sleep(_NAP_S)
    release64(address + WIRE["left"], number)
