# SPDX-License-Identifier: MIT
"""ring: returns packets for outputs that are not there"""

from trigger import Rogue, words


class Attack(Rogue):
    """returns packets for outputs that are not there"""

    def attack(self, packet):
        crossing = packet._stage.crossing
        word = int(crossing.table[packet._row, 0]) | len(packet) << 32 | 64 << 48 | 0x7 << 56
        words(crossing, 128 + 8 * (crossing.returned % 1024))[0] = word
        crossing.returned += 1
        words(crossing)[0] = crossing.returned
