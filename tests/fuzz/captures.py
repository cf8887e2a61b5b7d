# SPDX-License-Identifier: MIT
"""Damaged captures, for as long as is asked for: `python -m tests.fuzz.captures SECONDS [SEED]`.

Each file gives frames or a CaptureError; anything else is a finding, and ends this with the seed of the file.
"""

from __future__ import annotations

import gzip
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.workers.frames import udp
from tests.workers.test_capture_reader import FRAMES, block, interface, packet, pcap, section
from workers.wire.capture_reader import CaptureError
from workers.wire.replay import Replayed

BYTES = (0, 1, 4, 0x20, 0x7F, 0x80, 0xFE, 0xFF)


def bases():
    """Return well-formed captures of every kind."""
    both = section("<") + interface("<", resolution=b"\x09") + interface("<", resolution=b"\x8a", check=b"\x04")
    both += packet("<", 0, 5, FRAMES[0]) + packet("<", 1, 7, FRAMES[1]) + block("<", 3, b"\x40\0\0\0" + bytes(64))
    other = section(">") + interface(">", offset=bytes(8), snaplen=70) + packet(">", 0, 5, udp(size=1500)[:70], 1500)
    return [pcap(), pcap(">", 10**6), pcap(cut=20), pcap(ticks=10**6, extra=bytes(8)), both, other, both + other]


def damaged(chance):
    """Return a capture with bytes changed, taken out, repeated or cut off; some are packed afterwards or before."""
    content = bytearray(chance.choice(bases()))
    if chance.random() < 0.1:
        content = bytearray(gzip.compress(bytes(content)))
    for _ in range(chance.choice((1, 1, 2, 5, 30))):
        at = chance.randrange(len(content))
        kind = chance.random()
        if kind < 0.6:
            content[at] = chance.choice((*BYTES, chance.randrange(256)))
        elif kind < 0.75:
            del content[at : at + chance.choice((1, 2, 4, 16))]
        elif kind < 0.9:
            content[at:at] = content[at : at + chance.choice((4, 16, 64))]
        else:
            del content[at:]
        if not content:
            break
    return gzip.compress(bytes(content)) if chance.random() < 0.1 else bytes(content)


def main(seconds, seed):
    """Read damaged captures until time is up; print how many there were."""
    end, count, read = time.monotonic() + seconds, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "x.pcap"
        while time.monotonic() < end:
            file.write_bytes(damaged(random.Random(f"{seed}/{count}")))
            try:
                capture = Replayed(file, [(None, -1), (0x020000000001, -1), (None, 7)])
                capture.measure()
                capture.write()
                assert all(isinstance(note, str) for note in capture.notes)
                read += 1
            except CaptureError:
                pass
            except Exception:
                print(f"finding: seed {seed}/{count}")
                raise
            count += 1
    print(f"{count} captures, {read} of them read, no finding")


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "1")
