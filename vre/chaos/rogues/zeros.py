# SPDX-License-Identifier: MIT
"""ring: returns words of zeros"""

from trigger import Rogue, forge


class Attack(Rogue):
    """returns words of zeros"""

    def attack(self, packet):
        forge(packet._stage.crossing, 0)
