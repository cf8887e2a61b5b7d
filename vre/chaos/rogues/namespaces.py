# SPDX-License-Identifier: MIT
"""kernel: takes namespaces of its own"""

import ctypes

from trigger import Rogue


class Attack(Rogue):
    """takes namespaces of its own"""

    def attack(self, packet):
        ctypes.CDLL(None).unshare(0x10000000)
