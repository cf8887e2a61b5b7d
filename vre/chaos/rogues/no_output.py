# SPDX-License-Identifier: MIT
"""ring: returns packets for outputs that are not there"""

from trigger import Rogue, forge, word_for


class Attack(Rogue):
    """returns packets for outputs that are not there"""

    def attack(self, packet):
        forge(packet._stage.crossing, word_for(packet, 7))
