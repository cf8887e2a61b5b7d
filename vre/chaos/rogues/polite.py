# SPDX-License-Identifier: MIT
"""control: does nothing wrong"""

from trigger import Rogue


class Attack(Rogue):
    """does nothing wrong"""

    def attack(self, packet):
        return None
