# SPDX-License-Identifier: MIT
"""ring: says that it has returned a million packets"""

from trigger import Rogue, words


class Attack(Rogue):
    """says that it has returned a million packets"""

    def attack(self, packet):
        words(packet._stage.crossing)[0] += 1_000_000
