# SPDX-License-Identifier: MIT
"""memory: writes where only dom0 may"""

import ctypes

from trigger import Rogue


class Attack(Rogue):
    """writes where only dom0 may"""

    def attack(self, packet):
        ctypes.memset(packet._stage.crossing.down, 255, 4096)
