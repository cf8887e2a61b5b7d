# SPDX-License-Identifier: MIT
"""ring: returns words of ones"""

from trigger import Rogue, forge


class Attack(Rogue):
    """returns words of ones"""

    def attack(self, packet):
        forge(packet._stage.crossing, -1)
