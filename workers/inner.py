# SPDX-License-Identifier: MIT
"""A whole graph at work in its domU: the same compiled paths and the same loop as in dom0, on memory of its own.

Packets that come through the I/O channel are put into the graph's RX rings, and what is in its TX rings goes back.
A packet that stays, in a queue or while an address is asked for, is *kept*: its slot goes back without it, and it
leaves in an empty one later. What happens here hurts nobody but its own router: see :mod:`workers.crossing`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from shm.channel import (
    CHANNEL,
    DATA,
    DOWN,
    DROPPED,
    GIFT,
    GIFTS,
    KEPT,
    LONGEST,
    REQUEST_BYTES,
    RETURN_BYTES,
    SLOT_BYTES,
    SLOT_START,
    SLOTS,
    UP,
)
from shm.journal import take
from shm.layout import CORE, SLOT
from shm.memfd import map_at
from shm.memory import acquire64, copy, kernel, load64, release64, store64
from shm.ring import HEAD, NEXT_TAIL, POOL, TAIL, available, commit_head, commit_tail, room, slot_at
from workers.clock import calibrate, set_up_core
from workers.core import shape_of, tasks_on
from workers.crossing import BATCH, sleep_on_requests
from workers.nic import deliver
from workers.packet import frame_address
from workers.slowpath import SlowTask, run_slow

if TYPE_CHECKING:
    from workers.code import Code

_MASK = SLOTS - 1
_HEAD, _TAIL, _GIFTS = CHANNEL["head"], CHANNEL["tail"], CHANNEL["gifts"]
_REQUESTS, _RETURNS, _TIME = DOWN.size, UP.size, SLOT["time"]
#: The bridge's own counts: requests taken, returns given, slots held from which on, how many, empty slots, kept.
TAKEN, GIVEN, FIRST, HELD, EMPTY, STAYED = range(6)
#: Lines of its journal that are passed on between two slices.
_LINES = 64
#: Longest that the graph runs before the channel is looked at again, and the slow path between two such times.
_SLICE_NS, _SLOW_NS = 100_000, 100_000


def bring(down, up, counts, held, gifts, rx):
    """Put the packets of new requests into the RX rings of their inputs; return how many requests that were.

    What a ring has no room for waits in the channel. `held` are the slots of packets inside, the oldest first.
    """
    ready = acquire64(down) - counts[TAKEN]
    if ready > BATCH:
        ready = BATCH
    done = 0
    while done < ready:
        word = load64(down + _REQUESTS + REQUEST_BYTES * ((counts[TAKEN] + done) & _MASK))
        if word >> 56 & 0xFF == GIFT:
            if counts[EMPTY] < len(gifts):
                gifts[counts[EMPTY]] = word & 0xFFFFFFFF
                counts[EMPTY] += 1
        else:
            ring = rx[word >> 48 & 0xFF]
            if room(ring, 1) == 0:
                break
            frame = up + DATA + (word & 0xFFFF) * SLOT_BYTES + SLOT_START
            deliver(ring, frame, word >> 32 & 0xFFFF, 0, 0)
            commit_head(ring)
            held[(counts[FIRST] + counts[HELD]) & _MASK] = word & 0xFFFFFFFF
            counts[HELD] += 1
        done += 1
    counts[TAKEN] += done
    return done


@kernel
def give_back(up, counts, slot, length, verdict):
    """Write a return; the caller publishes it."""
    word = slot | length << 32 | SLOT_START << 48 | verdict << 56
    store64(up + _RETURNS + RETURN_BYTES * (counts[GIVEN] & _MASK), word)
    counts[GIVEN] += 1


@kernel
def oldest(counts, held):
    """Return the slot that is held longest, which is held no more."""
    slot = held[counts[FIRST] & _MASK]
    counts[FIRST] += 1
    counts[HELD] -= 1
    return slot


def send(up, counts, held, gifts, tx, rings, channels):
    """Return what is in the TX rings, and say what became of all else; return how many packets left.

    Which slot a packet leaves in does not matter: only how many came, left, stay and are gone.
    """
    sent = 0
    for output in range(len(tx)):
        ring = tx[output]
        tail, taken = load64(ring + NEXT_TAIL), 0
        for i in range(available(ring, BATCH)):
            place = slot_at(ring, tail + i)
            length = load64(place + _TIME) >> 32 & 0xFFFF
            if length <= LONGEST:
                if counts[HELD]:
                    slot = oldest(counts, held)
                elif counts[EMPTY]:
                    counts[EMPTY] -= 1
                    slot = gifts[counts[EMPTY]]
                    if counts[STAYED]:
                        counts[STAYED] -= 1
                else:
                    break
                target = up + DATA + (slot & 0xFFFF) * SLOT_BYTES + SLOT_START
                copy(target, frame_address(place, load64(ring + POOL)), length)
                give_back(up, counts, slot, length, output)
                sent += 1
            taken += 1
        store64(ring + NEXT_TAIL, tail + taken)
        commit_tail(ring)
    inside = 0
    for i in range(len(rings)):
        inside += load64(rings[i] + HEAD) - load64(rings[i] + TAIL)
    for i in range(len(channels)):
        # Packets that elements of the router's own have; empty slots are none.
        channel = channels[i]
        inside += load64(channel + _HEAD) - load64(channel + _TAIL) - load64(channel + _GIFTS)
    gone = counts[HELD] + counts[STAYED] - inside
    while gone > 0 and counts[HELD]:
        give_back(up, counts, oldest(counts, held), 0, DROPPED)
        gone -= 1
    while gone > 0 and counts[STAYED] and counts[EMPTY]:
        counts[EMPTY] -= 1
        counts[STAYED] -= 1
        give_back(up, counts, gifts[counts[EMPTY]], 0, DROPPED)
        gone -= 1
    while counts[HELD]:
        give_back(up, counts, oldest(counts, held), 0, KEPT)
        counts[STAYED] += 1
    release64(up, counts[GIVEN])
    return sent


def compile_bridge() -> dict[str, Any]:
    """Return the compiled :func:`bring` and :func:`send`."""
    from workers.compiler import compile_as, numba

    found = {}
    for function, ends in ((bring, 2), (send, 1)):
        arrays = function.__code__.co_argcount - ends
        signature = numba.int64(*[numba.int64] * ends, *[numba.int64[::1]] * arrays)
        found[function.__name__] = compile_as(signature, function)
    return found


def read_manifest(image: int, spec: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest of a graph: it is behind the graph's memory."""
    return json.loads(os.pread(image, spec["text"], spec["size"]))


