# SPDX-License-Identifier: MIT
"""crash: unmaps the channel's memory under its own feet"""

import ctypes

from trigger import Rogue


class Attack(Rogue):
    """unmaps the channel's memory under its own feet"""

    def attack(self, packet):
        ctypes.CDLL(None).munmap(ctypes.c_void_p(packet._stage.crossing.up), ctypes.c_size_t(4096))
        ctypes.string_at(packet._stage.crossing.up)
