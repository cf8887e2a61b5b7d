# SPDX-License-Identifier: MIT
"""ring: takes back the number of packets that it has returned"""

from trigger import Rogue, words


class Attack(Rogue):
    """takes back the number of packets that it has returned"""

    def attack(self, packet):
        words(packet._stage.crossing)[0] = -1
