# SPDX-License-Identifier: MIT
"""ring: returns packets that begin near the end of their slot"""

from trigger import Rogue


class Attack(Rogue):
    """returns packets that begin near the end of their slot"""

    def attack(self, packet):
        packet._begin += 200
        packet._end = packet._begin + 2100
