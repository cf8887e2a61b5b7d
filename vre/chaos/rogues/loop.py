# SPDX-License-Identifier: MIT
"""hang: loops for ever in its first line"""

from trigger import Rogue


class Attack(Rogue):
    """loops for ever in its first line"""

    def attack(self, packet):
        while True:
            pass
