# SPDX-License-Identifier: MIT
"""ring: returns each packet many times"""

from trigger import Rogue, forge, word_for


class Attack(Rogue):
    """returns each packet many times"""

    def attack(self, packet):
        for _ in range(10):
            forge(packet._stage.crossing, word_for(packet))
