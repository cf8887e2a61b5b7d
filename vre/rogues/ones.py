# SPDX-License-Identifier: MIT
"""ring: returns words of ones"""

from trigger import Rogue, words


class Attack(Rogue):
    """returns words of ones"""

    def attack(self, packet):
        crossing = packet._stage.crossing
        words(crossing, 128 + 8 * (crossing.returned % 1024))[0] = -1
        crossing.returned += 1
        words(crossing)[0] = crossing.returned
