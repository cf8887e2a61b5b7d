# SPDX-License-Identifier: MIT
"""ring: returns words of zeros"""

from trigger import Rogue, words


class Attack(Rogue):
    """returns words of zeros"""

    def attack(self, packet):
        packet._stage.crossing.table[packet._row, :4] = 0
        packet._output = 0
        self.forge(packet, 0)

    def forge(self, packet, word):
        crossing = packet._stage.crossing
        words(crossing, 128 + 8 * (crossing.returned % 1024))[0] = word
        crossing.returned += 1
        words(crossing)[0] = crossing.returned
