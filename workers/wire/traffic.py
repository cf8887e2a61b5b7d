# SPDX-License-Identifier: MIT
"""What generators send: frames, as schedules for the wire."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from shm.wire_layout import FCS
from workers.arguments import prefix
from workers.datapath.checksum import checksum
from workers.datapath.headers import (
    ETHER_SIZE,
    IP_DST,
    IP_ID,
    IP_LENGTH,
    IP_PROTOCOL,
    IP_SIZE,
    IP_SRC,
    IP_SUM,
    IP_TTL,
    put16,
    put32,
)

#: Frames of a generator's schedule, at least: a multiple of the IMIX round of 12.
ROUND = 1536
#: Most flows of a generator: each has its frame in memory, for each router.
MOST_FLOWS = 1 << 18
#: Test network of RFC 2544: sources from its lower half, destinations from its upper.
_SOURCES, _DESTINATIONS = 0xC6120000, 0xC6130000
_SENDER = 0x0256_FFFF_FFFE


#: Called now and then by long computations, so that the caller can do other work meanwhile.
Pause = Callable[[], None]
#: Frames that are read or made from one such call to the next: some milliseconds.
BETWEEN_PAUSES = 512


def nothing() -> None:
    """Do nothing else meanwhile."""


@dataclass(frozen=True)
class Frame:
    """One frame of a schedule and when it is due, in ns from the start of a round."""

    data: bytes
    time_ns: int


def udp_frame(source: int, target: int, flow: int, ttl: int, size: int, mac: int) -> bytes:
    """Return an Ethernet frame with a UDP packet and right checksums, `size` bytes long with its check sequence."""
    length = size - FCS - ETHER_SIZE
    header = bytearray(IP_SIZE)
    header[0], header[IP_TTL], header[IP_PROTOCOL] = 0x45, ttl, 17
    put16(header, IP_LENGTH, length)
    put16(header, IP_ID, flow & 0xFFFF)
    put32(header, IP_SRC, source)
    put32(header, IP_DST, target)
    put16(header, IP_SUM, checksum(header))
    payload = bytes(i & 0xFF for i in range(length - 28))
    # UDP to port 9, discard; no UDP checksum (RFC 768 allows 0).
    udp = (1024 + flow % 60000).to_bytes(2, "big") + b"\0\x09" + (length - 20).to_bytes(2, "big") + b"\0\0"
    return mac.to_bytes(6, "big") + _SENDER.to_bytes(6, "big") + b"\x08\0" + bytes(header) + udp + payload


def generated(
    link: Any, macs: list[int], sizes: tuple[tuple[int, int], ...], pause: Pause = nothing
) -> list[list[Frame]]:
    """Return a round of a generator's frames for each router, by its MAC.

    Parameters
    ----------
    link : Generator
    macs : list of int
        One for each router that gets a share, equal shares all.
    sizes : tuple of (int, int)
        Frame sizes, check sequence included, and how many of each per round.
    pause : callable
        Called every few frames, so that a long schedule delays no other work.

    Returns
    -------
    list of list of Frame
        The frames of each router, in the order of `macs`.
    """
    chance = random.Random(link.seed)
    targets = list(_targets(link.destinations, link.flows))
    mix = [size for size, count in sizes for _ in range(count)]
    rounds = []
    for mac in macs:
        chosen = mix * (-(-max(ROUND, link.flows) // len(mix)) if len(mix) > 1 or link.flows > 1 else 1)
        chance.shuffle(chosen)
        known: dict[tuple[int, int], bytes] = {}
        frames = []
        for i, size in enumerate(chosen):
            if i % BETWEEN_PAUSES == BETWEEN_PAUSES - 1:
                pause()
            flow = i % link.flows
            if (flow, size) not in known:
                known[flow, size] = udp_frame(
                    _SOURCES + 1 + flow % 65534, targets[flow % len(targets)], flow, link.ttl, size, mac
                )
            frames.append(Frame(known[flow, size], 0))
        rounds.append(frames)
    return rounds


def _targets(destinations: tuple[str, ...], flows: int) -> Iterator[int]:
    """Yield destination addresses in turn: a host of each prefix, then the next host of each."""
    if not destinations:
        for flow in range(min(flows, 65534)):
            yield _DESTINATIONS + 1 + flow
        return
    parsed = [prefix(text) for text in destinations]
    for i in range(max(1, flows)):
        address, length = parsed[i % len(parsed)]
        host = (i // len(parsed) + 1) % max(1, (1 << (32 - length)) - 1) if length < 32 else 0
        yield address + host
