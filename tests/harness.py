# SPDX-License-Identifier: MIT
"""A router on a bench: one core in this process, real shared memory, turns taken by hand.

The composed path runs as plain Python, or compiled where `code` is given; both on the same memory.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import sys
from collections import Counter

import numpy as np

from shm import memfd
from shm.channel import CHANNEL
from shm.intrinsics import load16, load64, store64
from shm.journal import take
from shm.layout import CORE, RING, SLOT, SPARES, TASK
from shm.manifest import CurrentManifest
from shm.ring import available, pop, publish, release, room, slot_at
from shm.run_directory import RunDirectory
from shm.segment import claim_window, free_window
from vre.config.model import RING_SLOTS, Model, Nic, Router, RouterPort
from vre.language.checker import check
from vre.language.lexer import Source
from vre.memory.address_space import AddressSpace, view
from vre.memory.layout import Builder
from vre.memory.placed import lay_out
from vre.memory.wire import Links
from workers.compiler.cache import import_module
from workers.core.clock import Calibration, install
from workers.core.recovery import channels_on, ring_ends
from workers.core.slow_path import SlowTask
from workers.core.worker import shape_of
from workers.datapath.nic import deliver
from workers.datapath.packet import LARGE_ROOM, frame_address

_numbers = itertools.count()
MAC = "02:00:00:00:00:01"


class Bench:
    """One router; ports `eth0`, `eth1`, ... as its configuration names them.

    `slots` is the size of the ports' rings; `beside` is the configuration of another router, which is there and never
    runs. `links`, `speeds`, `queues` and `impaired` are those of ports, by name.
    """

    def __init__(
        self,
        config,
        code=None,
        vlan=-1,
        slots=RING_SLOTS,
        beside="",
        links=None,
        speeds=None,
        queues=None,
        impaired=None,
        seed=1,
    ):
        from vre.platform.accounts import Reader

        graph = check(Source(config, "bench.click"))
        self.model = Model(f"bench{os.getpid()}-{next(_numbers)}")
        ports = {n.values["devname"] for n in graph.nodes if "devname" in n.values}
        self.model.nics = {name: Nic(name, slots=slots) for name in sorted(ports)}
        for name, nic in self.model.nics.items():
            nic.links, nic.speed = (links or {}).get(name, ()), (speeds or {}).get(name)
            nic.queues = (queues or {}).get(name, nic.queues)
            nic.impaired = (impaired or {}).get(name, {})
        self.model.seed = seed
        claims = {name: RouterPort(name, 0x020000000001 + i, vlan) for i, name in enumerate(sorted(ports))}
        self.model.routers = {"r": Router("r", 1.0, graph, claims)}
        if beside:
            self.model.routers["beside"] = Router("beside", 1.0, check(Source(beside, "beside.click")), claims)
        self.graph = graph
        self.base = claim_window(self.model.name)
        self.directory = RunDirectory(self.model.name)
        self.directory.acquire()
        self.builder = Builder(self.model, AddressSpace(self.base, self.directory.prefix))
        links = self.links = Links(self.builder)
        self.builder.space.create()
        self.builder.fill()
        lay_out(self.builder)
        links.fill()
        self.wire = links.wire
        self.manifest = install(links.manifest(), Calibration(0, 1.0))
        self.core = self.manifest.cores[0].address
        # Twins are slow: a turn must not end early for that.
        store64(self.core + CORE["turn_ticks"], 1 << 60)
        self.inputs, self.outputs = ring_ends(self.manifest, 0)
        self.channels = channels_on(self.manifest, 0)
        for channel in self.channels:
            for fd in memfd.renew(channel):
                os.close(fd)
            store64(channel + CHANNEL["open"], 1)
        self._router = self.manifest.routers[0]
        self.tasks = [task.address for task in self._router.tasks]
        self.block = self._router.block
        self.shape = shape_of(self._router)
        self.functions = self._compiled(code) if code else self._twins()
        self.slow = [SlowTask(self.core, task, self.shape, lambda: 0) for task in self.tasks]
        self.reader = Reader(CurrentManifest(self.manifest))

    def _twins(self):
        module = import_module(self.shape)
        return [getattr(module, f"task{task.number}") for task in self._router.tasks]

    def _compiled(self, code):
        prototype = ctypes.CFUNCTYPE(*[ctypes.c_int64] * 5)
        return [prototype(code[task.number].address) for task in self._router.tasks]

    def close(self):
        """Remove the memory."""
        for channel in self.channels:
            memfd.release(channel)
        for segment in self.builder.space.segments.values():
            segment.detach()
        self.directory.release()
        free_window(self.base)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def send(self, *frames, port="eth0", time=1):
        """Put frames into the RX ring of a port, as the wire does."""
        ring = self.builder.routers["r"].rx[port].address
        for frame in frames:
            frame = bytes(frame)
            assert len(frame) <= LARGE_ROOM and room(ring, 1)
            keep = ctypes.create_string_buffer(frame, len(frame) + 64)
            deliver(ring, ctypes.addressof(keep), len(frame), time, 0)
        publish(ring)

    def turn(self, quantum=64):
        """Give every task one turn and the slow path all it wants; return how much was done."""
        done = 0
        for task, function in zip(self.tasks, self.functions, strict=True):
            store64(self.core + CORE["task"], task)
            done += function(load64(task + TASK["block"]), self.core, task, quantum)
            store64(self.core + CORE["task"], 0)
        for slow in self.slow:
            while slow.pending():
                slow.run()
                done += 1
        self.heed()
        return done

    def heed(self):
        """Show what elements have printed."""
        for record in take(load64(self.core + CORE["journal"]), 1000):
            print(record.text, file=sys.stderr)

    def settle(self, turns=50):
        """Take turns until nothing moves."""
        for _ in range(turns):
            if self.turn() == 0:
                return

    def received(self, port="eth1"):
        """Take what was sent through a port, as bytes."""
        frames = []
        if port not in self.builder.ports:
            return frames
        ring = self.builder.ports[port].tx[0].address
        while available(ring, 1):
            slot = slot_at(ring, pop(ring, 1))
            address = frame_address(slot, load64(ring + RING["pool"]))
            frames.append(ctypes.string_at(address, load16(slot + SLOT["length"])))
        release(ring)
        self._sent = getattr(self, "_sent", 0) + len(frames)
        return frames

    def through(self, *frames, port="eth1", into="eth0"):
        """Send frames and return what comes out."""
        self.send(*frames, port=into)
        self.settle()
        return self.received(port)

    def clock(self, ns):
        """Set the core's clock."""
        store64(self.core + CORE["clock_ns"], ns)

    def state(self, name):
        """Return the state record of an element."""
        i = self.graph.index(name)
        return view(self._router.elements[i].state, self.graph.nodes[i].cls.layout().dtype)[0]

    @property
    def dropped(self):
        """Packets dropped, by reason."""
        return Counter(self.reader.routers()[0].dropped)

    def balance(self):
        """Return packets unaccounted for: `received` stands in for the wire's account."""
        return self.reader.routers()[0].balance - getattr(self, "_sent", 0)

    def rings(self):
        """Return the plans of all rings."""
        memory = self.builder.routers["r"]
        tx = [ring for port in self.builder.ports.values() for ring in port.tx.values()]
        return [*memory.rx.values(), *tx, *memory.program.rings]

    def buffers(self):
        """Return (references of small buffers, of large ones) that are owned by some word."""
        slots = [view(plan.slots, SLOT.dtype, plan.count) for plan in self.rings()]
        spares = view(load64(self.core + CORE["spare"]), "u4", 2 * SPARES)
        return [np.concatenate([*(s[name] for s in slots), spares[i::2]]) for i, name in enumerate(("small", "large"))]

    def references(self):
        """Return every buffer reference that is owned by some word."""
        return np.concatenate(self.buffers())

    def assert_sound(self):
        """Every packet is accounted for, every buffer has one owner, every ring is between turns."""
        assert self.balance() == 0
        references = self.references()
        assert len(np.unique(references)) == len(references)
        for plan in self.rings():
            ring = plan.address
            assert load64(ring + RING["head"]) == load64(ring + RING["next_head"])
            assert load64(ring + RING["tail"]) == load64(ring + RING["next_tail"])
            assert 0 <= load64(ring + RING["head"]) - load64(ring + RING["tail"]) <= plan.capacity
