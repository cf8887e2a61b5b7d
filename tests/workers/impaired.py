# SPDX-License-Identifier: MIT
"""A link on a bench: frames with numbers go in at times set by hand, and come out into a capture or a router."""

from __future__ import annotations

import ctypes
import struct
from functools import cache

import numpy as np

from shm.impairment_layout import IMPAIRMENT, LINK_STATE
from shm.intrinsics import load64, store64
from shm.ring import publish, room
from shm.wire_layout import CAPTURE, WIRE
from tests.harness import Bench
from vre.config.impairment import Impairment, changed
from vre.config.model import Cable, Capture
from vre.memory.address_space import view
from vre.platform.impairments import rows
from workers.datapath.nic import deliver
from workers.wire.loop import run_wire

CONFIG = "FromDevice(eth0) -> ToDevice(eth1); FromDevice(eth2) -> Discard;"
#: An Enhanced Packet Block of pcapng, up to the frame.
BLOCK = struct.Struct("<7I")
HEADER = bytes.fromhex("0200000000030200000000018888")


@cache
def compiled():
    """Return the wire's loop as machine code."""
    from workers.compiler.compile import compile_kernel

    return compile_kernel(run_wire)


def impairment(**values):
    """Return what a link's table says."""
    found, wrong = changed(Impairment(), values)
    assert wrong == []
    return found


class Link:
    """The link out of port eth1, which ends in a capture, or with `cable` at port eth2; impaired by `values`."""

    def __init__(self, cable=False, loop=None, speed=None, seed=1, **values):
        self._loop = loop or compiled()
        self.bench = Bench(
            CONFIG,
            links={"eth1": (Cable("eth2") if cable else Capture("never written"),)},
            speeds={"eth1": speed},
            impaired={"eth1": {"out": impairment(**values)}} if values else {},
            seed=seed,
        )
        self.wire, self.links = self.bench.wire, self.bench.links
        self.sent = 0
        store64(self.wire + WIRE["virtual"], 1)
        self._ring = self.bench.builder.ports["eth1"].tx[0].address
        self._capture = 0 if cable else self.links.captures["eth1"][0]

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.bench.close()

    def put(self, count=1, size=60):
        """Send frames, which have numbers, from 0, behind their header."""
        for _ in range(count):
            frame = HEADER + self.sent.to_bytes(8, "little")
            keep = ctypes.create_string_buffer(frame, size + 64)
            assert room(self._ring, 1)
            deliver(self._ring, ctypes.addressof(keep), size, 0, 0)
            self.sent += 1
        publish(self._ring)

    def at(self, ns):
        """Let the wire do what is due at a time; a tick of its clock is a ns."""
        self._loop(self.wire, ns)

    def each(self, step, count, size=60, batch=500):
        """Send frames `step` ns apart, and wait until none is on the link; return when the last was sent."""
        if step == 0:
            for _ in range(0, count, batch):
                self.put(batch, size)
                self.at(0)
            return 0
        for n in range(count):
            self.put(1, size)
            self.at(n * step)
        return (count - 1) * step

    def arrived(self):
        """Take what has come to the capture; return numbers, times in ns, and frames."""
        filled, emptied = (load64(self._capture + CAPTURE[name]) for name in ("filled", "emptied"))
        buffer, size = (load64(self._capture + CAPTURE[name]) for name in ("buffer", "size"))
        start, end = emptied & 0xFFFFFFFF, filled & 0xFFFFFFFF
        # Twice, one behind the other: a block may go on at the ring's beginning.
        ring, start = 2 * ctypes.string_at(buffer, size), start & size - 1
        data, at, numbers, times, frames = ring[start : start + (end - emptied & size - 1)], 0, [], [], []
        while at < len(data):
            _, whole, _, high, low, length, _ = BLOCK.unpack_from(data, at)
            frame = data[at + BLOCK.size : at + BLOCK.size + length]
            numbers.append(int.from_bytes(frame[14:22], "little"))
            times.append((high << 32) + low)
            frames.append(frame)
            at += whole
        store64(self._capture + CAPTURE["emptied"], filled)
        return np.array(numbers), np.array(times), frames

    def change(self, **values):
        """Change the impairments, in a delay line that is there."""
        nic = self.bench.model.nics["eth1"]
        nic.impaired["out"], wrong = changed(nic.impaired["out"], values)
        assert wrong == []
        self.links.impair("eth1", "out", nic.impaired["out"])

    @property
    def state(self):
        """What the link has done."""
        address = self.links.impaired.records["eth1", "out"]
        return view(load64(address + IMPAIRMENT["state"]), LINK_STATE.dtype)[0].copy()

    def account(self):
        """Return the link's account; nothing is missing from it."""
        (row,) = rows(self.links.manifest())
        assert (
            row["sent"] + row["duplicated"]
            == row["arrived"] + row["waiting"] + row["lost"] + row["over_limit"] + row["refused"]
        )
        address = self.links.impaired.records["eth1", "out"]
        assert row["waiting"] == load64(address + IMPAIRMENT["count"])
        return row
