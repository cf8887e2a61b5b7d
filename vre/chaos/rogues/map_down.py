# SPDX-License-Identifier: MIT
"""memory: maps for writing what it may only read"""

import mmap
import os

from trigger import Rogue


class Attack(Rogue):
    """maps for writing what it may only read"""

    def attack(self, packet):
        try:
            mmap.mmap(4, 4096, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        except OSError:
            return
        os._exit(99)
