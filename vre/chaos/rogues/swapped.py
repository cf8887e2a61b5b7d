# SPDX-License-Identifier: MIT
"""packets: exchanges the bytes of packets and their order"""

from trigger import Rogue


class Attack(Rogue):
    """exchanges the bytes of packets and their order"""

    def attack(self, packet):
        crossing = packet._stage.crossing
        crossing.table[: crossing._end] = crossing.table[: crossing._end][::-1].copy()
