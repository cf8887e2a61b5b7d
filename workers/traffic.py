# SPDX-License-Identifier: MIT
"""What links send: generated frames and captures, as schedules for the wire."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workers.arguments import prefix
from workers.checksum import checksum
from workers.files import CAPTURE_BYTES, open_file, place

#: The only link type that ports take.
_ETHERNET = 1
#: Frames of a generator's schedule: a multiple of the IMIX round of 12.
ROUND = 1536
#: Test network of RFC 2544: sources from its lower half, destinations from its upper.
_SOURCES, _DESTINATIONS = 0xC6120000, 0xC6130000
_SENDER = 0x0256_FFFF_FFFE


class CaptureError(ValueError):
    """A capture file that cannot be replayed."""


@dataclass(frozen=True)
class Frame:
    """One frame of a schedule and when it is due, in ns from the start of a round."""

    data: bytes
    time_ns: int


class _Exact:
    """A file whose reads are whole, or empty at the end."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.name = file.name

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        if 0 < len(data) < size:
            raise CaptureError(f"truncated: {len(data)} bytes where {size} should be")
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def read_capture(path: Path | str) -> list[Frame]:
    """Read a pcap or pcapng file of Ethernet frames.

    Raises
    ------
    CaptureError
        It is empty, truncated, of another link type or no capture at all.
    """
    import dpkt

    try:
        fd = open_file(place(path, os.getcwd()), CAPTURE_BYTES)
    except OSError as error:
        raise CaptureError(f"cannot read {path}: {error.strerror}") from None
    with os.fdopen(fd, "rb") as file:
        exact = _Exact(file)
        if not file.peek(1):
            raise CaptureError(f"{path} is empty: no capture header")
        try:
            reader = dpkt.pcap.UniversalReader(exact)
            if reader.datalink() != _ETHERNET:
                raise CaptureError(f"{path} has link type {reader.datalink()}; only Ethernet (1) can be replayed")
            frames = [(float(time), bytes(data)) for time, data in reader]
        except CaptureError as error:
            raise CaptureError(str(error) if str(path) in str(error) else f"{path} is {error}") from None
        except (ValueError, dpkt.dpkt.Error) as error:
            raise CaptureError(f"{path} is not a pcap or pcapng file ({error})") from None
    if not frames:
        raise CaptureError(f"{path} holds no frames")
    first = min(time for time, _ in frames)
    # Times may go backwards in a capture; a frame is then due with the one before it.
    done, latest = [], 0
    for time, data in frames:
        latest = max(latest, round((time - first) * 1e9))
        done.append(Frame(data, latest))
    return done


def udp_frame(source: int, target: int, flow: int, ttl: int, size: int, mac: int) -> bytes:
    """Return an Ethernet frame with a UDP packet and right checksums, `size` bytes long."""
    length = max(size, 42) - 14
    header = bytearray(20)
    header[0], header[8], header[9] = 0x45, ttl, 17
    header[2:4] = length.to_bytes(2, "big")
    header[4:6] = (flow & 0xFFFF).to_bytes(2, "big")
    header[12:16], header[16:20] = source.to_bytes(4, "big"), target.to_bytes(4, "big")
    header[10:12] = checksum(header).to_bytes(2, "big")
    payload = bytes(i & 0xFF for i in range(length - 28))
    # UDP to port 9, discard; no UDP checksum (RFC 768 allows 0).
    udp = (1024 + flow % 60000).to_bytes(2, "big") + b"\0\x09" + (length - 20).to_bytes(2, "big") + b"\0\0"
    return mac.to_bytes(6, "big") + _SENDER.to_bytes(6, "big") + b"\x08\0" + bytes(header) + udp + payload


def generated(link: Any, macs: list[int], sizes: tuple[tuple[int, int], ...]) -> list[list[Frame]]:
    """Return a round of a generator's frames for each router, by its MAC.

    Parameters
    ----------
    link : Generator
    macs : list of int
        One for each router that gets a share, equal shares all.
    sizes : tuple of (int, int)
        Frame sizes and how many of each per round.
    """
    chance = random.Random(link.seed)
    targets = list(_targets(link.destinations, link.flows))
    mix = [size for size, count in sizes for _ in range(count)]
    rounds = []
    for mac in macs:
        chosen = mix * (ROUND // len(mix) if len(mix) > 1 or link.flows > 1 else 1)
        chance.shuffle(chosen)
        known: dict[tuple[int, int], bytes] = {}
        frames = []
        for i, size in enumerate(chosen):
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


def sort_frames(
    frames: list[Frame], claims: list[tuple[int | None, int]], strip: bool = True
) -> tuple[list[list[Frame]], list[Frame]]:
    """Sort a capture's frames by who gets them, as a NIC with a queue for each router does.

    Parameters
    ----------
    frames : list of Frame
    claims : list of (int or None, int)
        MAC (None: whatever nobody else claims) and VLAN (-1: untagged) of each router.
    strip : bool
        Take off a VLAN's tag, as a NIC does that sorts by it.

    Returns
    -------
    sorted, rest : list of list of Frame, list of Frame
        Broadcasts go to every router of the VLAN.
    """
    found: list[list[Frame]] = [[] for _ in claims]
    rest = []
    for frame in frames:
        data, vlan = frame.data, -1
        if len(data) >= 18 and data[12:14] == b"\x81\x00":
            vlan = int.from_bytes(data[14:16], "big") & 0xFFF
        mine = [i for i, (_, claimed) in enumerate(claims) if claimed == vlan]
        if mine and vlan >= 0 and strip:
            frame = Frame(data[:12] + data[16:], frame.time_ns)
        mac = int.from_bytes(data[:6], "big")
        takers = mine if mac >> 40 & 1 else [i for i in mine if claims[i][0] == mac]
        takers = takers or [i for i in mine if claims[i][0] is None]
        if not mine:
            takers = [i for i, (wanted, claimed) in enumerate(claims) if wanted is None and claimed == -1]
        for i in takers:
            found[i].append(frame)
        if not takers:
            rest.append(frame)
    return found, rest
