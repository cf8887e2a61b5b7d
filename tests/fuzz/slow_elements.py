# SPDX-License-Identifier: MIT
"""Packets of every kind into every slow element there is: `python -m tests.fuzz.slow_elements SECONDS [SEED]`.

The elements come from the registry, and their arguments are found by trying: nobody need tell this of a new one.
"""

from __future__ import annotations

import itertools
import random
import sys
import time

import numpy as np

from shm.layout import MISSING, NOTE
from shm.ring import is_waiting, publish, room
from tests.harness import Bench
from tests.workers.frames import arp, udp
from workers.arguments import REQUIRED
from workers.datapath.packet import LARGE_ROOM
from workers.datapath.slow_packet import Frame, put_frame
from workers.datapath.turn import PORT_BITS
from workers.element import RAISED, load, port_range

#: What is tried for an argument: as many of these as its kind takes.
CANDIDATES = (
    *("10.0.0.1", "02:00:00:00:00:01", "10.0.0.1 10.0.0.2", "10.0.0.0/8 0", "unreachable", "redirect"),
    *("timeexceeded", "parameterproblem", "0", "1", "4", "68", "576", "1500", "true", "false", "0.1", "0800", "x"),
)
#: What each byte of a header is set to.
VALUES = (0x00, 0x01, 0x7F, 0x80, 0xFF)


def slow_classes():
    """Return every registered class of the platform's own that has a slow path."""
    ours = (cls for cls in load().values() if cls.slow is not None and cls.__module__.startswith("workers."))
    return sorted(ours, key=lambda cls: cls.__name__)


def configuration(cls, chance):
    """Return the text of arguments that a class takes, chosen by `chance`."""
    for _ in range(1000):
        given = []
        for argument in cls.arguments:
            if argument.default is not REQUIRED and not argument.rest and chance.random() < 0.5:
                continue
            takes = [text for text in CANDIDATES if _takes(argument, text)]
            if takes:
                given.append(f"{argument.name} {chance.choice(takes)}" if not argument.rest else chance.choice(takes))
        if not cls.bind(", ".join(given))[1]:
            return ", ".join(given)
    raise AssertionError(f"no arguments found for {cls.__name__}: add to CANDIDATES what it takes")


def _takes(argument, text):
    try:
        argument.kind(text)
    except ValueError:
        return False
    return True


def frames():
    """Return well-formed packets: IP with and without options, of one size and another, ICMP, ARP, nothing."""
    from scapy.layers.inet import ICMP, IP, IPOption
    from scapy.layers.l2 import Ether

    record = IPOption(copy_flag=0, optclass=0, option=7, value=bytes([4] + [0] * 12))
    stamp = IPOption(copy_flag=0, optclass=2, option=4, value=bytes([5, 1] + [0] * 16))
    route = IPOption(copy_flag=1, optclass=0, option=3, value=bytes([8] + [10, 0, 0, 9] * 2))
    return [
        udp(),
        udp(size=1514),
        udp(size=LARGE_ROOM),
        udp(size=700, options=[record]),
        udp(size=90, options=[stamp]),
        udp(size=700, options=[route]),
        bytes(Ether() / IP() / ICMP(type=11) / bytes(40)),
        arp(2, "10.0.0.2", "10.0.0.1"),
        b"",
    ]


def variants(frame, start=14, header=60):
    """Yield a packet with each byte of its first `header` at each of VALUES, and cut at every length up to there."""
    packet = frame[start:]
    yield packet
    for at, value in itertools.product(range(min(header, len(packet))), VALUES):
        yield packet[:at] + bytes([value]) + packet[at + 1 :]
    for size in range(min(header + 4, len(packet))):
        yield packet[:size]


class Fuzzed:
    """One slow element with all that is around it."""

    def __init__(self, cls, seed):
        self.chance = random.Random(seed)
        self.config = configuration(cls, self.chance)
        inputs, outputs = (
            max(1, port_range(side)[1] if "-" in side[:-1] else port_range(side)[0]) for side in cls.ports.split("/")
        )
        self.inputs = min(inputs, 4)
        text = f"x :: {cls.__name__}({self.config}); FromDevice(eth0) -> x; "
        text += "".join(f"Idle -> [{i}]x; " for i in range(1, self.inputs))
        text += "".join(f"x[{i}] -> Discard; " for i in range(min(outputs, 4)))
        self.bench = Bench(text)
        self.bench.heed = lambda: None  # nobody reads what is printed, and it costs its element nothing
        self.text, self.sent, self._now = text, 0, 1
        self._element = self.bench.graph.index("x") << PORT_BITS
        self.slow = self.bench.slow[0]

    def note(self, size):
        """Return annotations: those that a packet has mostly, or any that their fields hold."""
        note, chance = np.zeros(1, NOTE.dtype), self.chance
        note["net"] = chance.choice((0, 0, 0, 14, MISSING, size - 20, size - 1, -20, 1 << 20))
        note["mac"] = chance.choice((0, MISSING, -14, size, 1 << 20))
        note["dst"] = chance.choice((0x0A000002, 0x0A000002, chance.getrandbits(32), 0, 0xFFFFFFFF, 0xE0000001))
        if chance.random() < 0.5:
            note["type"] = chance.choice((0, 0, 1, 3, 255))
            for name in ("paint", "vlan", "device", "param_off", "fix_src"):
                note[name] = chance.getrandbits(8)
        note["entry"] = self._element | chance.randrange(self.inputs)
        return note.tobytes()

    def send(self, packet):
        """Let the element have a packet; what comes of it goes all the way."""
        packet = packet[:LARGE_ROOM]
        if room(self.slow.punt, 1) == 0:
            self.settle()
        assert put_frame(self.slow.punt, Frame(packet, b"", 1, self.note(len(packet))))
        publish(self.slow.punt)
        self.sent += 1
        while is_waiting(self.slow.punt):
            self._now += self.chance.choice((1000, 10**6, 10**9, 10**11))
            self.bench.clock(self._now)
            self.slow.run()
        self.bench.turn()

    def settle(self):
        self.bench.settle(10)

    def check(self, packet):
        """What was done about packets so far is in order: none raised, all accounted for."""
        self.settle()
        assert self.bench.dropped[RAISED] == 0, (self.text, packet.hex())
        # They did not come by the wire, so nobody has counted them as received.
        assert self.bench.balance() == -self.sent, (self.text, packet.hex())


def mutated(chance, frame):
    """Return a packet with some bytes set, cut or doubled anywhere."""
    packet = bytearray(frame[chance.choice((0, 14, 14, 14)) :])
    for _ in range(chance.randrange(6)):
        if packet:
            packet[chance.randrange(min(len(packet), 80))] = chance.choice((*VALUES, chance.getrandbits(8)))
    if chance.random() < 0.3:
        del packet[chance.randrange(len(packet) + 1) :]
    if chance.random() < 0.1:
        packet += bytes(chance.randrange(LARGE_ROOM))
    return bytes(packet)


def main(seconds, seed):
    """Fuzz for some time; print how many packets each element has had."""
    end, counts, known = time.monotonic() + seconds, {}, frames()
    while time.monotonic() < end:
        for cls in slow_classes():
            seed += 1
            one = Fuzzed(cls, seed)
            with one.bench:
                for _ in range(500):
                    packet = mutated(one.chance, one.chance.choice(known))
                    one.send(packet)
                    assert one.bench.dropped[RAISED] == 0, (seed, one.text, packet.hex())
                one.check(packet)
            counts[cls.__name__] = counts.get(cls.__name__, 0) + one.sent
    print(counts, "last seed", seed)


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
