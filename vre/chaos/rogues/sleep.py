# SPDX-License-Identifier: MIT
"""hang: sleeps, holding packets"""

import time

from trigger import Rogue


class Attack(Rogue):
    """sleeps, holding packets"""

    def attack(self, packet):
        time.sleep(3600)