def ends_of(channel: int) -> tuple[int, int]:
    """Return the addresses of a channel's two halves."""
    return load64(channel + CHANNEL["down"]), load64(channel + CHANNEL["up"])


class Inner:
    """A graph behind one channel; used as :class:`workers.domu.Guest` is.

    Parameters
    ----------
    spec : dict
        `base` and `size` of its memory, `text`: bytes of its manifest.
    image : int
        Descriptor of its memory.
    down, up : int
        Addresses at which the channel's memory is mapped.
    code : Code
    wait : callable
        The compiled :func:`workers.crossing.wait_for_requests`.
    """

    def __init__(self, spec: dict[str, Any], image: int, down: int, up: int, code: Code, wait: Any) -> None:
        map_at(spec["base"], image, spec["size"])
        manifest = read_manifest(image, spec)
        code.install(manifest)
        kernels = code.kernels
        self._ticks: Callable[[], int] = kernels["ticks"]
        calibration = calibrate(self._ticks)
        self._core = manifest["cores"][0]["address"]
        self._journal = load64(self._core + CORE["journal"])
        set_up_core(self._core, manifest, calibration)
        store64(self._core + CORE["spin_ticks"], 1)
        shape = shape_of(manifest["routers"][0])
        self._slow = [SlowTask(self._core, task, shape, self._ticks) for task in tasks_on(self._core)]
        self._slice = kernels["slice"]
        self._bring, self._send = (kernels["bridge"][name] for name in ("bring", "send"))
        self._slice_ticks, self._slow_ticks = calibration.ticks(_SLICE_NS), calibration.ticks(_SLOW_NS)
        self._down, self._up, self._wait = down, up, wait
        self._counts, self._held = np.zeros(6, dtype=np.int64), np.zeros(SLOTS, dtype=np.int64)
        self._gifts = np.zeros(GIFTS, dtype=np.int64)
        rings = (manifest["inputs"], manifest["outputs"], manifest["rings"])
        self._rx, self._tx, self._rings = (np.array(addresses, dtype=np.int64) for addresses in rings)
        #: Channels to the elements of the router's own in the graph, and what serves them: set by whoever makes those.
        self.channels: list[int] = manifest["channels"]
        self.guests: list[Any] = []
        self._channels = np.array(self.channels, dtype=np.int64)

    def serve(self) -> bool:
        """Let packets in, the graph work, and packets out; return whether anything has happened."""
        busy = self._bring(self._down, self._up, self._counts, self._held, self._gifts, self._rx)
        store64(self._core + CORE["next_poll"], 0)
        busy += self._slice(self._core, self._ticks() + self._slice_ticks)
        busy += run_slow(self._slow, self._ticks, self._slow_ticks)
        # Nobody else reads this journal: what the graph prints goes to the domU's own log.
        for record in take(self._journal, _LINES):
            print(record.text, file=sys.stderr)
        for guest in self.guests:
            busy += guest.serve()
        arrays = self._counts, self._held, self._gifts, self._tx, self._rings, self._channels
        busy += self._send(self._up, *arrays)
        return busy > 0

    def wait(self, rounds: int) -> bool:
        """Look for packets, `rounds` times."""
        return bool(self._wait(self._down, self._counts[TAKEN], rounds))

    def sleep(self, seconds: float) -> None:
        """Sleep until there are packets, at most so long."""
        sleep_on_requests(self._down, self._up, int(self._counts[TAKEN]), seconds)
