# SPDX-License-Identifier: MIT
"""ring: returns verdicts that mean nothing"""

from trigger import Rogue, forge, word_for


class Attack(Rogue):
    """returns verdicts that mean nothing"""

    def attack(self, packet):
        forge(packet._stage.crossing, word_for(packet, 0x93))
