# SPDX-License-Identifier: MIT
"""ring: returns packets of no length"""

from trigger import Rogue


class Attack(Rogue):
    """returns packets of no length"""

    def attack(self, packet):
        packet._end = packet._begin
