# SPDX-License-Identifier: MIT
"""ring: returns random words"""

import random

from trigger import Rogue, words


class Attack(Rogue):
    """returns random words"""

    def attack(self, packet):
        crossing = packet._stage.crossing
        words(crossing, 128 + 8 * (crossing.returned % 1024))[0] = random.getrandbits(63)
        crossing.returned += 1
        words(crossing)[0] = crossing.returned
