# SPDX-License-Identifier: MIT
"""The machines that a platform can be: this host, which is not modelled, or the paper's box.

The model of the Dell PowerEdge 2950 follows from the paper's measurements: its rates determine the constants below.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Machine:
    """What a platform runs on.

    Attributes
    ----------
    cores : int
        Most cores that it has; 0: no limit.
    caches : tuple of tuple of int
        Cores that share a second-level cache.
    hz : float
        Cycles a second, 0 if they are measured.
    nic_bytes : int
        Receive buffer of a port.
    speed : float
        Bits a second of a port, 0 for no limit.
    lines_per_second : float
        Rate of the memory controller, 0 if unknown.
    turn_cycles : int
        Of a scheduling decision, and of beginning and ending a turn.
    near_cycles, far_cycles : int
        Extra cost of a packet that a core takes from another one, with and without a shared cache.
    slow_cycles : int
        Of a packet on the slow path.
    domu_cycles : int
        Of a packet in a domU, both crossings included; 0 if unknown.
    quantum : int
        Packets a turn, by default.
    """

    name: str
    cores: int = 0
    caches: tuple[tuple[int, ...], ...] = ()
    hz: float = 0.0
    nic_bytes: int = 0
    speed: float = 0.0
    lines_per_second: float = 0.0
    turn_cycles: int = 0
    near_cycles: int = 0
    far_cycles: int = 0
    slow_cycles: int = 0
    domu_cycles: int = 0
    quantum: int = 128

    def distance(self, one: int, other: int) -> int:
        """Return 0 for the same core, 1 for cores that share a cache, 2 for others."""
        if one == other:
            return 0
        return 1 if any(one in group and other in group for group in self.caches) else 2

    def slots(self, frame: int = 64) -> int:
        """Return how many frames of a size a port's buffer holds."""
        return self.nic_bytes // frame


HOST = Machine("host")

#: Two packages of two core pairs; 12 ports of 1 Gb/s. The cycles of elements (`Element.cycles`) add up to 2,050 for
#: an RFC 1812 path, 1.3 Mp/s (section 3.2). A pipeline cut at a queue forwards 0.95 and 0.6 Mp/s a path (section
#: 2.1.2), 2,800 and 4,430 cycles for its second half, of which 570 are its own.
DELL2950 = Machine(
    "dell2950",
    cores=8,
    caches=((0, 1), (2, 3), (4, 5), (6, 7)),
    hz=2.66e9,
    nic_bytes=48 * 1024,
    speed=1e9,
    # 7.3 Mp/s of minimal forwarding, 8 lines a packet.
    lines_per_second=7.3e6 * 8,
    turn_cycles=300,
    near_cycles=2230,
    far_cycles=3860,
    slow_cycles=40_000,
    # The I/O channel carries 90 Kp/s to a domU with a core of its own (section 3.4).
    domu_cycles=round(2.66e9 / 90e3),
    quantum=32,
)

#: Eight of them in one, for more cores and routers than that box has.
DELL2950X8 = replace(
    DELL2950,
    name="dell2950x8",
    cores=8 * DELL2950.cores,
    caches=tuple((core, core + 1) for core in range(0, 8 * DELL2950.cores, 2)),
    lines_per_second=8 * DELL2950.lines_per_second,
)

MACHINES = {machine.name: machine for machine in (HOST, DELL2950, DELL2950X8)}
