# SPDX-License-Identifier: MIT
"""ring: returns random words"""

import random

from trigger import Rogue, forge


class Attack(Rogue):
    """returns random words"""

    def attack(self, packet):
        forge(packet._stage.crossing, random.getrandbits(63))
