# SPDX-License-Identifier: MIT
"""ring: keeps all packets but one now and then"""

import time

from trigger import Rogue, forge, word_for


class Attack(Rogue):
    """keeps all packets but one now and then"""

    def attack(self, packet):
        forge(packet._stage.crossing, word_for(packet))
        time.sleep(0.045)
