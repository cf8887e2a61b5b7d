# SPDX-License-Identifier: MIT
"""hang: keeps one packet after the other, and returns none"""

from trigger import Rogue


class Attack(Rogue):
    """keeps one packet after the other, and returns none"""

    def attack(self, packet):
        crossing = packet._stage.crossing
        crossing.give = lambda: None
