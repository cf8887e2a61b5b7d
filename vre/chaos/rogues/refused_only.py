# SPDX-License-Identifier: MIT
"""ring: keeps all packets, and returns words that cannot be meant, slowly"""

import time

from trigger import Rogue, forge


class Attack(Rogue):
    """keeps all packets, and returns words that cannot be meant, slowly"""

    def attack(self, packet):
        while True:
            forge(packet._stage.crossing, 0xFFFF)
            time.sleep(0.005)
