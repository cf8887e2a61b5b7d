# SPDX-License-Identifier: MIT
"""ring: returns packets that are longer than a slot"""

from trigger import Rogue


class Attack(Rogue):
    """returns packets that are longer than a slot"""

    def attack(self, packet):
        packet._end = packet._begin + 65535
