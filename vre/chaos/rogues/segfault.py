# SPDX-License-Identifier: MIT
"""crash: reads address 8"""

import ctypes

from trigger import Rogue


class Attack(Rogue):
    """reads address 8"""

    def attack(self, packet):
        ctypes.string_at(8)
