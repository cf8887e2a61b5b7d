# SPDX-License-Identifier: MIT
"""What rogues have in common: they behave at first, then attack with every packet."""

import ctypes


class Rogue:
    """Passes packets on for a while; then calls `attack` for each."""

    #: Packets that it behaves for: long enough to be trusted.
    BEHAVES = 2000

    def __init__(self):
        self.count = 0

    def push(self, packet):
        """Handle a packet."""
        self.count += 1
        if self.count > self.BEHAVES:
            return self.attack(packet)
        return None

    def attack(self, packet):
        """Do harm."""
        raise NotImplementedError


def words(crossing, offset=0, count=1):
    """Return the 64-bit words of the channel's memory at `offset`: the number of returns is the first."""
    return (ctypes.c_int64 * count).from_address(crossing.up + offset)


def forge(crossing, word):
    """Write a word as the next return, and publish it."""
    words(crossing, 128 + 8 * (crossing.returned % 1024))[0] = word
    crossing.returned += 1
    words(crossing)[0] = crossing.returned


def word_for(packet, verdict=0):
    """Return the word that gives a packet's slot back with a verdict."""
    slot = int(packet._stage.crossing.table[packet._row, 0])
    return slot | len(packet) << 32 | 64 << 48 | verdict << 56


def call(number, *arguments):
    """Make a system call; return its result, or minus the error."""
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(number, *arguments)
    return -ctypes.get_errno() if result < 0 else result
