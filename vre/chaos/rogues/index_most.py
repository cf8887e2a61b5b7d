# SPDX-License-Identifier: MIT
"""ring: says that it has returned as many packets as a word can hold"""

from trigger import Rogue, words


class Attack(Rogue):
    """says that it has returned as many packets as a word can hold"""

    def attack(self, packet):
        words(packet._stage.crossing)[0] = (1 << 63) - 1
