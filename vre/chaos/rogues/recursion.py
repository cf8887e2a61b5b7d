# SPDX-License-Identifier: MIT
"""crash: recurses until the stack is gone"""

import sys

from trigger import Rogue


class Attack(Rogue):
    """recurses until the stack is gone"""

    def attack(self, packet):
        sys.setrecursionlimit(1 << 30)
        self.attack(packet)
