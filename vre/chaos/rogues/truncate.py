# SPDX-License-Identifier: MIT
"""kernel: cuts off the memory that dom0 reads"""

import os

from trigger import Rogue


class Attack(Rogue):
    """cuts off the memory that dom0 reads"""

    def attack(self, packet):
        os.ftruncate(5, 0)
