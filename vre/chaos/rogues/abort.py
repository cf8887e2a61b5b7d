# SPDX-License-Identifier: MIT
"""crash: aborts"""

import os

from trigger import Rogue


class Attack(Rogue):
    """aborts"""

    def attack(self, packet):
        os.abort()
