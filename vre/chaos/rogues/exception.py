# SPDX-License-Identifier: MIT
"""crash: raises with every packet"""

from trigger import Rogue


class Attack(Rogue):
    """raises with every packet"""

    def attack(self, packet):
        raise RuntimeError("as bad as it gets")
