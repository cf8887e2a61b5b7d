# SPDX-License-Identifier: MIT
"""packets: returns IP headers whose lengths lie"""

from trigger import Rogue


class Attack(Rogue):
    """returns IP headers whose lengths lie"""

    def attack(self, packet):
        for place in (0, 14):
            if len(packet) > place + 20:
                packet[place] = 0x4F
                packet[place + 2 : place + 4] = b"\xff\xff"
