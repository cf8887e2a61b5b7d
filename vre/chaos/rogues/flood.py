# SPDX-License-Identifier: MIT
"""packets: makes as many packets as it can"""

from trigger import Rogue


class Attack(Rogue):
    """makes as many packets as it can"""

    def attack(self, packet):
        while packet.emit(0, b"\xff" * 60):
            pass
