# SPDX-License-Identifier: MIT
"""ring: returns slots that it was not lent"""

import random

from trigger import Rogue


class Attack(Rogue):
    """returns slots that it was not lent"""

    def attack(self, packet):
        crossing = packet._stage.crossing
        crossing.table[packet._row, 0] += random.randrange(1, 1024)
