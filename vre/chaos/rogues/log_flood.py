# SPDX-License-Identifier: MIT
"""flood: writes to its log without end"""

from trigger import Rogue


class Attack(Rogue):
    """writes to its log without end"""

    def attack(self, packet):
        for _ in range(100):
            print("\x1b[2J\x07 all your base " * 50, flush=True)
