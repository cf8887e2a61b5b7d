# SPDX-License-Identifier: MIT
"""ring: returns each packet many times"""

from trigger import Rogue, words


class Attack(Rogue):
    """returns each packet many times"""

    def attack(self, packet):
        crossing = packet._stage.crossing
        word = int(crossing.table[packet._row, 0]) | len(packet) << 32 | 64 << 48
        for _ in range(10):
            words(crossing, 128 + 8 * (crossing.returned % 1024))[0] = word
            crossing.returned += 1
        words(crossing)[0] = crossing.returned
